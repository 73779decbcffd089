"""Giving a tree of files to the IDs that a pod in a user namespace has, by changing their owners.

For what is the pod's own: copies of images, and directories that a stage1 makes. Set-user-ID bits, file capabilities, access
control lists and hard links are kept. Hot-path module.
"""

from __future__ import annotations

import os
import stat
from errno import ENODATA, ENOTSUP

from rktpy.errors import RktpyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.user_range import UserRange

_CAPABILITY = "security.capability"
_REVISION_MASK = 0xFF000000
_REVISION_2 = 0x02000000
_REVISION_3 = 0x03000000
_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
_NAMED = (0x02, 0x08)  # ACL_USER, ACL_GROUP: the entries that have an ID


def shift_tree(path: str, users: UserRange) -> None:
    """Give all below ``path`` (made for the pod, in use by nobody) to the host IDs of the pod.

    Stays on the file system that ``path`` is on; what is mounted below is left alone. Raises OSError; RktpyError for an ID that
    the pod has not.
    """
    done: set[tuple[int, int]] = set()
    device = os.stat(path, follow_symlinks=False).st_dev
    for _directory, names, files, fd in os.fwalk(path, follow_symlinks=False):
        _shift(".", fd, users, done)
        below: list[str] = []
        for name in names:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                files.append(name)
            elif status.st_dev == device:
                below.append(name)
        names[:] = below
        for name in files:
            _shift(name, fd, users, done)


def _shift(name: str, fd: int, users: UserRange, done: set[tuple[int, int]]) -> None:
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        # A hard link is met once for each of its names.
        if (status.st_dev, status.st_ino) in done:
            return
        done.add((status.st_dev, status.st_ino))
    path = f"/proc/self/fd/{fd}/{name}"
    link = stat.S_ISLNK(status.st_mode)
    capability = _attribute(path, _CAPABILITY) if stat.S_ISREG(status.st_mode) else None
    lists = {} if link else {one: value for one in _LISTS if (value := _attribute(path, one)) is not None}
    os.chown(name, users.shifted(status.st_uid), users.shifted(status.st_gid), dir_fd=fd, follow_symlinks=False)
    # chown takes away set-user-ID bits and file capabilities.
    if not link and status.st_mode & 0o6000:
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=fd)
    if capability is not None:
        os.setxattr(path, _CAPABILITY, shift_capability(capability, users), follow_symlinks=False)
    for one, value in lists.items():
        os.setxattr(path, one, _shift_list(value, users), follow_symlinks=False)


def shift_capability(value: bytes, users: UserRange) -> bytes:
    """File capabilities (capabilities(7)) of the host's root as those of the pod's root; others are left."""
    magic = int.from_bytes(value[:4], "little")
    if magic & _REVISION_MASK != _REVISION_2 or len(value) != 20:
        return value
    changed = magic & ~_REVISION_MASK | _REVISION_3
    return changed.to_bytes(4, "little") + value[4:] + users.shift.to_bytes(4, "little")


def unshift_capability(value: bytes, users: UserRange) -> bytes:
    """The opposite of :func:`shift_capability`."""
    magic = int.from_bytes(value[:4], "little")
    if magic & _REVISION_MASK != _REVISION_3 or int.from_bytes(value[20:24], "little") != users.shift:
        return value
    return (magic & ~_REVISION_MASK | _REVISION_2).to_bytes(4, "little") + value[4:20]


def _shift_list(value: bytes, users: UserRange) -> bytes:
    changed = bytearray(value)
    for at in range(4, len(value) - 7, 8):
        if int.from_bytes(value[at : at + 2], "little") in _NAMED:
            identity = int.from_bytes(value[at + 4 : at + 8], "little")
            changed[at + 4 : at + 8] = users.shifted(identity).to_bytes(4, "little")
    return bytes(changed)


def _attribute(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (ENODATA, ENOTSUP):
            return None
        raise RktpyError(f"can't read {name}") from error
