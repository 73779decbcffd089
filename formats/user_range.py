"""The range of host user and group IDs that a pod in a user namespace has: the ``shift:count`` of the contract with a stage1.

Source: rkt 1.30 ``pkg/user/uid_range.go``. Hot-path module.
"""

from __future__ import annotations

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
        if not colon or not (shift.isdecimal() and count.isdecimal() and text.isascii() and len(text) <= 21) or not int(count):
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
