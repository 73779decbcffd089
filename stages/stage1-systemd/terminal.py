"""A terminal of the pod's for a command that is entered from a terminal of ours, and the pump between the two.

The command never gets our terminal: whoever has a terminal open can put characters into its input (TIOCSTI). Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat

from rktpy.errors import StateError

_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_PTMX = os.makedev(5, 2)


def open_terminal(pod_root: str) -> tuple[int, int]:
    """A new pseudo terminal in the pod's own /dev/pts: its master and its other side. Raises OSError, StateError.

    ``pod_root`` is the root of the pod's first process, which no app can change.
    """
    master = os.open(f"{pod_root}/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW)
    status = os.fstat(master)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _PTMX:
        os.close(master)
        raise StateError("the pod has no terminals")
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0\0\0\0")
    return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def pump(master: int, until: int) -> None:
    """Copy between our standard streams and a terminal until ``until`` (a pidfd) is readable and nothing is left.

    Raises OSError.
    """
    poll = select.poll()
    for fd in (0, master, until):
        poll.register(fd, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if ready.get(0):
            data = os.read(0, 4096)
            if data:
                _write(master, data)
            else:
                poll.unregister(0)
        if ready.get(master) and not _forward(master):
            poll.unregister(master)
        if ready.get(until):
            os.set_blocking(master, False)
            while _forward(master):
                pass
            return


def _forward(master: int) -> bool:
    """Copy once from the terminal to standard output; false when there is nothing (more)."""
    try:
        data = os.read(master, 4096)
    except OSError:  # nobody has it open any more, or nothing is there
        return False
    _write(1, data)
    return bool(data)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
