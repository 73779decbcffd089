"""What an app of a systemd pod cannot reach: the machine's kernel, its devices, other pods, the pod's root, other apps' roots."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.app_lines import app_lines
from tests.support.pod_manifests import PYTHON, app, pod_of, with_python
from tests.support.pods import UNSIGNED, Running, shell

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

#: Opens every file for writing that its owner may write to, but writes nothing.
WRITABLE = (
    "for f in $(find /proc /sys -type f -perm -200 2>/dev/null | grep -v '^/proc/[0-9]'); do"
    " (exec 9>>$f) 2>/dev/null && echo $f; done; true"
)
HIDDEN = ("config.gz", "kallsyms", "sched_debug", "kcore", "kmem", "mem")


@pytest.mark.parametrize("net", ["none", "host"])
def test_no_app_steers_the_machines_kernel(stored: Rktpy, net: str) -> None:
    """Root, without a capability for it, could else set what the machine is run by: most files ask for root alone."""
    found = set(shell(stored, WRITABLE, pod=(f"--net={net}",)).stdout.splitlines())
    own = {path for path in found if path.startswith("/proc/sys/net/")}
    # Watching how busy the machine is (the kernel's accounting/psi) changes nothing.
    assert {path for path in found - own if not path.startswith("/proc/pressure/")} == set()
    assert bool(own) == (net == "none")
    refused = shell(stored, "echo 1 >/proc/sys/vm/drop_caches", pod=(f"--net={net}",), status=1).stdout
    assert "Read-only file system" in refused


def test_an_app_with_capabilities_sets_up_its_own_network_only(stored: Rktpy) -> None:
    script = (
        "echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward; echo x >/proc/sys/kernel/domainname || echo no"
    )
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    out = shell(stored, script, "--caps-retain=CAP_NET_ADMIN,CAP_SYS_ADMIN").stdout.splitlines()
    assert out[0] == "1" and out[-1] == "no"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


def test_hidden_paths(stored: Rktpy) -> None:
    hidden = " ".join(HIDDEN)
    script = f"for f in {hidden}; do head -c1 /proc/$f 2>/dev/null | wc -c; done; cd /sys; ls -A firmware fs module power"
    out = shell(stored, script).stdout.split("firmware:")
    assert set(out[0].split()) == {"0"}
    assert [line for line in out[1].splitlines() if line and not line.endswith(":")] == []
    everything = ("--insecure-options=image,paths",)
    # Opened, not written to: this is the machine's.
    script = "wc -l </proc/kallsyms; ls /sys/fs | grep -c cgroup; (exec 9>>/proc/sys/vm/swappiness) && echo opened"
    lines, cgroup, opened = shell(stored, script, pod=everything).stdout.split()
    assert (int(lines) > 1000, cgroup, opened) == (True, "1", "opened")


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device of 1 MB with a word in it."""
    (tmp_path / "disk").write_bytes(b"disk" + bytes((1 << 20) - 4))
    device = subprocess.run(
        [need_tool("losetup"), "--find", "--show", tmp_path / "disk"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_devices(stored: Rktpy, loop: str) -> None:
    """Of disks no node can be made, and a node that is there already cannot be opened, unless it is a volume."""
    number = os.stat(loop).st_rdev
    node = f"{os.major(number)} {os.minor(number)}"
    script = f"mknod /n b {node} 2>/dev/null && head -c4 /n; mknod /null c 1 3 && echo x >/null && echo done; head -c4 /dev/loop0"
    out = shell(stored, script, status=1).stdout.splitlines()
    assert out[0] == "done" and "No such file" in out[1]
    volume = (f"--volume=disk,kind=host,source={loop}", "--mount=volume=disk,target=/dev/disk")
    assert shell(stored, "head -c4 /dev/disk", pod=volume).stdout == "disk\n"
    assert (
        shell(stored, "printf DISK | dd of=/dev/disk conv=notrunc 2>/dev/null; head -c4 /dev/disk", pod=volume).stdout == "DISK\n"
    )


def test_a_node_in_a_volume_is_no_way_to_a_disk(stored: Rktpy, tmp_path: Path, loop: str) -> None:
    directory = tmp_path / "nodes"
    directory.mkdir()
    status = os.stat(loop)
    os.mknod(directory / "disk", status.st_mode, status.st_rdev)
    (directory / "here").touch()
    volume = (f"--volume=v,kind=host,source={directory}", "--mount=volume=v,target=/v")
    done = shell(stored, "ls /v/here; head -c4 /v/disk", pod=volume, status=1)
    assert done.stdout.splitlines() == ["/v/here", "head: /v/disk: Operation not permitted"]
    # Nor for one who enters.
    with Running(stored, tmp_path, "exec sleep 60", pod=volume) as pod:
        assert stored("enter", pod.uuid, "/bin/head", "-c4", "/v/disk", status=1).stdout == ""


def test_processes_of_others_are_not_there(stored: Rktpy, tmp_path: Path) -> None:
    """A pod's processes see and signal one another, and nobody else."""
    first = app("trap 'echo signalled; exit 0' USR1; touch /tmp/up; while :; do sleep 0.05; done", "first")
    # The shells of all apps have the same name: every other process gets the signal, which the kernel keeps from PID 1.
    script = "trap '' USR1; sleep 0.5; ls -d /proc/[0-9]* | wc -l; kill -USR1 -1 2>/dev/null; sleep 1"
    argv = stored.argv(UNSIGNED, "run", pod_of(tmp_path, first, app(script, "second")))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    lines = app_lines(done.stdout)
    assert ("first", "signalled") in lines, (done.stdout, done.stderr)
    (count,) = (line for name, line in lines if name == "second")
    assert int(count) < 10
    with Running(stored, tmp_path, "exec sleep 1234") as other:
        assert "1234" not in shell(stored, "cat /proc/[0-9]*/cmdline").stdout
        assert "pytest" not in stored("enter", other.uuid, "/bin/sh", "-c", "cat /proc/[0-9]*/cmdline").stdout


def test_names_and_memory_of_others(stored: Rktpy, tmp_path: Path) -> None:
    """Abstract sockets, shared memory and the host's name; the last two are shared on demand."""
    memory = Path("/dev/shm/rktpy-test")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0rktpy-test-{os.getpid()}")
        listener.listen()
        probe = (
            "import socket, os, sys; s = socket.socket(socket.AF_UNIX)\n"
            f"try: s.connect('\\0rktpy-test-{os.getpid()}'); print('connected')\n"
            "except OSError as e: print(e.strerror)"
        )
        script = f'{PYTHON} -c "{probe}"; ls /dev/shm; hostname'
        for net, wanted in (("none", "Connection refused"), ("host", "connected")):
            argv = stored(UNSIGNED, "run", f"--net={net}", "--hostname=named", with_python(tmp_path, app(script)))
            assert argv.stdout.splitlines() == [wanted, "named"]
    assert not memory.exists()


def test_mounting_is_not_for_apps(stored: Rktpy) -> None:
    shell(stored, "exec mount -t tmpfs x /tmp", status=31)  # no system call for apps
    done = shell(stored, "mount -t tmpfs x /tmp || umount /proc || echo refused", pod=("--insecure-options=image,seccomp",))
    assert done.stdout.splitlines()[-1] == "refused"
    # What one with the capability mounts stays in its app.
    flags = ("--caps-retain=CAP_SYS_ADMIN,CAP_SYS_CHROOT,CAP_DAC_OVERRIDE",)
    done = shell(
        stored, "mount -t tmpfs mine /tmp && grep -c ' /tmp ' /proc/mounts", *flags, pod=("--insecure-options=image,seccomp",)
    )
    assert done.stdout == "1\n"
    assert "mine" not in Path("/proc/mounts").read_text()


ESCAPE = """
import os
os.makedirs('/jail', exist_ok=True)
top = os.open('/', os.O_RDONLY)
os.chroot('/jail')
os.fchdir(top)
for _ in range(64):
    os.chdir('..')
os.chroot('.')
print(sorted(set(os.listdir('/')) & {'rkt', 'opt', 'boot', 'jail', 'home'}), flush=True)
os.chdir('/')
os.execv('/bin/sh', ['sh', '-c', 'ls /rkt /etc/machine-id /opt/stage2 2>/dev/null; ls -d /jail'])
"""


def test_leaving_a_root_directory_leads_to_the_apps(stored: Rktpy, tmp_path: Path) -> None:
    """The way out of a chroot, with the capability that apps have: the app's root is where it ends."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v/escape.py").write_text(ESCAPE)
    volumes = [{"name": "v", "kind": "host", "source": str(tmp_path / "v")}]
    manifest = with_python(tmp_path, app(f"{PYTHON} /v/escape.py", mounts=[{"volume": "v", "path": "/v"}]), volumes=volumes)
    assert stored(UNSIGNED, "run", manifest).stdout.splitlines() == ["['jail']", "/jail"]


def test_roots_of_other_apps_and_of_the_pod(stored: Rktpy, tmp_path: Path) -> None:
    """By no path, and through /proc for nobody who is another user or has fewer capabilities."""
    owner = app("echo secret >/secret; touch /tmp/up; exec sleep 60", "owner")
    look = (
        "sleep 0.5; ls /opt/stage2 /rkt 2>/dev/null; cat /proc/1/root/etc/machine-id /proc/1/environ 2>/dev/null;"
        " for p in /proc/[0-9]*; do cat $p/root/secret 2>/dev/null; done; exit 3"
    )
    for members in (
        {"user": "7", "group": "7"},
        {"isolators": [{"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}}]},
    ):
        done = stored(UNSIGNED, "run", pod_of(tmp_path, owner, app(look, "other", **members)), status=3)
        assert done.stdout == "", members


def test_sockets_of_the_pods_systemd_and_journal(stored: Rktpy) -> None:
    """There is none of systemd's; the journal's can be written to and not be taken away from the others."""
    script = (
        "ls /run/systemd; rm -f /run/systemd/journal/* 2>/dev/null && echo removed;"
        " mv /run/systemd/journal /run/j 2>/dev/null && echo moved; logger to the log"
    )
    out = shell(stored, script).stdout.splitlines()
    assert sorted(out[:2]) == ["incoming", "journal"] and "removed" not in out and "moved" not in out
    assert "to the log" in out[-1]
