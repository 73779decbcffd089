"""User namespaces of pods, and mounts that show files with the IDs of one (id-mapped mounts, mount_setattr(2), Linux 5.12).

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.isolate.id_maps import map_tree, open_mapped_namespace, write_map
from rktpy.isolate.plan import Operation
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.user_range import UserRange


def write_id_maps(pid: int, users: UserRange, *, reverse: bool = False) -> None:
    """Map the IDs of the user namespace that the process ``pid`` was cloned into, once and for all; needs CAP_SETUID outside.

    0 to ``count - 1`` inside are the host's ``shift`` and on; with ``reverse`` it is the other way round. Raises OSError.
    """
    for name in ("gid_map", "uid_map"):
        write_map(pid, name, _text(users, reverse))


def _text(users: UserRange, reverse: bool) -> str:
    return f"{users.shift} 0 {users.count}" if reverse else f"0 {users.shift} {users.count}"


def deny_setgroups(pid: int) -> None:
    """Forbid setgroups(2) in the user namespace of ``pid``, before its IDs are mapped. Raises OSError.

    Only needed for a map that the caller writes without privileges: else apps could not have supplementary groups.
    """
    fd = os.open(f"/proc/{pid}/setgroups", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"deny")
    finally:
        os.close(fd)


def open_user_namespace(users: UserRange, *, reverse: bool = False) -> int:
    """The descriptor of a user namespace with the IDs of ``users`` that no process is in. Raises OSError."""
    text = _text(users, reverse)
    return open_mapped_namespace(text, text)


def map_mount(tree: int, users: UserRange, *, reverse: bool = False, recursive: bool = False) -> None:
    """Give the detached mount ``tree`` (open_tree(2) with OPEN_TREE_CLONE) the IDs of ``users``.

    A file of ID N is then seen, and made, as ``shift + N``, which is N in the pod. With ``reverse``, ``shift + N`` is seen as N.
    Raises OSError, EINVAL when the file system cannot.
    """
    namespace = open_user_namespace(users, reverse=reverse)
    try:
        map_tree(tree, namespace, recursive=recursive)
    finally:
        os.close(namespace)


def cover_mapped(path: str, users: UserRange, *, reverse: bool = False) -> None:
    """Mount the directory ``path`` over itself with the IDs of ``users``, see :func:`map_mount`. Raises OSError.

    It is mounted in the mount namespace that we are in; umount2(2) of the path takes it away again.
    """
    tree = syscalls.open_tree(c.AT_FDCWD, path, c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC)
    try:
        map_mount(tree, users, reverse=reverse)
        syscalls.move_mount(tree, "", c.AT_FDCWD, path, c.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


class BecomeNamespaceRoot(Operation):
    """User and group 0 of the user namespace that we were cloned into, once its IDs are mapped; no supplementary groups."""

    def describe(self) -> str:
        return "become root of the user namespace"

    def execute(self, root: Root) -> None:
        os.setresgid(0, 0, 0)
        os.setgroups(())
        os.setresuid(0, 0, 0)


class BorrowedMountNamespace:
    """A context manager: a mount namespace of our own while it is entered, then back to where we were.

    What is mounted meanwhile is seen by nobody else and is gone afterwards, but for what descriptors or other mounts hold. The
    calling thread must not share its working directory with others. Raises OSError.
    """

    __slots__ = ("_directory", "_namespace", "_root")

    def __init__(self) -> None:
        self._directory = self._namespace = self._root = -1

    def __enter__(self) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            self._root = os.open("/", flags)
            self._directory = os.open(".", flags)
            self._namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.unshare(c.CLONE_NEWNS)
        except BaseException:
            self._close()
            raise
        try:
            syscalls.mount(None, "/", None, c.MS_REC | c.MS_SLAVE, None)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_exception: object) -> None:
        try:
            syscalls.setns(self._namespace, c.CLONE_NEWNS)  # root and working directory are the namespace's then
            os.fchdir(self._root)
            os.chroot(".")
            os.fchdir(self._directory)
        finally:
            self._close()

    def _close(self) -> None:
        for fd in (self._root, self._directory, self._namespace):
            if fd >= 0:
                os.close(fd)
