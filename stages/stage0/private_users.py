"""The range of host user IDs that a pod in a user namespace gets (``--private-users``).

Source: rkt 1.30 ``pkg/user/uid_range.go``: 65536 IDs from a random multiple of 65536 on. The most significant bit stays clear
because devpts reads IDs as signed numbers. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import FormatError, RktpyError
from rktpy.record import Record

COUNT = 0x10000


class UserRange(Record):
    """Host IDs ``shift`` to ``shift + count - 1`` are 0 to ``count - 1`` in the pod."""

    shift: int
    count: int = COUNT

    def __str__(self) -> str:
        return f"{self.shift}:{self.count}"

    @classmethod
    def parse(cls, text: str) -> UserRange:
        """Read ``shift:count``. Raises FormatError."""
        shift, colon, count = text.partition(":")
        if not colon or not (shift.isdigit() and count.isdigit() and len(text) <= 21):
            raise FormatError("range of user IDs", "", f"{text!r} is not shift:count")
        return cls(int(shift), int(count))

    def shifted(self, identity: int) -> int:
        """The host's ID for one of the pod. Raises RktpyError when it is outside the range."""
        if not 0 <= identity < self.count:
            raise RktpyError(f"uid or gid {identity} is outside the range of {self.count} that the pod has")
        return identity + self.shift

    def unshifted(self, identity: int) -> int:
        """The pod's ID for one of the host. Raises RktpyError when it is outside the range."""
        if not self.shift <= identity < self.shift + self.count:
            raise RktpyError(f"uid or gid {identity} is outside the pod's range {self}")
        return identity - self.shift


def random_range() -> UserRange:
    """A range for a new pod. Raises RktpyError when the kernel has no user namespaces."""
    if not os.path.exists("/proc/self/uid_map"):
        raise RktpyError("--private-users is not supported, kernel compiled without user namespace support")
    return UserRange((int.from_bytes(os.urandom(2), "little") % 0x7FFF + 1) << 16)


def shift_tree(path: str, users: UserRange) -> None:
    """Give all below ``path`` (a fresh copy that nobody uses yet) to the host IDs of the pod. Raises OSError, RktpyError."""
    done: set[tuple[int, int]] = set()
    for _directory, names, files, fd in os.fwalk(path, follow_symlinks=False):
        _shift(".", fd, users, done)
        for name in (*files, *[name for name in names if _is_link(name, fd)]):
            _shift(name, fd, users, done)


def _is_link(name: str, fd: int) -> bool:
    return os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode & 0o170000 == 0o120000


def _shift(name: str, fd: int, users: UserRange, done: set[tuple[int, int]]) -> None:
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if status.st_nlink > 1 and status.st_mode & 0o170000 != 0o040000:
        # A hard link is met once for each of its names.
        if (status.st_dev, status.st_ino) in done:
            return
        done.add((status.st_dev, status.st_ino))
    attributes = _capability(name, fd, status.st_mode)
    os.chown(name, users.shifted(status.st_uid), users.shifted(status.st_gid), dir_fd=fd, follow_symlinks=False)
    if status.st_mode & 0o170000 != 0o120000:
        # chown takes away set-user-ID bits and file capabilities.
        if status.st_mode & 0o6000:
            os.chmod(name, status.st_mode & 0o7777, dir_fd=fd)
        if attributes is not None:
            os.setxattr(f"/proc/self/fd/{fd}/{name}", "security.capability", attributes, follow_symlinks=False)


def _capability(name: str, fd: int, mode: int) -> bytes | None:
    if mode & 0o170000 != 0o100000:
        return None
    try:
        return os.getxattr(f"/proc/self/fd/{fd}/{name}", "security.capability", follow_symlinks=False)
    except OSError:
        return None
