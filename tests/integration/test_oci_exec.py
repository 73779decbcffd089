"""``exec``: every flag, and what the process may do."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from rktpy.cgroup.hierarchy import discover
from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root


@pytest.fixture
def running(runtime: Runtime, bundle: Bundle) -> Runtime:
    """A runtime with the container ``one``."""
    bundle.linux["cgroupsPath"] = "/oci-exec"
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}]
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    return runtime


def test_status(running: Runtime) -> None:
    running("exec", "one", "sh", "-c", "exit 6", status=6)
    running("exec", "one", "sh", "-c", "kill -9 $$", status=128 + 9)


def test_failures_of_ours_give_255(running: Runtime) -> None:
    assert "executable file not found in $PATH" in running("exec", "one", "nothere", status=255).stderr
    assert "no such file or directory" in running("exec", "one", "/no/such", status=255).stderr
    assert "permission denied" in running("exec", "one", "/etc", status=255).stderr


def test_it_is_in_the_container(running: Runtime) -> None:
    pid = running.state("one")["pid"]
    for name in ("pid", "net", "ipc", "uts", "mnt"):
        assert running("exec", "one", "readlink", f"/proc/self/ns/{name}").stdout.strip() == os.readlink(f"/proc/{pid}/ns/{name}")
    groups = running("exec", "one", "cat", "/proc/self/cgroup").stdout
    assert all(line.endswith("/oci-exec") for line in groups.splitlines() if ":memory:" in line or ":pids:" in line)


def test_it_may_not_more_than_the_container(running: Runtime, bundle: Bundle) -> None:
    first = running.state("one")["pid"]
    wanted = [line for line in Path(f"/proc/{first}/status").read_text().splitlines() if line.startswith(("Cap", "NoNewPrivs"))]
    found = running("exec", "one", "grep", "-e", "^Cap", "-e", "^NoNewPrivs", "/proc/self/status").stdout.splitlines()
    assert found == wanted
    assert "300" in running("exec", "one", "grep", "files", "/proc/self/limits").stdout


def test_flags_of_the_process(running: Runtime) -> None:
    assert running("exec", "--cwd", "/tmp", "one", "pwd").stdout == "/tmp\n"
    assert running("exec", "-e", "A=1", "--env", "B=2", "one", "sh", "-c", "echo $A$B").stdout == "12\n"
    ids = running(
        "exec",
        "-u",
        "1000:1001",
        "-g",
        "7",
        "--additional-gids",
        "8",
        "one",
        "grep",
        "-e",
        "^Uid",
        "-e",
        "^G",
        "/proc/self/status",
    ).stdout
    assert ids.split() == ["Uid:", *["1000"] * 4, "Gid:", *["1001"] * 4, "Groups:", "7", "8"]


def test_capabilities(running: Runtime) -> None:
    before = running("exec", "one", "grep", "CapEff", "/proc/self/status").stdout.split()[1]
    after = running(
        "exec", "--cap", "CAP_SYS_CHROOT", "-c", "CAP_CHOWN", "one", "grep", "CapEff", "/proc/self/status"
    ).stdout.split()[1]
    assert int(after, 16) == int(before, 16) | 1 << 18 | 1


def test_no_new_privileges(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60", noNewPrivileges=False), "one")
    runtime("start", "one")
    assert runtime("exec", "one", "grep", "NoNewPrivs", "/proc/self/status").stdout.split()[1] == "0"
    assert runtime("exec", "--no-new-privs", "one", "grep", "NoNewPrivs", "/proc/self/status").stdout.split()[1] == "1"


def test_process_from_a_file(running: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    process = {
        **bundle.config["process"],
        "args": ["/bin/sh", "-c", "echo $X; id -u; pwd"],
        "env": ["PATH=/bin", "X=y"],
        "cwd": "/tmp",
    }
    process["user"] = {"uid": 12, "gid": 13}
    (tmp_path / "process.json").write_text(json.dumps(process))
    assert running("exec", "--process", str(tmp_path / "process.json"), "one").stdout.split() == ["y", "12", "/tmp"]
    (tmp_path / "process.json").write_text("{")
    running("exec", "--process", str(tmp_path / "process.json"), "one", status=None if not running.ours else 255)


def test_detached_with_a_pid_file(running: Runtime, tmp_path: Path) -> None:
    argv = running.argv("exec", "--detach", "--pid-file", str(tmp_path / "pid"), "one", "sleep", "55")
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=30)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while b"sleep" not in Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0")
    assert pid in json.loads(running("ps", "--format", "json", "one").stdout)


def test_terminal(running: Runtime) -> None:
    done = running("exec", "-t", "one", "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; exit 4", status=4)
    assert done.stdout.strip().startswith("/dev/pts/")


def test_standard_input(running: Runtime) -> None:
    argv = running.argv("exec", "one", "cat")
    done = subprocess.run(argv, input="through\n", capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "through\n"


def test_stopped_and_paused(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    runtime("pause", "one")
    done = runtime("exec", "one", "true", status=255)
    assert "cannot exec in a paused container" in done.stderr
    runtime("resume", "one")
    runtime("kill", "one", "KILL")
    runtime.wait_for("one", "stopped")
    assert "cannot exec in a stopped container" in runtime("exec", "one", "true", status=255).stderr


def test_below_the_containers_group(running: Runtime) -> None:
    hierarchy = next(one for one in discover() if "pids" in one.controllers)
    os.mkdir(f"{hierarchy.mount}/oci-exec/inner")
    groups = running("exec", "--cgroup", "pids:inner", "one", "cat", "/proc/self/cgroup").stdout
    assert ":pids:/oci-exec/inner\n" in groups
    assert ":memory:/oci-exec\n" in groups
    running("exec", "--cgroup", "pids:../..", "one", "true", status=255)
    running("exec", "--cgroup", "nonsense:inner", "one", "true", status=255)


def test_into_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("user")
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    assert runtime("exec", "one", "sh", "-c", "id -u; cat /proc/self/uid_map").stdout.split() == ["0", "0", "100000", "65536"]
    assert runtime("exec", "-u", "5", "one", "id", "-u").stdout == "5\n"


def test_preserved_descriptors_only(running: Runtime) -> None:
    with open("/etc/passwd") as secret:
        os.set_inheritable(secret.fileno(), True)
        done = running("exec", "one", "ls", "/proc/self/fd", pass_fds=(secret.fileno(),))
    assert done.stdout.split() in (["0", "1", "2", "3"], ["0", "1", "2"])
