"""Landlock on the real kernel: what no rule allows is denied, under fly too."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rktpy.formats.aci.isolators import Landlock
from rktpy.isolate.landlock import confine_program, confined, landlock_abi, plan_landlock
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from tests.support.fly_pods import make_pod, run, shell
from tests.unit.test_linux_syscalls import in_child

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _needs_landlock() -> None:
    if not landlock_abi():
        pytest.skip("no Landlock in this kernel")


@pytest.fixture
def root(tmp_path: Path) -> Root:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "b/single").write_text("x")
    (tmp_path / "outside").symlink_to("/")
    return Root(str(tmp_path))


def denied(call: Callable[[], object]) -> bool:
    """Whether the call fails for lack of a right (EXDEV: of moving to another directory)."""
    try:
        call()
    except OSError as error:
        if error.errno not in (1, 13, 18):
            raise
        return True
    return False


def restricted(root: Root, wanted: Landlock, use: Callable[[Path], list[bool]], abi: int = 0) -> list[bool]:
    """What ``use`` gives in a process that has been restricted; true is denied."""
    operation, _entry = plan_landlock("app", wanted, abi or landlock_abi(), root)
    assert operation is not None

    def child() -> int:
        operation.execute(root)
        return sum(answer << number for number, answer in enumerate(use(Path(root.path))))

    bits = in_child(child)
    assert bits < 99
    return [bool(bits >> number & 1) for number in range(6)]


def test_reading(root: Root) -> None:
    def use(path: Path) -> list[bool]:
        return [
            denied((path / "a/file").read_text),
            denied((path / "b/file").read_text),
            denied((path / "b/single").read_text),
            denied(lambda: os.listdir(path)),
            denied(lambda: (path / "b/new").write_text("x")),
            denied(lambda: os.rename(path / "b/new", path / "new")),
        ]

    # Of the symbolic link no more is allowed than the root that it leads to inside: all of it would be.
    assert restricted(root, Landlock(read=("/a", "/b/single", "/missing")), use) == [False, True, False, True, False, False]
    assert restricted(root, Landlock(read=("/outside",)), use) == [False] * 6


def test_writing(root: Root) -> None:
    def use(path: Path) -> list[bool]:
        return [
            denied(lambda: (path / "a/new").write_text("x")),
            denied(lambda: (path / "b/new").write_text("x")),
            denied(lambda: (path / "b/single").write_text("x")),
            denied(lambda: os.truncate(path / "b/file", 0)),
            denied(lambda: os.unlink(path / "b/file")),
            denied(lambda: os.rename(path / "a/new", path / "b/single")),
        ]

    truncating = landlock_abi() >= 3
    assert restricted(root, Landlock(write=("/a", "/b/single")), use) == [False, True, False, truncating, True, True]
    assert restricted(root, Landlock(write=()), lambda path: use(path)[:5]) == [True, True, True, truncating, True, False]
    # An old kernel does not restrict truncating, and that is told.
    assert restricted(root, Landlock(write=("/a",)), use, 2)[3] is False
    assert "truncating is not restricted" in plan_landlock("app", Landlock(write=()), 2)[1].reason


def test_executing(root: Root, tmp_path: Path) -> None:
    busybox = Path("/bin/busybox").read_bytes()
    for name in "ab":
        (tmp_path / name / "true").write_bytes(busybox)
        (tmp_path / name / "true").chmod(0o755)

    def runs(program: Path) -> Callable[[], object]:
        def call() -> object:
            child = os.fork()
            if child == 0:
                try:
                    os.execv(program, ["true"])
                except OSError:
                    os._exit(77)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77:
                raise PermissionError(13, "")
            return None

        return call

    answers = restricted(
        root,
        Landlock(exec=("/a",)),
        lambda path: [denied(runs(path / "a/true")), denied(runs(path / "b/true")), denied((path / "b/true").read_bytes)],
    )
    assert answers[:3] == [False, True, False]


def test_ports(root: Root) -> None:
    if landlock_abi() < 4:
        pytest.skip("this kernel's Landlock knows no ports")

    def use(_path: Path) -> list[bool]:
        with socket.socket() as allowed, socket.socket() as other, socket.socket() as client:
            return [
                denied(lambda: allowed.bind(("127.0.0.1", 18080))),
                denied(lambda: other.bind(("127.0.0.1", 18081))),
                denied(lambda: allowed.listen(1)),
                denied(lambda: client.connect(("127.0.0.1", 18080))),
                denied((Path(root.path) / "a/file").read_text),
            ]

    assert restricted(root, Landlock(bind=(18080,), connect=()), use)[:5] == [False, True, False, True, False]
    assert restricted(root, Landlock(bind=(18080,), connect=(18080,)), use)[:5] == [False, True, False, False, False]


def test_without_privileges_it_needs_no_new_privileges(root: Root) -> None:
    operation, _entry = plan_landlock("app", Landlock(read=("/a",)), landlock_abi(), root)
    assert operation is not None

    def child() -> int:
        os.setresuid(1000, 1000, 1000)
        try:
            operation.execute(root)
        except PermissionError:
            pass
        else:
            return 1
        syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        operation.execute(root)
        return 0

    os.chmod(root.path, 0o755)
    for parent in Path(root.path).parents[:2]:
        parent.chmod(0o755)
    assert in_child(child) == 0


def app(script: str, value: object, **more: object) -> dict[str, object]:
    return {**shell(script), "isolators": [{"name": "rktpy/landlock", "value": value}], **more}


def test_fly_restricts_the_app(tmp_path: Path) -> None:
    value = {"read": ["/etc/passwd"], "write": ["/tmp", "/dev"], "exec": ["/bin"], "connect": []}
    script = "cat /etc/passwd >/tmp/copy && echo read; cat /etc/group; echo x >/work/f; mkdir /tmp/d && echo made; exec /etc/tool"
    for number, who in enumerate(({}, {"user": "web", "group": "www"})):
        pod = make_pod(tmp_path / str(number), app(script, value, **who))
        tool = pod / "stage1/rootfs/opt/stage2/app/rootfs/etc/tool"
        tool.write_bytes(Path("/bin/busybox").read_bytes())
        tool.chmod(0o755)
        (pod / "stage1/rootfs/opt/stage2/app/rootfs/work").chmod(0o777)
        status, out, err = run(pod)
        assert (status, out) == (126, "read\nmade\n"), err
        assert err.count("Permission denied") + err.count("permission denied") == 3, err
        assert ("rktpy/landlock is changed" in err) == (landlock_abi() < 5)


def test_fly_reports_paths_that_are_not_there(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", app("true", {"exec": ["/bin", "/lib64"]}))
    assert run(pod) == (0, "", 'stage1: app app: rktpy/landlock is changed: not there: "/lib64"\n')
    assert run(make_pod(tmp_path / "q", app("true", {"exec": ["/lib64"]})), "--strict")[0] == 254
    status, _out, err = run(make_pod(tmp_path / "r", app("true", {"exec": []})))
    assert (status, err) == (254, 'stage1: can\'t execute "/bin/sh": permission denied\n')


def test_a_restriction_of_the_whole_pod_is_reported(tmp_path: Path) -> None:
    isolators = {"isolators": [{"name": "rktpy/landlock", "value": {"read": []}}]}
    _status, _out, err = run(make_pod(tmp_path / "p", shell("true"), pod=isolators))
    assert err == "stage1: rktpy/landlock is not enforced: it counts for an app, not for a pod\n"


def confined_output(root: Path, wanted: Landlock, script: str, uid: int) -> tuple[int, str, str]:
    """Run a shell script in a root by way of ``confine``, as something else than rktpy would: status, stdout, stderr."""
    operation, _entry = plan_landlock("app", wanted, landlock_abi(), None)
    assert operation is not None
    (root / "confine").write_bytes(Path(confine_program()).read_bytes())
    (root / "confine").chmod(0o755)
    command = confined(operation, "/confine", "/bin/busybox", ("sh", "-c", script))

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")
        os.setgroups(())
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)

    done = subprocess.run(
        command, preexec_fn=enter, env={"PATH": "/bin", "KEPT": "x"}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("uid", [0, 1000])
def test_confine_restricts_what_somebody_else_starts(tmp_path: Path, uid: int) -> None:
    root = make_pod(tmp_path / "p") / "stage1/rootfs/opt/stage2/app/rootfs"
    for name in ("work", "var"):
        (root / name).chmod(0o777)
    wanted = Landlock(
        read=("/etc/passwd", "/proc", "/missing", "/bin/busybox/none"), write=("/var",), exec=("/bin",), connect=(80,)
    )
    script = "cat /etc/passwd >/var/copy && echo $KEPT; cat /etc/group; echo x >/work/f; exec /confine"
    status, out, err = confined_output(root, wanted, script, uid)
    assert (status, out) == (126, "x\n"), err
    assert [line.rpartition(": ")[2].lower() for line in err.splitlines()] == ["permission denied"] * 3
    assert confined_output(root, Landlock(exec=()), "true", uid)[::2] == (
        254,
        'stage1: can\'t execute "/bin/busybox": permission denied\n',
    )


def test_confine_starts_nothing_when_it_was_called_wrongly() -> None:
    confine = confine_program()
    for arguments in (
        (),
        ("1", "0", "--", "/bin/true"),
        ("g", "0", "--", "/bin/true", "true"),
        ("1", "0", "path", "1", "/", "/bin/true", "true"),
        ("1", "0", "paths", "1", "/", "--", "/bin/true", "true"),
        ("1", "0", "path", "2", "/", "--", "/bin/true", "true"),
        ("1", "3", "port", "1", "70000", "--", "/bin/true", "true"),
        ("0", "0", "--", "/bin/true", "true"),
        ("1", "0", "path", "1", "/", "--", "/does/not/exist", "x"),
    ):
        done = subprocess.run([confine, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 254 and done.stderr.startswith("stage1: can't "), arguments
