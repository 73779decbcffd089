"""What crosses the boundary of a fly pod, and what must not."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rktpy.isolate.detached import open_detached
from rktpy.linux import constants as c
from rktpy.linux.syscalls import mount, umount2
from tests.support.fly_pods import ENTRY_POINTS, UUID, entry_point, make_pod, run, shell, start

pytestmark = pytest.mark.root

ROOT = ENTRY_POINTS.parent.parent


def run_with_lock(pod: Path, lock: int) -> subprocess.CompletedProcess[str]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    return subprocess.run(
        [str(ENTRY_POINTS / "run"), UUID],
        cwd=pod,
        env={"RKT_LOCK_FD": str(lock)},
        pass_fds=(lock,),
        capture_output=True,
        text=True,
        timeout=20,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_a_detached_lock_is_a_lock_and_no_way_out(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("for d in /proc/$$/fd/*/; do ls ${d} ${d}.. ${d}../../../..; done; true"))
    lock = open_detached(str(pod))
    other = os.open(pod, os.O_RDONLY)
    try:
        done = run_with_lock(pod, lock)
        assert done.returncode == 0
        assert "appsinfo" in done.stdout, "the directory itself is still there for root"
        assert tmp_path.name not in done.stdout and "etc" not in done.stdout.split()
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(other)


def test_another_user_cannot_use_the_lock(tmp_path: Path) -> None:
    script = "for d in /proc/$$/fd/*/; do ls ${d}pod ${d}../ ${d}stage1; done; true"
    pod = make_pod(tmp_path / "p", {**shell(script), "user": "web", "group": "www"})
    lock = open_detached(str(pod))
    try:
        done = run_with_lock(pod, lock)
        assert (done.returncode, done.stdout) == (0, "")
    finally:
        os.close(lock)


def test_descriptors_of_the_caller_are_closed(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell("ls -l /proc/self/fd"))
    lock = os.open(pod, os.O_RDONLY)
    leaked = os.open("/etc", os.O_RDONLY)
    high = fcntl.fcntl(leaked, fcntl.F_DUPFD, 200)
    os.set_inheritable(leaked, True)
    os.set_inheritable(high, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [str(ENTRY_POINTS / "run"), UUID],
            cwd=pod,
            env={"RKT_LOCK_FD": str(lock)},
            pass_fds=(lock, leaked, high),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0
        assert "/etc" not in done.stdout and "200" not in done.stdout
    finally:
        for fd in (lock, leaked, high):
            os.close(fd)


def test_mounts_of_the_app_stay_in_the_pod(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    volumes = [{"name": "data", "kind": "host", "source": str(data)}]
    mounts = [{"volume": "data", "path": "/data"}]
    pod = make_pod(
        tmp_path / "p", shell("mount -t tmpfs t /data && touch /data/x"), runtime={"mounts": mounts}, pod={"volumes": volumes}
    )
    assert run(pod)[0] == 0
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_a_shared_mount_point_stays_shared(tmp_path: Path, read_only: bool) -> None:
    """A volume that is a shared mount of the host: what the app mounts there is seen on the host, and the other way round."""
    data = tmp_path / "data"
    data.mkdir()
    mount("data", data, "tmpfs", 0, None)
    try:
        mount(None, data, None, c.MS_SHARED, None)
        (data / "in").mkdir()
        (data / "out").mkdir()
        volumes = [{"name": "data", "kind": "host", "source": str(data), "readOnly": read_only}]
        script = "mount -t tmpfs t /data/out && touch /data/out/x; echo up; read x; ls /data/in"
        pod = make_pod(
            tmp_path / "p", shell(script), runtime={"mounts": [{"volume": "data", "path": "/data"}]}, pod={"volumes": volumes}
        )
        process = start(pod, stdin=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        try:
            assert os.listdir(data / "out") == ["x"]
            mount("late", data / "in", "tmpfs", 0, None)
            (data / "in/late").touch()
        finally:
            out, _err = process.communicate("go\n", timeout=20)
        assert out == "late\n"
    finally:
        umount2(data, c.MNT_DETACH)


def test_what_the_host_mounts_later_shows_up(tmp_path: Path) -> None:
    """The namespace is a slave of the host's."""
    data = Path(f"/run/slave-{tmp_path.name}")
    (data / "sub").mkdir(parents=True)
    mount("data", data, "tmpfs", 0, None)
    mount(None, data, None, c.MS_SHARED, None)
    (data / "sub").mkdir()
    (data / "sub/sub").mkdir()
    try:
        volumes = [{"name": "data", "kind": "host", "source": str(data / "sub")}]
        pod = make_pod(
            tmp_path / "p",
            shell("echo up; read x; ls /data/sub; mount -t tmpfs t /data && echo mounted"),
            runtime={"mounts": [{"volume": "data", "path": "/data"}]},
            pod={"volumes": volumes},
        )
        process = start(pod, stdin=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        mount("late", data / "sub/sub", "tmpfs", 0, None)
        (data / "sub/sub/late").touch()
        out, _err = process.communicate("go\n", timeout=20)
        assert out == "late\nmounted\n"
        assert os.listdir(data / "sub") == ["sub"]
    finally:
        umount2(data, c.MNT_DETACH)


def test_enter_takes_over_the_oom_score(tmp_path: Path) -> None:
    app = {**shell("echo up; sleep 60"), "isolators": [{"name": "os/linux/oom-score-adj", "value": 321}]}
    pod = make_pod(tmp_path / "p", app)
    process = start(pod)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        command = ("cat", "/proc/self/oom_score_adj")
        assert entry_point(pod, "enter", f"--pid={process.pid}", "--", *command) == (0, "321\n", "")
    finally:
        process.kill()
        process.communicate()


def test_without_the_extension(tmp_path: Path) -> None:
    """The whole of run with the ctypes fallback."""
    isolators = [
        {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN"]}},
        {"name": "os/linux/seccomp-remove-set", "value": {"set": ["reboot"]}},
    ]
    script = "while read n v; do case $n in CapEff:|Seccomp:) echo $v;; esac; done </proc/self/status"
    pod = make_pod(tmp_path / "p", {**shell(script), "isolators": isolators})
    program = (
        f"import sys; sys.path.append({str(ROOT)!r}); sys.modules['rktpy.linux._sys'] = None; "
        f"from rktpy.stage1.fly.run import main; main([{UUID!r}])"
    )
    lock = os.open(pod, os.O_RDONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", program],
            cwd=pod,
            env={"RKT_LOCK_FD": str(lock)},
            pass_fds=(lock,),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        os.close(lock)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["0000000000000001", "2"], "")


def test_a_source_that_is_something_else_on_the_host(tmp_path: Path) -> None:
    """The caller's own view of a path counts, not that of the namespace it came from."""
    data = tmp_path / "data"
    data.mkdir()
    pod = make_pod(
        tmp_path / "p",
        shell("ls /data"),
        runtime={"mounts": [{"volume": "data", "path": "/data"}]},
        pod={"volumes": [{"name": "data", "kind": "host", "source": str(data)}]},
    )
    inside = (
        f"mount --make-rshared / && mount -t tmpfs t {data} && touch {data}/mine && cd {pod} && exec {ENTRY_POINTS}/run {UUID}"
    )
    lock = os.open(pod, os.O_RDONLY)
    try:
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", inside],
            env={"RKT_LOCK_FD": str(lock), "PATH": os.environ["PATH"]},
            pass_fds=(lock,),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    finally:
        os.close(lock)
    assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")
    assert os.listdir(data) == []
