"""podman and buildah with our runtime in runc's place."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need_tool
from tests.support.oci_engines import Engine

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman; all its containers are removed at the end."""
    for tool in ("podman", "conmon", "busybox"):
        need_tool(tool)
    engine = Engine(tmp_path_factory.mktemp("podman"))
    yield engine
    engine("pod", "rm", "--all", "--force", "--time", "0", status=None)
    engine("rm", "--all", "--force", "--time", "0", status=None)


def test_it_is_our_runtime(podman: Engine) -> None:
    info = json.loads(podman("info", "--format", "json"))
    assert info["host"]["ociRuntime"]["name"] == "rktpy-oci"
    assert "rktpy-oci" in info["host"]["ociRuntime"]["version"]


def test_run(podman: Engine) -> None:
    assert podman("run", "--rm", "--network=none", "busybox", "echo", "hello") == "hello\n"
    podman("run", "--rm", "--network=none", "busybox", "sh", "-c", "exit 7", status=7)
    assert podman("ps", "--all", "--quiet") == ""


def test_run_with_settings(podman: Engine) -> None:
    flags = ("--workdir=/tmp", "--env=A=b", "--user=1000:1001", "--hostname=inside", "--cap-drop=all", "--umask=0027")
    script = "pwd; echo $A; id -u; id -g; hostname; umask; grep CapEff /proc/self/status"
    lines = podman("run", "--rm", "--network=none", *flags, "busybox", "sh", "-c", script).splitlines()
    assert lines == ["/tmp", "b", "1000", "1001", "inside", "0027", "CapEff:\t" + "0" * 16]


def test_programs_that_cannot_be_run(podman: Engine) -> None:
    podman("run", "--rm", "--network=none", "busybox", "nothere", status=127)
    podman("run", "--rm", "--network=none", "busybox", "/etc", status=126)


def test_standard_input(podman: Engine) -> None:
    done = subprocess.run(
        podman.argv("run", "--rm", "-i", "--network=none", "busybox", "cat"),
        env=podman.environment, cwd=podman.directory, input="through\n", capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "through\n"


def test_exec_logs_stop_and_rm(podman: Engine) -> None:
    podman(
        "run",
        "--detach",
        "--name=life",
        "--network=none",
        "busybox",
        "sh",
        "-c",
        "echo started; trap 'exit 3' TERM; while :; do sleep 0.1; done",
    )
    assert podman("exec", "life", "sh", "-c", "echo in $0; exit 0", "x") == "in x\n"
    podman("exec", "life", "sh", "-c", "exit 5", status=5)
    podman("exec", "life", "nothere", status=127)
    assert podman("exec", "--user=12", "--env=B=c", "--workdir=/tmp", "life", "sh", "-c", "id -u; echo $B; pwd").split() == [
        "12",
        "c",
        "/tmp",
    ]
    deadline = time.monotonic() + 10
    while podman("logs", "life") != "started\n" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert podman("logs", "life") == "started\n"
    podman("stop", "--time=10", "life")
    assert podman("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "life") == "exited 3\n"
    podman("start", "life")
    podman("kill", "--signal=KILL", "life")
    podman("wait", "life")
    podman("rm", "life")
    assert podman("ps", "--all", "--quiet") == ""


def test_pause(podman: Engine) -> None:
    podman("run", "--detach", "--name=ice", "--network=none", "busybox", "sleep", "60")
    podman("pause", "ice")
    assert podman("inspect", "--format={{.State.Status}}", "ice") == "paused\n"
    podman("unpause", "ice")
    assert podman("exec", "ice", "echo", "thawed") == "thawed\n"
    podman("rm", "--force", "--time=0", "ice")


def test_attach_with_a_terminal(podman: Engine) -> None:
    podman(
        "run",
        "--detach",
        "-it",
        "--name=tty",
        "--network=none",
        "busybox",
        "sh",
        "-c",
        "read line; echo got $line; tty; stat -c %F /dev/console; read more",
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        podman.argv("attach", "tty"), env=podman.environment, cwd=podman.directory, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    seen = b""
    try:
        time.sleep(0.5)
        os.write(master, b"hello\n")
        deadline = time.monotonic() + 15
        while b"character special" not in seen and time.monotonic() < deadline:
            seen += os.read(master, 4096)
        os.write(master, b"end\n")
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
        podman("rm", "--force", "--time=0", "tty")
    assert b"got hello" in seen
    assert b"/dev/pts/0" in seen


def test_exec_with_a_terminal(podman: Engine) -> None:
    podman("run", "--detach", "--name=extty", "--network=none", "busybox", "sleep", "60")
    assert "/dev/pts/" in podman("exec", "--tty", "extty", "tty")
    podman("rm", "--force", "--time=0", "extty")


def test_limits(podman: Engine) -> None:
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        pytest.skip("files of cgroup v1")
    files = "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us cpuset/cpuset.cpus"
    script = f"cd /sys/fs/cgroup; cat {files}"
    output = podman(
        "run",
        "--rm",
        "--network=none",
        "--memory=64m",
        "--pids-limit=33",
        "--cpus=0.5",
        "--cpuset-cpus=0",
        "busybox",
        "sh",
        "-c",
        script,
    )
    assert output.split() == [str(64 << 20), "33", "50000", "0"]
    podman(
        "run",
        "--rm",
        "--network=none",
        "--memory=16m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/shm/x",
        "bs=1M",
        "count=40",
        status=137,
    )


def test_update(podman: Engine) -> None:
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        pytest.skip("files of cgroup v1")
    podman("run", "--detach", "--name=up", "--network=none", "--memory=64m", "busybox", "sleep", "60")
    podman("update", "--memory=32m", "--cpus=0.25", "up")
    assert podman("exec", "up", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes") == f"{32 << 20}\n"
    assert podman("exec", "up", "cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us") == "25000\n"
    podman("rm", "--force", "--time=0", "up")


def test_pods(podman: Engine) -> None:
    image = "busybox"
    podman(
        "pod",
        "create",
        "--name=together",
        "--network=none",
        "--infra-image",
        image,
        "--infra-command=/bin/sleep 600",
        "--share=ipc,net,uts",
    )
    podman("run", "--detach", "--pod=together", "--name=first", image, "sleep", "60")
    podman("run", "--detach", "--pod=together", "--name=second", image, "sleep", "60")
    links = [podman("exec", name, "readlink", "/proc/self/ns/ipc") for name in ("first", "second")]
    assert links[0] == links[1]
    podman("pod", "stop", "--time=0", "together")
    podman("pod", "rm", "together")


def test_shared_process_ids(podman: Engine) -> None:
    podman("run", "--detach", "--name=owner", "--network=none", "busybox", "sleep", "60")
    assert (
        podman("run", "--rm", "--network=none", "--pid=container:owner", "busybox", "cat", "/proc/1/cmdline") == "sleep\x0060\x00"
    )
    podman("rm", "--force", "--time=0", "owner")


def test_health(podman: Engine) -> None:
    podman(
        "run", "--detach", "--name=healthy", "--network=none", "--health-cmd=test -e /tmp/good", "--health-interval=disable",
        "--health-retries=1", "busybox", "sleep", "60",
    )  # fmt: skip
    podman("healthcheck", "run", "healthy", status=1)
    podman("exec", "healthy", "touch", "/tmp/good")
    podman("healthcheck", "run", "healthy")
    podman("rm", "--force", "--time=0", "healthy")


def test_volumes_and_read_only(podman: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("outside\n")
    script = (
        "cat /mnt/file; touch /mnt/x 2>/dev/null || echo refused; touch /x 2>/dev/null || echo refused; "
        "touch /run/ok && echo made"
    )
    output = podman(
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        f"--volume={tmp_path}:/mnt:ro",
        "--tmpfs=/run",
        "busybox",
        "sh",
        "-c",
        script,
    )
    assert output.split() == ["outside", "refused", "refused", "made"]


def test_user_namespace(podman: Engine) -> None:
    output = podman(
        "run",
        "--rm",
        "--network=none",
        "--uidmap=0:100000:5000",
        "--gidmap=0:100000:5000",
        "busybox",
        "sh",
        "-c",
        "cat /proc/self/uid_map; id -u",
    )
    assert output.split() == ["0", "100000", "5000", "0"]


def test_seccomp(podman: Engine) -> None:
    assert podman("run", "--rm", "--network=none", "busybox", "grep", "Seccomp:", "/proc/self/status").split() == [
        "Seccomp:",
        "2",
    ]
    podman(
        "run",
        "--rm",
        "--network=none",
        "--cap-add=sys_admin",
        "--security-opt=seccomp=unconfined",
        "busybox",
        "unshare",
        "-u",
        "true",
    )
    podman("run", "--rm", "--network=none", "busybox", "unshare", "-u", "true", status=1)


def test_without_control_groups(podman: Engine) -> None:
    assert podman("run", "--rm", "--network=none", "--cgroups=disabled", "busybox", "echo", "free") == "free\n"


def test_buildah(podman: Engine) -> None:
    buildah = [need_tool("buildah")]
    runtime = f"--runtime={_runtime(podman)}"
    name = podman.run([*buildah, "from", "--pull-never", "localhost/busybox"]).stdout.strip()
    try:
        podman.run([*buildah, "run", "--isolation=oci", runtime, "--network=none", name, "--", "sh", "-c", "echo built >/built"])
        done = podman.run([*buildah, "run", "--isolation=oci", runtime, "--network=none", name, "--", "cat", "/built"])
        assert done.stdout == "built\n"
        podman.run([*buildah, "run", "--isolation=oci", runtime, "--network=none", name, "--", "sh", "-c", "exit 3"], status=3)
    finally:
        podman.run([*buildah, "rm", name])


def _runtime(podman: Engine) -> str:
    for line in (podman.directory / "containers.conf").read_text().splitlines():
        if line.startswith("rktpy-oci = "):
            return line.split('"')[1]
    raise AssertionError("no runtime is configured")
