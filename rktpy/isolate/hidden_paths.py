"""Hiding paths of a container, and making paths of it read-only, many at a time. Missing paths are passed over.

What covers a file is the host's null device, opened before the container's root is entered and looked at: a container that could
put something else in its place would have that mounted over its own /proc (CVE-2025-31133). Hot-path module.
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR

from rktpy.errors import Stage1Error
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls

_NULL = (1, 3)
_EMPTY = c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC
_ATTACH = c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH


class HidePaths(Operation):
    """Cover directories with one empty read-only tmpfs, files with the null device. Executed while the host's /dev is seen."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"hide {', '.join(map(shown, self.paths))}"

    def execute(self, root: Root) -> None:
        null = empty = -1
        try:
            for path in self.paths:
                target = _open(root, path)
                if target < 0:
                    continue
                try:
                    at = f"/proc/self/fd/{target}"
                    if not stat.S_ISDIR(os.fstat(target).st_mode):
                        if null < 0:
                            null = open_null()
                        syscalls.mount(f"/proc/self/fd/{null}", at, None, c.MS_BIND, None)
                    elif empty < 0:
                        syscalls.mount("tmpfs", at, "tmpfs", _EMPTY, "nr_blocks=1,nr_inodes=2,mode=000")
                        empty = root.open(path)
                    else:
                        syscalls.mount(f"/proc/self/fd/{empty}", at, None, c.MS_BIND, None)
                except OSError as error:
                    raise OSError(error.errno, error.strerror, path) from error
                finally:
                    os.close(target)
        finally:
            for fd in (null, empty):
                if fd >= 0:
                    os.close(fd)


class ProtectPaths(Operation):
    """Make what is at ``paths``, with all below, a read-only mount of its own."""

    paths: tuple[str, ...]

    def describe(self) -> str:
        return f"make {', '.join(map(shown, self.paths))} read-only"

    def execute(self, root: Root) -> None:
        for path in self.paths:
            target = _open(root, path)
            if target < 0:
                continue
            try:
                flags = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_EMPTY_PATH
                tree = syscalls.open_tree(target, "", flags | c.AT_RECURSIVE)
                try:
                    syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH | c.AT_RECURSIVE, c.MOUNT_ATTR_RDONLY, 0, 0, 0)
                    syscalls.move_mount(tree, "", target, "", _ATTACH)
                finally:
                    os.close(tree)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error
            finally:
                os.close(target)


def open_null() -> int:
    """An O_PATH descriptor of the host's null device. Raises OSError, Stage1Error when it is something else."""
    fd = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or (os.major(status.st_rdev), os.minor(status.st_rdev)) != _NULL:
        os.close(fd)
        raise Stage1Error("/dev/null is not the null device")
    return fd


def _open(root: Root, path: str) -> int:
    try:
        return root.open(path)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR, ELOOP):
            return -1
        raise
