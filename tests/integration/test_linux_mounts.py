"""The mount and namespace calls of both implementations on the real kernel, in namespaces of their own."""

from __future__ import annotations

import os

import pytest

from rktpy.linux import _ctypes
from rktpy.linux import constants as c
from tests.support.namespaces import can_isolate, hierarchies, isolated

pytestmark = [pytest.mark.root, pytest.mark.skipif(not can_isolate(), reason="needs CAP_SYS_ADMIN")]


def _module(name: str) -> object:
    if name == "ctypes":
        return _ctypes
    from rktpy.linux import _sys

    return _sys


def _mounting(name: str) -> dict[str, object]:
    calls = _module(name)
    facts: dict[str, object] = {}
    os.makedirs("/run/a/inner")
    os.mkdir("/run/b")
    calls.mount("tmpfs", "/run/a/inner", "tmpfs", c.MS_NOSUID, "size=64k")  # type: ignore[attr-defined]
    tree = calls.open_tree(c.AT_FDCWD, "/run/a", c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_RECURSIVE)  # type: ignore[attr-defined]
    calls.mount_setattr(tree, "", c.AT_EMPTY_PATH | c.AT_RECURSIVE, c.MOUNT_ATTR_RDONLY, 0, 0, 0)  # type: ignore[attr-defined]
    calls.move_mount(tree, "", c.AT_FDCWD, "/run/b", c.MOVE_MOUNT_F_EMPTY_PATH)  # type: ignore[attr-defined]
    os.close(tree)
    for path in ("/run/b/x", "/run/b/inner/x"):
        try:
            open(path, "w").close()
        except OSError as error:
            facts[path] = error.strerror
    calls.umount2("/run/b", c.MNT_DETACH)  # type: ignore[attr-defined]
    facts["after umount"] = os.listdir("/run/b")
    context = calls.fsopen("tmpfs", c.FSOPEN_CLOEXEC)  # type: ignore[attr-defined]
    calls.fsconfig(context, c.FSCONFIG_SET_STRING, "size", "128k", 0)  # type: ignore[attr-defined]
    calls.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0)  # type: ignore[attr-defined]
    mounted = calls.fsmount(context, c.FSMOUNT_CLOEXEC, c.MOUNT_ATTR_NODEV)  # type: ignore[attr-defined]
    calls.move_mount(mounted, "", c.AT_FDCWD, "/run/b", c.MOVE_MOUNT_F_EMPTY_PATH)  # type: ignore[attr-defined]
    facts["size"] = os.statvfs("/run/b").f_blocks * os.statvfs("/run/b").f_frsize
    os.mkdir("/run/b/old")
    before = os.stat("/").st_ino, os.stat("/").st_dev
    calls.pivot_root("/run/b", "/run/b/old")  # type: ignore[attr-defined]
    facts["pivoted"] = (os.stat("/old").st_ino, os.stat("/old").st_dev) == before
    return facts


@pytest.mark.parametrize("name", ["extension", "ctypes"])
def test_mounting(name: str) -> None:
    if name == "extension":
        pytest.importorskip("rktpy.linux._sys")
    assert isolated(_mounting, name) == {
        "/run/b/x": "Read-only file system",
        "/run/b/inner/x": "Read-only file system",
        "after umount": [],
        "size": 128 * 1024,
        "pivoted": True,
    }


def _naming(name: str) -> tuple[str, int, int]:
    calls = _module(name)
    calls.sethostname("pod-one")  # type: ignore[attr-defined]
    calls.setdomainname("example.test")  # type: ignore[attr-defined]
    own = os.open("/proc/self/ns/uts", os.O_RDONLY)
    calls.unshare(c.CLONE_NEWUTS)  # type: ignore[attr-defined]
    calls.sethostname("other")  # type: ignore[attr-defined]
    calls.setns(own, c.CLONE_NEWUTS)  # type: ignore[attr-defined]
    calls.capset(1 << 0 | 1 << 40, 1 << 0 | 1 << 40, 1 << 40)  # type: ignore[attr-defined]
    effective, _permitted, inheritable = calls.capget()  # type: ignore[attr-defined]
    with open("/proc/sys/kernel/domainname") as file:
        assert file.read() == "example.test\n"
    return os.uname().nodename, effective, inheritable


@pytest.mark.parametrize("name", ["extension", "ctypes"])
def test_names_and_capabilities(name: str) -> None:
    if name == "extension":
        pytest.importorskip("rktpy.linux._sys")
    host = os.uname().nodename
    assert isolated(_naming, name) == ("pod-one", 1 << 0 | 1 << 40, 1 << 40)
    assert os.uname().nodename == host


def _look() -> tuple[list[str], int, list[str], list[str]]:
    own = open("/proc/self/cgroup").read().split()
    return own, os.getppid(), sorted(os.listdir("/sys/fs/cgroup")), os.listdir("/run")


def test_the_sandbox_itself() -> None:
    trees = hierarchies()
    own, parent, mounted, run = isolated(_look, cgroups=True)
    assert parent == 1
    assert run == []
    if len(trees) > 1:
        assert mounted == sorted(os.path.basename(tree.mount_point) for tree in trees)
        assert {line.split(":")[1] for line in own if line.endswith(":/")} >= {tree.options for tree in trees}
    for tree in trees:
        assert not [
            name for name in os.listdir(os.path.dirname(tree.subtree("x"))) if name.startswith(f"rktpy-test-{os.getpid()}-")
        ]


def _fail() -> None:
    raise ValueError("inside")


def _sleep() -> None:
    import time

    time.sleep(60)


def test_the_sandbox_reports_failure_and_time() -> None:
    with pytest.raises(AssertionError, match="inside"):
        isolated(_fail)
    with pytest.raises(AssertionError, match="still running"):
        isolated(_sleep, timeout=0.3)
