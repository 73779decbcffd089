"""Ways out of containers that other runtimes had: each is tried."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root
_PTRACE = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_KILL"]


@pytest.fixture
def interpreter(runtime: Runtime, tmp_path: Path) -> Path:
    """The runtime, run by a copy of the interpreter, which may be harmed."""
    if not runtime.ours:
        pytest.skip("about an interpreter")
    copy = tmp_path / "python3"
    shutil.copy(os.path.realpath(runtime_interpreter()), copy)
    runtime.command = [str(copy), "-IS", runtime.command[-1]]
    return copy


def runtime_interpreter() -> str:
    """The system's."""
    return "/usr/bin/python3"


def digest(path: Path) -> str:
    """What is in a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def privileged(bundle: Bundle) -> None:
    """Capabilities with which a process may look at others."""
    bundle.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), _PTRACE)
    bundle.config["process"]["noNewPrivileges"] = False


@pytest.mark.parametrize("how", ["link", "script", "direct"])
def test_cve_2019_5736_a_program_that_is_the_runtime(runtime: Runtime, bundle: Bundle, interpreter: Path, how: str) -> None:
    """The container's program leads to /proc/self/exe, which it then tries to write to."""
    before = digest(interpreter)
    privileged(bundle)
    program = {"link": "/bin/evil", "script": "/bin/evil", "direct": "/proc/self/exe"}[how]
    if how == "link":
        (bundle.rootfs / "bin/evil").symlink_to("/proc/self/exe")
    elif how == "script":
        (bundle.rootfs / "bin/evil").write_text("#!/proc/self/exe\n")
        (bundle.rootfs / "bin/evil").chmod(0o755)
    bundle.config["process"]["args"] = [program, "/bin/sh", "-c", "true"]
    done = runtime("run", "--bundle", str(bundle.write().path), "one", status=None)
    runtime.started.add("one")
    assert "Python" not in done.stdout + done.stderr
    assert digest(interpreter) == before


def test_cve_2019_5736_looking_at_processes_that_come_in(runtime: Runtime, bundle: Bundle, interpreter: Path) -> None:
    """A process of the container waits for those of ``exec``, and tries to write to what they execute."""
    before = digest(interpreter)
    privileged(bundle)
    attack = "exec 7<$one/exe; echo tried >>/tmp/tried; i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo x >/proc/self/fd/7; done"
    other = "case $one in /proc/1) ;; *) [ $(readlink $one/exe) = /bin/busybox ] || ( " + attack + " );; esac"
    script = f"touch /tmp/ready; while :; do for one in /proc/[0-9]*; do {other}; done; done 2>/dev/null"
    runtime.create(bundle(script), "one")
    runtime("start", "one")
    while not (bundle.rootfs / "tmp/ready").exists():
        time.sleep(0.01)
    for _attempt in range(10):
        runtime("exec", "one", "/bin/true")
    assert digest(interpreter) == before
    assert interpreter.stat().st_size > 1000


def test_cve_2019_5736_the_launchers_interpreter_cannot_be_written(runtime: Runtime, bundle: Bundle) -> None:
    """What the launcher executes is on a read-only mount of no namespace, also for who may do everything."""
    launcher = Path(runtime.command[-1]).resolve().parent / "launch"
    if not runtime.ours or not launcher.exists():
        pytest.skip("the launcher was not built")
    runtime.command = [str(launcher)]
    runtime.started.add("one")
    process = subprocess.Popen(runtime.argv("run", "--bundle", str(bundle("sleep 60").path), "one"), stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while runtime("state", "one", status=None).returncode and time.monotonic() < deadline:
        time.sleep(0.02)
    assert os.path.samefile(f"/proc/{process.pid}/exe", runtime_interpreter())
    # While it runs nobody can write to it anyhow (ETXTBSY); the mount is what counts when it has ended.
    assert os.statvfs(f"/proc/{process.pid}/exe").f_flag & os.ST_RDONLY
    assert not os.statvfs(runtime_interpreter()).f_flag & os.ST_RDONLY
    assert runtime("exec", "one", "echo", "inside").stdout == "inside\n"
    runtime("kill", "one", "KILL")
    assert process.wait(10) == 128 + 9


def test_cve_2019_5736_a_container_that_shares_process_ids(runtime: Runtime, bundle: Bundle, interpreter: Path) -> None:
    """The first process of a second container is seen by the first container while it is the interpreter."""
    before = digest(interpreter)
    privileged(bundle)
    attack = "exec 7<$one/exe; i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo x >/proc/self/fd/7; done"
    other = "case $one in /proc/1) ;; *) [ $(readlink $one/exe) = /bin/busybox ] || ( " + attack + " );; esac"
    runtime.create(bundle(f"touch /tmp/ready; while :; do for one in /proc/[0-9]*; do {other}; done; done 2>/dev/null"), "one")
    runtime("start", "one")
    while not (bundle.rootfs / "tmp/ready").exists():
        time.sleep(0.01)
    bundle.namespace("pid", f"/proc/{runtime.state('one')['pid']}/ns/pid")
    for _attempt in range(5):
        assert runtime.run(bundle("echo ran"), "two") == "ran\n"
    assert digest(interpreter) == before


@pytest.mark.parametrize("target", ["/proc", "/proc/", "//proc/../proc"])
def test_cve_2019_16884_a_volume_over_proc(runtime: Runtime, bundle: Bundle, tmp_path: Path, target: str) -> None:
    """A directory of the image's in the place of /proc would take the labels that are written there."""
    (tmp_path / "fake/self/attr").mkdir(parents=True)
    (tmp_path / "fake/self/attr/exec").touch()
    bundle.mount(target, "bind", str(tmp_path / "fake"), "rbind")
    done = runtime("run", "--bundle", str(bundle("true").path), "one", status=1)
    assert "proc" in done.stderr
    bundle.config["mounts"][-1] = {"destination": target, "type": "tmpfs", "source": "tmpfs"}
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_cve_2019_16884_a_volume_inside_proc(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    bundle.mount("/proc/self/attr", "bind", str(tmp_path / "fake"), "rbind")
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_files_that_may_be_put_into_proc(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1.00 2.00\n")
    bundle.mount("/proc/uptime", "bind", str(tmp_path / "uptime"), "bind", "ro")
    assert runtime.run(bundle("cat /proc/uptime")) == "1.00 2.00\n"


class Swapper:
    """A thread that goes on exchanging a directory and a symbolic link."""

    def __init__(self, directory: Path, to: str) -> None:
        self.path = directory
        (directory / "target").mkdir(parents=True)
        (directory / "link").symlink_to(to)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._swap, daemon=True)

    def _swap(self) -> None:
        from rktpy.linux.constants import AT_FDCWD, RENAME_EXCHANGE
        from rktpy.linux.syscalls import renameat2

        while not self.stop.is_set():
            renameat2(AT_FDCWD, f"{self.path}/target", AT_FDCWD, f"{self.path}/link", RENAME_EXCHANGE)

    def __enter__(self) -> Swapper:
        self.thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop.set()
        self.thread.join()


@pytest.mark.slow
def test_cve_2021_30465_exchanging_a_target_while_it_is_mounted(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """A volume that another container shares holds the target of a further mount."""
    outside = tmp_path / "outside"
    outside.mkdir()
    shared = tmp_path / "shared"
    climb = "../" * 20
    bundle.mount("/volume", "bind", str(shared), "rbind")
    for number in range(5):
        bundle.mount("/volume/target", "tmpfs", f"attack{number}")
    bundle.config["hooks"] = {
        "createContainer": [
            {
                "path": "/bin/sh",
                "args": [
                    "sh",
                    "-c",
                    f"grep -c attack.* /proc/self/mountinfo >/dev/null; grep attack /proc/self/mountinfo >>{tmp_path}/seen",
                ],
            }
        ]
    }
    bundle("ls /volume")
    runtime.started.add("one")
    with Swapper(shared, f"{climb}{outside}"):
        for _attempt in range(25):
            runtime("run", "--bundle", str(bundle.path), "one", status=None)
    lines = (tmp_path / "seen").read_text().splitlines()
    assert lines, "no attempt got as far as to mount"
    # The link is followed inside of the root, where the path of the outside was made.
    assert {line for line in lines if not line.split()[4].startswith(str(bundle.rootfs))} == set()
    assert os.listdir(outside) == []


@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_cve_2023_27561_a_link_in_the_place_of_proc(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    name = "proc" if kind == "proc" else "sys"
    os.rmdir(bundle.rootfs / name)
    (bundle.rootfs / "volume").mkdir()
    (bundle.rootfs / name).symlink_to("volume")
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)
    assert not (runtime.root / "one").exists()


@pytest.mark.parametrize("through", ["/proc/self/fd/{}", "/link/fd/{}", "/proc/self/fd/{}/../../.."])
def test_cve_2024_21626_a_working_directory_that_is_a_descriptor(runtime: Runtime, bundle: Bundle, through: str) -> None:
    (bundle.rootfs / "link").symlink_to("/proc/self")
    runtime.create(bundle("sleep 60"), "other")
    runtime("start", "other")
    probe = (
        "ls etc/debian_version ../etc/debian_version ../../etc/debian_version "
        "../../../../../../etc/debian_version 2>/dev/null; true"
    )
    for fd in range(3, 24):
        cwd = through.format(fd)
        done = runtime("run", "--bundle", str(bundle(probe, cwd=cwd).path), "one", status=None)
        assert done.stdout == "", f"{cwd} leads to the host"
        done = runtime("exec", "--cwd", cwd, "other", "sh", "-c", probe, status=None)
        assert done.stdout == "", f"{cwd} leads to the host"


def test_cve_2024_45310_targets_are_made_inside(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """A link in a shared volume leads out: what is missing is made in the container's root, or not at all."""
    outside = tmp_path / "outside"
    outside.mkdir()
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "link").symlink_to("../" * 20 + str(outside))
    bundle.mount("/volume", "bind", str(shared), "rbind")
    bundle.mount("/volume/link/made/deep", "tmpfs", "tmpfs")
    (tmp_path / "file").touch()
    bundle.mount("/volume/link/file", "bind", str(tmp_path / "file"), "bind")
    runtime("run", "--bundle", str(bundle("true").path), "one", status=None)
    assert os.listdir(outside) == []


def test_cve_2025_31133_something_else_than_the_null_device(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """Masked paths are covered by /dev/null; the image's leads to a file that it wants to write."""
    (bundle.rootfs / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if not one["destination"].startswith("/dev")]
    bundle.linux["maskedPaths"] = ["/proc/timer_list", "/tmp/hidden"]
    (bundle.rootfs / "tmp/hidden").write_text("hidden")
    done = runtime(
        "run", "--bundle", str(bundle("stat -c '%F %t:%T' /proc/timer_list /tmp/hidden; cat /proc/timer_list").path), "one"
    )
    assert done.stdout == "character special file 1:3\n" * 2


@pytest.mark.parametrize("name", ["ptmx", "0"])
def test_cve_2025_52565_something_else_than_a_terminal(runtime: Runtime, bundle: Bundle, tmp_path: Path, name: str) -> None:
    """/dev/console is mounted from a terminal of the container's devpts; the image brings a directory of its own."""
    fake = tmp_path / "pts"
    fake.mkdir()
    (fake / name).symlink_to("/proc/sysrq-trigger")
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["destination"] != "/dev/pts"]
    bundle.mount("/dev/pts", "bind", str(fake), "bind")
    bundle("stat -c %F /dev/console; grep /dev/console /proc/self/mountinfo", terminal=True)
    done = runtime("run", "--bundle", str(bundle.path), "one", status=None)
    runtime.started.add("one")
    assert "sysrq-trigger" not in done.stdout
    assert done.returncode == 1 or "character special" in done.stdout


def test_cve_2025_52565_a_link_in_the_place_of_the_console(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    fake = tmp_path / "dev"
    (fake / "pts").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (fake / "console").symlink_to("/proc/sys/kernel/panic")
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if not one["destination"].startswith("/dev")]
    bundle.mount("/dev", "bind", str(fake), "rbind")
    bundle.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    bundle("grep -e sysrq -e /proc/sys/kernel/panic /proc/self/mountinfo", terminal=True)
    done = runtime("run", "--bundle", str(bundle.path), "one", status=None)
    runtime.started.add("one")
    assert "panic" not in done.stdout


def test_cve_2025_52881_writes_to_proc_go_to_proc(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    """What is written for a kernel parameter must not land in another file of /proc, or of the image's."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake/ip_forward").write_text("")
    (bundle.rootfs / "way").symlink_to("/proc/sys/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    before = len(bundle.config["mounts"])
    for target in ("/proc/sys/net/ipv4", "/way/ipv4", "/proc/self/attr"):
        del bundle.config["mounts"][before:]
        bundle.mount(target, "bind", str(tmp_path / "fake"), "bind")
        done = runtime("run", "--bundle", str(bundle("cat /proc/sys/net/ipv4/ip_forward").path), "one", status=None)
        assert done.returncode == 1, target
        assert (tmp_path / "fake/ip_forward").read_text() == ""


def test_modules_are_not_loaded_from_the_container(runtime: Runtime, bundle: Bundle) -> None:
    """In the container's root the runtime's own files would be the image's."""
    if not runtime.ours:
        pytest.skip("about an interpreter")
    top = Path(runtime.command[-1]).resolve().parent.parent
    for directory in (top, Path("/usr/lib/python3.11"), top.parent):
        inside = bundle.rootfs / str(directory).lstrip("/")
        for name in ("isolate", "oci", "linux", "encodings", "rktpy"):
            (inside / name).mkdir(parents=True, exist_ok=True)
            (inside / name / "__init__.py").write_text("open('/tmp/loaded', 'a').write('x')\n")
        for name in ("signal.py", "traceback.py", "subprocess.py", "oci/hooks.py", "isolate/rlimits.py", "isolate/scheduling.py"):
            (inside / name).write_text("open('/tmp/loaded', 'a').write('x')\n")
    process: dict[str, Any] = {
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}],
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
        "user": {"uid": 5, "gid": 5, "umask": 0},
    }
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/true"}], "createContainer": [{"path": "/bin/true"}]}
    assert runtime.run(bundle("echo ran", **process)) == "ran\n"
    runtime.run(bundle("ls /nothing", cwd="/nothing/deep"), status=None)
    bundle.config["process"]["args"] = ["nothere"]
    runtime("run", "--bundle", str(bundle.write().path), "one", status=1)
    assert not (bundle.rootfs / "tmp/loaded").exists()


def test_no_process_of_ours_stays(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    runtime("exec", "one", "true")
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in shown.splitlines() if "rktpy-oci" in line and str(runtime.root) in line]
