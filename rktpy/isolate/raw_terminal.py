"""A terminal of ours in raw mode, and its size for another one. Hot-path module."""

from __future__ import annotations

import fcntl
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


def copy_window_size(source: int, target: int) -> None:
    """Give one terminal the size of another; what is no terminal is left alone."""
    try:
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        pass


class RawTerminal:
    """Our terminal in raw mode, as a context manager."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before = termios.tcgetattr(fd)

    def __enter__(self) -> RawTerminal:
        # cfmakeraw(3)
        now = list(self._before)
        now[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        now[1] &= ~termios.OPOST
        now[2] = now[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        now[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(self._fd, termios.TCSADRAIN, now)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
