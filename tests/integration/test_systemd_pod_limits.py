"""Limits of a whole systemd pod bound all its apps together; parameters of its namespaces; restrictions by Landlock."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.isolate.landlock import landlock_abi
from tests.conftest import Rktpy, need_tool
from tests.support.pod_manifests import PYTHON, app, isolators, pod_of, with_python
from tests.support.pods import UNSIGNED, control_files, report, shell, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]


def group(uuid: str, *files: str) -> Path:
    """The first of some control files of a pod's own group."""
    found = [path for file in files for path in control_files(file, uuid)]
    assert found, f"{files} are nowhere"
    return found[0]


def test_memory_of_all_apps(stored: Rktpy, tmp_path: Path) -> None:
    """An app without a limit, or with a larger one, meets that of its pod; the pod's own processes survive."""
    hog = "x=12345678; while :; do x=$x$x; done"
    for more in ([], isolators(resource__memory={"limit": "1G"})):
        apps = (app(hog, "hog", isolators=more), app("exec sleep 60", "other"))
        manifest = pod_of(tmp_path, *apps, isolators=isolators(resource__memory={"limit": "64M"}))
        stored(UNSIGNED, "run", "--strict", manifest, status=9)
        (uuid,) = states(stored)
        assert {"app-hog=9", "app-other=15"} <= set(stored("status", uuid).stdout.splitlines())
        stored("rm", uuid)


def test_processor_time_of_all_apps(stored: Rktpy, tmp_path: Path) -> None:
    busy = [app("while :; do :; done", name) for name in ("one", "two", "three")]
    busy[0]["app"]["isolators"] = isolators(resource__cpu={"limit": "2"})
    asked = {"resource__cpu": {"limit": "300m"}, "os__linux__cpu_shares": 77}
    uuid_file = tmp_path / "uuid"
    argv = stored.argv(UNSIGNED, "run", f"--uuid-file-save={uuid_file}", pod_of(tmp_path, *busy, isolators=isolators(**asked)))
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for("the pod", lambda: uuid_file.exists() and uuid_file.read_text())
            uuid = uuid_file.read_text()
            stored("status", "--wait-ready=20s", uuid)
            limits = group(uuid, "cpu.cfs_quota_us", "cpu.max")
            assert limits.read_text().split()[0] == "30000"
            pids: set[str] = set()

            def are_there() -> bool:
                for unit in ("one", "two", "three"):
                    for path in limits.parent.rglob(f"{unit}.service/cgroup.procs"):
                        pids.update(path.read_text().split())
                return len(pids) == 3

            wait_for("the apps", are_there)

            def used() -> float:
                texts = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13] for pid in pids]
                return sum(int(word) for words in texts for word in words) / 100

            begun, before = time.monotonic(), used()
            time.sleep(1.5)
            assert 0 < (used() - before) / (time.monotonic() - begun) < 0.4
            assert set(report(stored, uuid).values()) == {"enforced"}
        finally:
            process.kill()


@pytest.fixture
def disk(stored: Rktpy, tmp_path: Path) -> Iterator[Rktpy]:
    """The command with its data directory on a disk of its own."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(96 << 20)
    subprocess.run([need_tool("mkfs.ext4"), "-q", image], check=True)
    aside = tmp_path / "aside"
    stored.data.rename(aside)
    stored.data.mkdir()
    subprocess.run(["mount", "-o", "loop", image, stored.data], check=True)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", stored.data], check=True)
        yield stored
    finally:
        subprocess.run(["umount", stored.data], check=True)


def test_block_bandwidth(disk: Rktpy, tmp_path: Path) -> None:
    """Direct reads of two apps together are as fast as the least limit allows."""
    write = "dd if=/dev/zero of=/file bs=256k count=6 2>/dev/null; sync; "
    script = write + "dd if=/file of=/dev/null bs=256k iflag=direct 2>&1 | tail -1"
    asked = isolators(resource__block_bandwidth={"default": True, "limit": "2M"})
    apps = (app(script, "one", isolators=asked), app(script, "two"))
    begun = time.monotonic()
    done = disk(UNSIGNED, "run", pod_of(tmp_path, *apps), status=None)
    took = time.monotonic() - begun
    (uuid,) = states(disk)
    assert report(disk, uuid) == {"resource/block-bandwidth": "changed"}
    assert done.returncode == 0 and took > 1.4, (took, done.stdout, done.stderr)


def test_kernel_parameters(stored: Rktpy, tmp_path: Path) -> None:
    before = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text()
    values = {"net.ipv4.ip_default_ttl": "77", "kernel.shmmax": "12345678", "kernel.pid_max": "400", "net/ipv4/none": "1"}
    script = "cd /proc/sys; cat net/ipv4/ip_default_ttl kernel/shmmax"
    manifest = pod_of(tmp_path, app(script), isolators=isolators(os__unix__sysctl=values))
    done = stored(UNSIGNED, "run", manifest)
    assert done.stdout.split() == ["77", "12345678"]
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text() == before
    assert Path("/proc/sys/kernel/pid_max").read_text() != "400\n"
    assert "kernel.pid_max belongs to the whole machine" in done.stderr and "net/ipv4/none" in done.stderr
    assert stored(UNSIGNED, "run", "--strict", manifest, status=254).stdout == ""
    # Of namespaces that are shared, nothing is written.
    done = stored(UNSIGNED, "run", "--net=host", "--ipc=parent", manifest)
    assert done.stdout.split()[0] == before.strip() and "the pod has no net namespace of its own" in done.stderr


def test_landlock(stored: Rktpy, tmp_path: Path) -> None:
    if landlock_abi() < 4:
        pytest.skip("this kernel's Landlock knows no ports")
    connect = (
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 8080)); s.listen(); print('bound')\n"
        "for f in (lambda: socket.socket().bind(('127.0.0.1', 8081)), lambda: socket.create_connection(('127.0.0.1', 8080))):\n"
        "  try: f(); print('allowed')\n"
        "  except OSError as e: print(e.strerror)"
    )
    script = (
        "cat /etc/passwd >/tmp/copy && echo read; cat /etc/group; echo x >/etc/new; cp /bin/busybox /tmp/true; /tmp/true;"
        f' {PYTHON} -c "{connect}"; grep NoNewPrivs /proc/self/status'
    )
    libraries = ["/usr", "/lib", "/lib64"]
    value = {
        "read": ["/bin", "/etc/passwd", "/proc", "/dev", *libraries],
        "write": ["/tmp", "/dev"],
        "exec": ["/bin", *libraries],
        "bind": [8080],
        "connect": [],
    }
    restricted = [{"name": "rktpy/landlock", "value": value}]
    for user in ("0", "7"):
        done = stored(
            UNSIGNED, "run", with_python(tmp_path, app(script, isolators=restricted, user=user, group=user)), status=None
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0 and [lines[0], *lines[-4:]] == [
            *["read", "bound", "Permission denied", "Permission denied", "NoNewPrivs:\t1"],
        ], (done.stdout, done.stderr)
        assert done.stdout.lower().count("permission denied") == 5
    (uuid,) = list(states(stored))[:1]
    assert report(stored, uuid) == {"rktpy/landlock": "enforced"}
    # Not for what the restricted app starts, but for handlers as well.
    handlers = [{"name": "pre-start", "exec": ["/bin/sh", "-c", "cat /etc/group"]}]
    stored(UNSIGNED, "run", pod_of(tmp_path, app("echo ran", isolators=restricted, eventHandlers=handlers)), status=1)


def test_landlock_of_what_enters(stored: Rktpy, tmp_path: Path) -> None:
    value = {"read": ["/bin", "/proc"], "exec": ["/bin"]}
    uuid_file = tmp_path / "uuid"
    manifest = pod_of(tmp_path, app("exec sleep 60", isolators=[{"name": "rktpy/landlock", "value": value}]))
    with subprocess.Popen(stored.argv(UNSIGNED, "run", f"--uuid-file-save={uuid_file}", manifest)) as process:
        try:
            wait_for("the pod", lambda: uuid_file.exists() and uuid_file.read_text())
            uuid = uuid_file.read_text()
            stored("status", "--wait-ready=20s", uuid)
            assert "ermission denied" in stored("enter", uuid, "/bin/cat", "/etc/passwd", status=1).stderr
        finally:
            process.kill()


def test_strict_takes_what_is_in_force(stored: Rktpy) -> None:
    flags = ("--memory=64M", "--cpu=500m", "--caps-retain=CAP_KILL", "--seccomp=mode=remove,errno=EPERM,mkdir")
    assert shell(stored, "echo ran", *flags, pod=("--strict",)).stdout == "ran\n"
