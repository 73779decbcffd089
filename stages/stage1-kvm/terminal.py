"""The terminal, or whatever standard input is, of whoever runs an interactive pod. Hot-path module."""

from __future__ import annotations

import os
import select
from time import monotonic

from rktpy.isolate.raw_terminal import RawTerminal
from rktpy.stage1.kvm.frames import CREDIT, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.channel import Channel

_ESCAPE = 0x1D  # ^]
_ESCAPES = 3
_ESCAPE_WITHIN_S = 1.0
_CHUNK = 4096


class Escape:
    """Three ^] within a second. Only what the user types counts."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def seen(self, data: bytes) -> bool:
        """Whether ``data`` completes it."""
        now = monotonic()
        for byte in data:
            if byte != _ESCAPE:
                self._times.clear()
                continue
            self._times = [when for when in self._times if now - when < _ESCAPE_WITHIN_S]
            self._times.append(now)
            if len(self._times) >= _ESCAPES:
                return True
        return False


def window_size() -> bytes:
    """Rows and columns of our terminal as data of a frame, empty when we have none."""
    from fcntl import ioctl
    from struct import unpack
    from termios import TIOCGWINSZ

    for fd in (1, 0):
        if os.isatty(fd):
            rows, columns, _x, _y = unpack("HHHH", ioctl(fd, TIOCGWINSZ, bytes(8)))
            if rows and columns:
                return number(rows) + number(columns)
    return b""


class Terminal:
    """Input for the app ``identity`` from our standard input, in raw mode if that is a terminal."""

    def __init__(self, identity: int) -> None:
        self._id = identity
        self.room = CREDIT
        self.resized = True
        self._open = True
        self._last = 10
        self._escape = Escape()
        self._raw = RawTerminal(0) if os.isatty(0) else None
        if self._raw is not None:
            self._raw.__enter__()

    def restore(self) -> None:
        """Give the user the terminal back as it was."""
        if self._raw is not None:
            self._raw.__exit__(None, None, None)
            self._raw = None

    def tell_size(self, channel: Channel) -> None:
        """Tell the guest how large our terminal is, if that has changed."""
        if self.resized:
            self.resized = False
            size = window_size()
            if size:
                channel.send("c", self._id, size)

    def register(self, poll: select.poll) -> None:
        """Wait for input if there is room for it."""
        if self._open and self.room:
            poll.register(0, select.POLLIN)

    def handle(self, events: dict[int, int], channel: Channel) -> bool:
        """Pass input on; whether the user wants to end the pod."""
        if not self._open or not events.get(0):
            return False
        try:
            data = os.read(0, min(_CHUNK, self.room))
        except OSError:
            data = b""
        if not data:
            # The end of our input is the end of the app's: ^D, and one more to end a line that has begun.
            self._open = False
            if self._raw is None:
                channel.send("d", self._id * 4, b"\x04" if self._last == 10 else b"\x04\x04")
            return False
        if self._raw is not None and self._escape.seen(data):
            return True
        self._last = data[-1]
        self.room -= len(data)
        channel.send("d", self._id * 4, data)
        return False
