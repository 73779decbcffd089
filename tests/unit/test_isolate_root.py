"""Paths, users and programs inside a root that a hostile image made."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import InputError, NotFoundError
from rktpy.isolate.copy_tree import copy_tree
from rktpy.isolate.executable import find_executable
from rktpy.isolate.root import Root
from rktpy.isolate.users import resolve_user

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
web:x:1000:1001::/srv/web:/bin/ash
7:x:70:71::/:/bin/false
short:x:1
bad:x:one:2::/:/bin/sh
huge:x:99999999999:2::/:/bin/sh
negative:x:-1:2::/:/bin/sh
"""
GROUP = "root:x:0:\nwww:x:1001:\nlogs:x:2002:web,other\nmore:x:2003:other,web\nbad:x:y:web\nnomembers:x:5\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    rootfs = tmp_path / "rootfs"
    for name in ("bin", "etc", "opt/x/bin"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "etc/passwd").write_text(PASSWD)
    (rootfs / "etc/group").write_text(GROUP)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (rootfs / "up").symlink_to("../outside")
    (rootfs / "absolute").symlink_to("/etc")
    (rootfs / "dangling").symlink_to("/run/not/there")
    (rootfs / "loop").symlink_to("loop")
    return rootfs


def test_links_stay_inside(tree: Path) -> None:
    with Root(str(tree)) as root:
        assert root.stat("/up/secret") is None
        assert root.read("/absolute/group") == GROUP.encode()
        assert root.read("../../../etc/passwd") == PASSWD.encode()
        assert root.read("/etc") is None
        with pytest.raises(OSError) as raised:
            root.stat("/loop")
        assert raised.value.errno == errno.ELOOP


def test_a_fifo_does_not_block(tree: Path) -> None:
    os.mkfifo(tree / "etc/fifo")
    with Root(str(tree)) as root:
        assert root.read("/etc/fifo") is None


def test_targets_are_made_inside(tree: Path, tmp_path: Path) -> None:
    with Root(str(tree)) as root:
        for path, made, directory in (
            ("/a/b/c", "a/b/c", True),
            ("/a/b/file", "a/b/file", False),
            ("/dangling/deep", "run/not/there/deep", True),
            ("/up/new", "outside/new", True),
            ("/../../x/../y", "y", False),
            ("/absolute/new.conf", "etc/new.conf", False),
        ):
            fd = root.target(path, directory=directory)
            found = os.fstat(fd)
            os.close(fd)
            assert os.path.samestat(found, (tree / made).stat()), path
            assert stat.S_ISDIR(found.st_mode) == directory
        assert stat.S_IMODE((tree / "a/b/c").stat().st_mode) == 0o755 & ~_umask()
        with pytest.raises(OSError) as raised:
            root.target("/loop/x", directory=True)
        assert raised.value.errno == errno.ELOOP
        with pytest.raises(NotADirectoryError):
            root.target("/etc/passwd/x", directory=True)
    assert sorted(os.listdir(tmp_path)) == ["outside", "rootfs"]
    assert os.listdir(tmp_path / "outside") == ["secret"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["..", "up", "absolute", "dangling", "new", ".", "", "etc", "a", "loop"]), min_size=1, max_size=8),
    st.booleans(),
)
def test_no_target_leaves_the_root(tmp_path_factory: pytest.TempPathFactory, parts: list[str], directory: bool) -> None:
    base = tmp_path_factory.mktemp("hostile")
    (base / "outside").mkdir()
    rootfs = base / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "up").symlink_to("../outside")
    (rootfs / "absolute").symlink_to("/etc/../..")
    (rootfs / "dangling").symlink_to("../../outside/made")
    (rootfs / "loop").symlink_to("/loop")
    with Root(str(rootfs)) as root:
        try:
            os.close(root.target("/" + "/".join(parts), directory=directory))
        except OSError as error:
            assert error.errno in (errno.ELOOP, errno.ENOTDIR)
    assert sorted(os.listdir(base)) == ["outside", "rootfs"]
    assert os.listdir(base / "outside") == []


@pytest.mark.parametrize(
    ("user", "group", "uid", "gid", "groups"),
    [
        ("web", "www", 1000, 1001, (1001,)),
        ("web", ":user", 1000, 1001, (1001, 2002, 2003)),
        ("1000", ":user", 1000, 1001, (1001, 2002, 2003)),
        ("5", ":user", 5, 0, (0,)),
        ("7", "0", 70, 0, (0,)),  # a name comes before a number
        ("8", "9", 8, 9, (9,)),
        ("4294967294", "0", 4294967294, 0, (0,)),
        ("root", "root", 0, 0, (0,)),
    ],
)
def test_users(tree: Path, user: str, group: str, uid: int, gid: int, groups: tuple[int, ...]) -> None:
    with Root(str(tree)) as root:
        found = resolve_user(root, user, group)
    assert (found.uid, found.gid, found.groups) == (uid, gid, groups)


@pytest.mark.parametrize(
    "user", ["nobody", "short", "bad", "huge", "negative", "4294967295", "-1", "1e3", "٣", "/missing", "web:x"]
)
def test_users_that_are_not_there(tree: Path, user: str) -> None:
    with Root(str(tree)) as root, pytest.raises(InputError, match="image"):
        resolve_user(root, user, "0")


def test_user_without_files(tmp_path: Path) -> None:
    with Root(str(tmp_path)) as root:
        assert resolve_user(root, "root", "root").account is None
        with pytest.raises(InputError, match='group "web" not found'):
            resolve_user(root, "0", "web")


def test_owner_of_a_file_inside(tree: Path) -> None:
    (tree / "mine").symlink_to("/etc/passwd")
    expected = (tree / "etc/passwd").stat()
    with Root(str(tree)) as root:
        found = resolve_user(root, "/mine", "/mine", (5, 5, 6))
    assert (found.uid, found.gid) == (expected.st_uid, expected.st_gid)
    assert found.groups == (expected.st_gid, 5, 6)


def test_group_of_converted_docker_images(tree: Path) -> None:
    with Root(str(tree)) as root:
        assert resolve_user(root, "web", "web", group_may_be_uid=True).gid == 1000
        with pytest.raises(InputError):
            resolve_user(root, "web", "other", group_may_be_uid=True)


def program(path: Path, mode: int = 0o755) -> None:
    path.write_text("")
    path.chmod(mode)


def test_programs(tree: Path) -> None:
    program(tree / "bin/tool")
    program(tree / "opt/x/bin/tool")
    program(tree / "opt/x/bin/plain", 0o644)
    (tree / "bin/dir").mkdir()
    (tree / "bin/linked").symlink_to("/opt/x/bin/tool")
    (tree / "bin/outside").symlink_to("../../outside/secret")
    with Root(str(tree)) as root:
        assert find_executable(root, "/any/where", None, "/") == "/any/where"
        assert find_executable(root, "sub/tool", "/bin", "/opt") == "/opt/sub/tool"
        assert find_executable(root, "tool", "/opt/x/bin:/bin", "/") == "/opt/x/bin/tool"
        assert find_executable(root, "tool", "/nowhere:/loop:bin", "/opt/x") == "/opt/x/bin/tool"
        assert find_executable(root, "tool", "", "/opt/x/bin") == "/opt/x/bin/tool"
        assert find_executable(root, "tool", None, "/opt/x/bin") == "/opt/x/bin/tool"
        assert find_executable(root, "tool", None, "") == "/bin/tool"
        assert find_executable(root, "linked", "/bin", "/") == "/bin/linked"
        for name in ("plain", "dir", "outside", "missing", "x" * 300):
            with pytest.raises(NotFoundError, match="unable to find"):
                find_executable(root, name, "/bin:/opt/x/bin", "/")


def test_copied_tree_is_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    target.mkdir()
    (source / "sub/file").write_bytes(b"x" * 3_000_000)
    os.link(source / "sub/file", source / "again")
    (source / "link").symlink_to("/etc/shadow")
    os.mkfifo(source / "fifo", 0o640)
    os.setxattr(source / "sub", "user.a", b"b")
    os.utime(source / "sub/file", ns=(1_000_000_001, 2_000_000_002))
    (source / "sub").chmod(0o1711)
    fd = os.open(source, os.O_RDONLY)
    copy_tree(fd, str(target))
    os.close(fd)
    assert (target / "sub/file").read_bytes() == b"x" * 3_000_000
    assert (target / "again").stat().st_ino == (target / "sub/file").stat().st_ino
    assert (target / "sub/file").stat().st_mtime_ns == 2_000_000_002
    assert os.readlink(target / "link") == "/etc/shadow"
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode) and stat.S_IMODE((target / "fifo").stat().st_mode) == 0o640
    assert os.getxattr(target / "sub", "user.a") == b"b"
    assert stat.S_IMODE((target / "sub").stat().st_mode) == 0o1711
    with pytest.raises(FileExistsError):
        fd = os.open(source, os.O_RDONLY)
        try:
            copy_tree(fd, str(target))
        finally:
            os.close(fd)
