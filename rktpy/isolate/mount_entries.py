"""The mounts of a container's configuration as operations.

Targets are resolved in the container's root by the kernel (see :mod:`rktpy.isolate.root`) and stay open until something is
mounted on them, so that a link that is put in the way meanwhile leads nowhere else (CVE-2021-30465). Nothing but a proc file
system comes to /proc and hardly anything below it (CVE-2019-16884, CVE-2023-27561). Hot-path module.
"""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ELOOP, ENOENT, EPERM

from rktpy.errors import Stage1Error
from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls

_ATTACH = c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH
_CLONE = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC
#: Files of a proc file system that may be covered: what LXCFS and its like replace.
_COVERABLE = frozenset(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"),
        *("sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"),
    )
)


class MountFilesystem(Operation):
    """Mount a file system of ``kind`` at ``target``, with all that a configuration may say about it.

    ``real_path`` refuses a target that symbolic links lead to. ``copy_up`` fills a tmpfs with what was there before.
    """

    kind: str
    source: str
    target: str
    flags: int = 0
    data: str = ""
    propagation: tuple[int, ...] = ()
    tree_set: int = 0
    tree_clear: int = 0
    real_path: bool = False
    copy_up: bool = False

    def describe(self) -> str:
        return f"mount {self.kind} at {shown(self.target)}" + (f" with {self.data}" if self.data else "")

    def execute(self, root: Root) -> None:
        target = open_target(root, self.target, directory=True, real_path=self.real_path)
        try:
            _refuse_in_proc(target, self.target, self.kind)
            if self.copy_up:
                self._copied_up(target)
            else:
                path = f"/proc/self/fd/{target}"
                syscalls.mount(self.source or self.kind, path, self.kind, self.flags, self.data or None)
        finally:
            os.close(target)
        if self.propagation or self.tree_set or self.tree_clear:
            mounted = root.open(self.target)
            try:
                for one in self.propagation:
                    syscalls.mount(None, f"/proc/self/fd/{mounted}", None, one, None)
                if self.tree_set or self.tree_clear:
                    flags = c.AT_EMPTY_PATH | c.AT_RECURSIVE
                    syscalls.mount_setattr(mounted, "", flags, self.tree_set, self.tree_clear, 0, 0)
            finally:
                os.close(mounted)

    def _copied_up(self, target: int) -> None:
        """A new tmpfs, filled while nobody sees it."""
        from rktpy.isolate.copy_tree import copy_tree

        before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
        try:
            tree = self._detached()
            try:
                copy_tree(before, f"/proc/self/fd/{tree}/.")
                if self.flags & c.MS_RDONLY:
                    syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH, c.MOUNT_ATTR_RDONLY, 0, 0, 0)
                syscalls.move_mount(tree, "", target, "", _ATTACH)
            finally:
                os.close(tree)
        finally:
            os.close(before)

    def _detached(self) -> int:
        from rktpy.isolate.mount_options import ATTRIBUTES

        context = syscalls.fsopen(self.kind, c.FSOPEN_CLOEXEC)
        try:
            syscalls.fsconfig(context, c.FSCONFIG_SET_STRING, "source", self.source or self.kind, 0)
            for option in self.data.split(",") if self.data else ():
                name, equals, value = option.partition("=")
                command = c.FSCONFIG_SET_STRING if equals else c.FSCONFIG_SET_FLAG
                syscalls.fsconfig(context, command, name, value if equals else None, 0)
            syscalls.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0)
            attributes = 0
            for flag, attribute in ATTRIBUTES.items():
                if self.flags & flag and flag != c.MS_RDONLY:
                    attributes |= attribute
            return syscalls.fsmount(context, c.FSMOUNT_CLOEXEC, attributes)
        finally:
            os.close(context)


class Remount(Operation):
    """Change what is mounted at ``target`` (option ``remount``)."""

    target: str
    flags: int
    data: str = ""

    def describe(self) -> str:
        return f"remount {shown(self.target)}"

    def execute(self, root: Root) -> None:
        target = root.open(self.target)
        try:
            syscalls.mount(None, f"/proc/self/fd/{target}", None, self.flags | c.MS_REMOUNT, self.data or None)
        finally:
            os.close(target)


class BindTree(Operation):
    """Show ``source``, a path of the host, at ``target``.

    ``set`` and ``clear`` are attributes of the mount itself, ``tree_set`` and ``tree_clear`` of all that comes along. With
    ``tree`` the source was opened before (:meth:`opened`), in another mount namespace or with other IDs.
    """

    source: str
    target: str
    recursive: bool = False
    set: int = 0
    clear: int = 0
    tree_set: int = 0
    tree_clear: int = 0
    propagation: tuple[int, ...] = ()
    follow_source: bool = True
    follow_target: bool = True
    copy_link: bool = False
    tree: int = -1

    def describe(self) -> str:
        return f"bind {'recursively ' if self.recursive else ''}{shown(self.source)} at {shown(self.target)}"

    def open_source(self) -> int:
        """A detached copy of the source. Raises OSError."""
        flags = _CLONE | (c.AT_RECURSIVE if self.recursive else 0) | (0 if self.follow_source else c.AT_SYMLINK_NOFOLLOW)
        return syscalls.open_tree(c.AT_FDCWD, self.source, flags)

    def opened(self) -> BindTree:
        """The same with its source open."""
        return self if self.tree >= 0 else self.replace(tree=self.open_source())

    def execute(self, root: Root) -> None:
        if self.copy_link and os.path.islink(self.source):
            self._copy_link(root)
            return
        tree = self.tree if self.tree >= 0 else self.open_source()
        try:
            self._attributes(tree)
            kind = os.fstat(tree).st_mode
            if stat.S_ISLNK(kind) or not self.follow_target:
                target = _open_unfollowed(root, self.target, stat.S_ISDIR(kind))
            else:
                target = open_target(root, self.target, directory=stat.S_ISDIR(kind))
            try:
                self._check(tree, target, kind)
                syscalls.move_mount(tree, "", target, "", _ATTACH)
            finally:
                os.close(target)
        finally:
            os.close(tree)

    def _attributes(self, tree: int) -> None:
        if self.set or self.clear:
            try:
                syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH, self.set, self.clear | _atime(self.set), 0, 0)
            except OSError as error:
                if error.errno != EPERM or not self.clear:
                    raise
                # Attributes that a user namespace must not take away; what is added must be had all the same.
                syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH, self.set, _atime(self.set), 0, 0)
        if self.tree_set or self.tree_clear:
            flags = c.AT_EMPTY_PATH | c.AT_RECURSIVE
            syscalls.mount_setattr(tree, "", flags, self.tree_set, self.tree_clear | _atime(self.tree_set), 0, 0)
        for one in self.propagation:
            recursive = c.AT_RECURSIVE if one & c.MS_REC else 0
            syscalls.mount_setattr(tree, "", c.AT_EMPTY_PATH | recursive, 0, 0, one & ~c.MS_REC, 0)

    def _check(self, tree: int, target: int, kind: int) -> None:
        where = os.fstat(target).st_mode
        if stat.S_ISDIR(where) != stat.S_ISDIR(kind):
            source, at = shown(self.source), shown(self.target)
            raise Stage1Error(
                f"can't mount because {source} is a directory while {at} is not"
                if stat.S_ISDIR(kind)
                else f"can't mount because {source} is not a directory while {at} is"
            )
        if clean(self.target) == "/proc":
            if syscalls.filesystem_type(tree) != c.PROC_SUPER_MAGIC:
                raise Stage1Error(f"{shown(self.target)} cannot be mounted because it is not of type proc")
            return
        _refuse_in_proc(target, self.target, "bind")

    def _copy_link(self, root: Root) -> None:
        directory, _slash, name = clean(self.target).rpartition("/")
        parent = root.target(directory or "/", directory=True)
        try:
            to = os.readlink(self.source)
            try:
                os.symlink(to, name, dir_fd=parent)
            except FileExistsError:
                if os.readlink(name, dir_fd=parent) != to:
                    raise
        finally:
            os.close(parent)


def open_target(root: Root, path: str, *, directory: bool, real_path: bool = False) -> int:
    """An O_PATH descriptor of a mount's target, made if it is missing. Raises OSError, Stage1Error."""
    if not real_path:
        return root.target(path, directory=directory)
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    resolve = c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS | c.RESOLVE_NO_SYMLINKS
    for attempt in range(2):
        try:
            return syscalls.openat2(root.fd, path, flags, 0, resolve)
        except OSError as error:
            if error.errno == ELOOP:
                raise Stage1Error(f"can't mount at {shown(path)}: it is a symbolic link, or one leads to it") from None
            if error.errno != ENOENT or attempt:
                raise
        os.close(root.target(path, directory=True))
    raise OSError(EINVAL, os.strerror(EINVAL), path)


def clean(path: str) -> str:
    """``path`` without ``.``, ``..`` and double slashes, as a path from the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _atime(attributes: int) -> int:
    return c.MOUNT_ATTR__ATIME if attributes & c.MOUNT_ATTR__ATIME else 0


def _open_unfollowed(root: Root, path: str, directory: bool) -> int:
    above, _slash, name = clean(path).rpartition("/")
    parent = root.target(above or "/", directory=True)
    try:
        if directory:
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                pass
        else:
            try:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
            except FileExistsError:
                pass
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)


def _refuse_in_proc(target: int, path: str, kind: str) -> None:
    cleaned = clean(path)
    if cleaned == "/proc":
        if kind != "proc":
            raise Stage1Error(f"{shown(path)} cannot be mounted because it is not of type proc")
        return
    inside = cleaned.startswith("/proc/") or syscalls.filesystem_type(target) == c.PROC_SUPER_MAGIC
    if inside and cleaned not in _COVERABLE:
        raise Stage1Error(f"{shown(path)} cannot be mounted because it is inside /proc")
