"""Pods in a user namespace, on overlays whose lower layer has other IDs than the tree in the store."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import tarfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import RktpyError
from rktpy.formats.stage1 import app_rootfs
from rktpy.formats.user_range import UserRange
from rktpy.isolate.mounts import Bind, Mkdir
from rktpy.isolate.root import Root
from rktpy.isolate.userns import BecomeNamespaceRoot, BorrowedMountNamespace, open_user_namespace, write_id_maps
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.stage0 import private_users
from rktpy.stage0.overlay import writable_overlay
from rktpy.stage0.pods import find_pod
from rktpy.stage0.private_users import reserve_range
from rktpy.stage0.run import mount_roots
from rktpy.store.store import Store
from tests.conftest import Rktpy
from tests.support.namespaces import isolated
from tests.support.userns_image import CAPABILITY, make_image

pytestmark = pytest.mark.root

UNSIGNED = "--insecure-options=image"
ROOTFS = app_rootfs("probe")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("probe"))


def prepared(rktpy: Rktpy, image: Path, *flags: str) -> tuple[Path, UserRange]:
    done = rktpy(UNSIGNED, "prepare", "--quiet", "--private-users", *flags, str(image))
    pod = rktpy.data / "pods/prepared" / done.stdout.strip()
    return pod, UserRange.parse((pod / "private-users-prepared").read_text())


def in_user_namespace(users: UserRange, root: str, function: Callable[[], Any]) -> Any:
    """What ``function`` gives, called as root of a user namespace with a root directory of its own."""
    go_reader, go = os.pipe()
    answer, answer_writer = os.pipe()
    pid, pidfd = syscalls.clone3(c.CLONE_NEWUSER | c.CLONE_NEWPID | c.CLONE_NEWNS | c.CLONE_NEWNET, -1)
    if pid == 0:
        try:
            os.close(go)
            os.read(go_reader, 1)
            os.chdir(root)  # while we may still pass the host's directories above it
            BecomeNamespaceRoot().execute(None)  # type: ignore[arg-type]
            os.chroot(".")
            os.write(answer_writer, pickle.dumps(function()))
        except BaseException:
            os.write(answer_writer, pickle.dumps(traceback.format_exc()))
        finally:
            os._exit(0)
    write_id_maps(pid, users)
    for fd in (go, go_reader, answer_writer, pidfd):
        os.close(fd)
    with open(answer, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    return pickle.loads(data)


def as_user(program: str, argv0: str) -> int:
    """The exit status of a program that an unprivileged user starts."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            os.execv(program, [argv0])
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def owners(*paths: str) -> dict[str, tuple[int, int]]:
    return {path: (os.lstat(path).st_uid, os.lstat(path).st_gid) for path in paths}


PATHS = ("/", "/etc/secret", "/home/file", "/home", "/plain", "/etc/mtab")


def use_the_pod() -> dict[str, Any]:
    """What a process in the pod sees and does."""
    seen: dict[str, Any] = {"owners": owners(*PATHS)}
    seen["links"] = os.stat("/etc/secret").st_nlink, os.path.samefile("/link", "/home/link")
    seen["programs"] = {
        f"{program} {kind}": as_user(program, kind) for program in ("/plain", "/setuid", "/capable") for kind in "uc"
    }
    with open("/etc/secret", "a") as file:  # brings it up
        file.write(" told")
    for path, uid in (("/tmp/new", 0), ("/home/new", 1000)):
        with open(path, "w") as file:
            file.write("new")
        os.chown(path, uid, uid)
    os.chmod("/tmp/new", 0o4755)
    os.chmod("/capable", 0o700)  # brings it up
    os.mkdir("/home/directory", 0o750)
    seen["new owners"] = owners("/tmp/new", "/home/new", "/etc/secret")
    seen["capability"] = os.getxattr("/capable", "security.capability")
    try:
        os.chown("/tmp/new", 70000, 0)
    except OSError:
        seen["outside"] = "refused"
    return seen


def run_in(data: str, uuid: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start the pod as ``run`` does, and use it; what is seen inside and outside. The pod has exited afterwards."""
    with find_pod(data, uuid, "test") as pod, Store(data) as store:
        pod.to_run()
        os.chdir(pod.path)
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        mount_roots(store, pod, fd)
        users = private_users.pod_range(pod)
        assert users is not None
        inside = in_user_namespace(users, f"{pod.path}/{ROOTFS}", use_the_pod)
        assert isinstance(inside, dict), inside
        outside = owners(*(f"{ROOTFS}{path}" for path in PATHS))
    return inside, {path.removeprefix(ROOTFS): owner for path, owner in outside.items()}


IMAGE_OWNERS = {"/": (0, 0), "/etc/secret": (0, 0), "/home/file": (1000, 1001), "/home": (1000, 1000), "/plain": (0, 0)}
PROGRAMS = {"/plain u": 1, "/plain c": 1, "/setuid u": 0, "/setuid c": 0, "/capable u": 1, "/capable c": 0}


@pytest.mark.parametrize("flags", [(), ("--no-overlay",)], ids=["overlay", "copy"])
def test_root_of_the_pod_is_another_user_outside(rktpy: Rktpy, image: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    pod, users = prepared(rktpy, image, *flags)
    assert (pod / "overlay-prepared").exists() == (not flags)
    inside, outside = isolated(run_in, str(rktpy.data), pod.name)
    assert inside["owners"] == {**IMAGE_OWNERS, "/etc/mtab": (0, 0)}
    assert outside == {path: (uid + users.shift, gid + users.shift) for path, (uid, gid) in inside["owners"].items()}
    assert inside["links"] == (3, True)
    assert inside["programs"] == PROGRAMS
    assert inside["new owners"] == {"/tmp/new": (0, 0), "/home/new": (1000, 1000), "/etc/secret": (0, 0)}
    assert inside["capability"] == CAPABILITY
    assert inside["outside"] == "refused"

    ran = rktpy.data / "pods/run" / pod.name
    if not flags:
        [upper] = ran.glob("overlay/*/upper/probe")
        for name, uid in (("tmp/new", 0), ("home/new", 1000), ("etc/secret", 0), ("home/directory", 0), (".", 0)):
            assert (upper / name).stat().st_uid == users.shifted(uid), name
        [tree] = (rktpy.data / "cas/tree").glob("*/rootfs")
        assert (tree / "etc/secret").stat().st_uid == 0 and (tree / "etc/secret").read_text() == "secret"

    # An export has the pod's IDs, not the host's.
    rktpy("export", pod.name, str(tmp_path / "out.aci"))
    with tarfile.open(tmp_path / "out.aci") as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
        assert members["rootfs/capable"].pax_headers["SCHILY.xattr.security.capability"] == CAPABILITY.decode()
        secret = archive.extractfile(members["rootfs/etc/secret"])
        assert secret is not None and secret.read() == b"secret told"
    for name, uid, gid in (
        ("etc/secret", 0, 0),
        ("home/file", 1000, 1001),
        ("home/new", 1000, 1000),
        ("tmp/new", 0, 0),
        ("etc/mtab", 0, 0),
        ("home/directory", 0, 0),
    ):
        member = members[f"rootfs/{name}"]
        assert (member.uid, member.gid) == (uid, gid), name
    assert members["rootfs/tmp/new"].mode & 0o4000
    assert [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(rktpy.data) in line] == []


def test_a_file_system_without_id_mapped_mounts_gets_a_copy(launcher: Path, busybox_images: Path, tmp_path: Path) -> None:
    data = tmp_path / "ramfs"
    data.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "ramfs", data], check=True)
    try:
        rktpy = Rktpy(launcher, data)
        archive = str(busybox_images / "busybox.aci")
        done = rktpy("--debug", UNSIGNED, "prepare", "--quiet", "--private-users", archive)
        assert "disabling overlay support for the user namespace" in done.stderr
        pod = rktpy.data / "pods/prepared" / done.stdout.strip()
        users = UserRange.parse((pod / "private-users-prepared").read_text())
        assert not (pod / "overlay-prepared").exists()
        assert (pod / app_rootfs("busybox") / "bin/busybox").stat().st_uid == users.shift
    finally:
        subprocess.run(["umount", data], check=True)


def test_no_range_is_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_users, "_SLOTS", 24)
    (tmp_path / "locks").mkdir()
    (tmp_path / "pods/garbage/broken").mkdir(parents=True)
    (tmp_path / "pods/garbage/broken/private-users-prepared").write_text("65")
    children: list[int] = []
    for number in range(40):
        pod = tmp_path / f"pods/{('prepare', 'run', 'exited-garbage')[number % 3]}/{number}"
        pod.mkdir(parents=True)
        child = os.fork()
        if child == 0:
            status = 2
            try:
                fd = os.open(pod, os.O_RDONLY)
                reserve_range(str(tmp_path), fd)
                status = 0
            except RktpyError as error:
                status = 1 if "are in use" in str(error) else 3
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    found = [UserRange.parse(path.read_text()).shift for path in tmp_path.glob("pods/*/[0-9]*/private-users-prepared")]
    assert len(found) == len(set(found)) == statuses.count(0) > 10
    assert statuses.count(1) == 40 - len(found) >= 16


def test_ranges_of_others_are_avoided(tmp_path: Path) -> None:
    def inside() -> set[int]:
        for name, text in (
            ("subuid", "alice:200000:10\nbroken\n:x:1\nbob:99999999999:1\n"),
            ("passwd", f"low:x:1000:1::/:\nhigh:x:{0x300000 + 5}:1::/:\n"),
        ):
            (tmp_path / name).write_text(text)
            syscalls.mount(str(tmp_path / name), f"/etc/{name}", None, c.MS_BIND, None)
        pid, pidfd = syscalls.clone3(c.CLONE_NEWUSER, -1)
        if pid == 0:
            signal_pause()
        write_id_maps(pid, UserRange(0x500000, 0x20000))
        try:
            return private_users._taken(str(tmp_path))
        finally:
            syscalls.pidfd_send_signal(pidfd, 9, 0)
            os.waitpid(pid, 0)

    Path("/etc/subuid").touch()
    assert isolated(inside) >= {0, 3, 0x30, 0x50, 0x51}
    assert 200 not in isolated(inside)


def signal_pause() -> None:
    import signal

    try:
        signal.pause()
    finally:
        os._exit(0)


def test_volumes_are_mapped_when_that_is_asked_for(tmp_path: Path) -> None:
    users = UserRange(0x100000)
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("x")
    os.chown(volume / "file", 7, 8)

    def inside() -> list[tuple[int, int]]:
        directory = tmp_path / "root"
        directory.mkdir()
        root = Root(str(directory), users.shift)
        for operation in (
            Mkdir("/made"),
            Bind(str(volume), "/plain"),
            Bind(str(volume), "/mapped", users=users),
        ):
            operation.execute(root)
        os.setegid(users.shift)
        os.seteuid(users.shift)
        (directory / "mapped/new").write_text("")
        return [
            (os.stat(directory / name).st_uid, os.stat(directory / name).st_gid) for name in ("plain/file", "mapped/file", "made")
        ]

    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith(("pytest-", "popen-")):  # one more of them in a worker of pytest-xdist
            parent.chmod(0o755)
    assert isolated(inside) == [(7, 8), (users.shift + 7, users.shift + 8), (users.shift, users.shift)]
    assert (volume / "new").stat().st_uid == 0, "a file of the pod's root is the host's root's"
    assert "with IDs of 1048576:65536" in Bind("/a", "/b", users=users).describe()


def test_a_namespace_without_processes_and_a_borrowed_one() -> None:
    before = os.readlink("/proc/self/ns/mnt"), os.getcwd(), len(os.listdir("/proc/self/fd"))
    fd = open_user_namespace(UserRange(0x100000))
    assert os.readlink(f"/proc/self/fd/{fd}") != os.readlink("/proc/self/ns/user")
    os.close(fd)
    with pytest.raises(ZeroDivisionError), BorrowedMountNamespace():
        assert os.readlink("/proc/self/ns/mnt") != before[0]
        syscalls.mount("tmpfs", "/mnt", "tmpfs", 0, None)
        os.mkdir("/mnt/seen")
        raise ZeroDivisionError
    assert not os.path.exists("/mnt/seen")
    assert before == (os.readlink("/proc/self/ns/mnt"), os.getcwd(), len(os.listdir("/proc/self/fd")))
    assert stat.S_ISDIR(os.stat("/").st_mode)


def test_an_overlay_for_an_app_that_is_added_later(tmp_path: Path) -> None:
    users = UserRange(0x100000)
    lower, pod = tmp_path / "tree", tmp_path / "pod"
    for path in (lower, pod):
        path.mkdir()
    (lower / "file").write_text("x")
    os.chown(lower / "file", 5, 6)
    pod_fd = os.open(pod, os.O_RDONLY | os.O_DIRECTORY)
    try:
        root = writable_overlay(pod_fd, "tree", str(lower), "app", users, str(pod))
        try:
            status = os.stat("file", dir_fd=root)
            assert (status.st_uid, status.st_gid) == (users.shift + 5, users.shift + 6)
            os.chmod("file", 0o640, dir_fd=root)  # brings it up
        finally:
            os.close(root)
    finally:
        os.close(pod_fd)
    upper = pod / "overlay/tree/upper/app"
    assert [(upper / name).stat().st_uid for name in (".", "file")] == [users.shift, users.shift + 5]
    assert (lower / "file").stat().st_uid == 5
