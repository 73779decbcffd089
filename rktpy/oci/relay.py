"""Copying between our terminal and that of a process in the foreground."""

from __future__ import annotations

import fcntl
import os
import select
import termios
from signal import SIG_UNBLOCK, SIGCHLD, SIGWINCH, pthread_sigmask, set_wakeup_fd, signal
from struct import pack

from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.foreground import PASSED, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from types import FrameType

_MOST = 65536


def receive_master(end: socket) -> int:
    """The master of the terminal, from the other end of the socket that the process sent it to. Raises RuntimeFailure."""
    from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOL_SOCKET

    _text, control, _flags, _address = end.recvmsg(4096, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
    for level, kind, data in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            return int.from_bytes(data[:4], "little")
    raise RuntimeFailure("the process sent no terminal")


class Raw:
    """A context manager: our terminal, if standard input is one, without anything that acts on what is typed."""

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before: list[object] | None = None

    def __enter__(self) -> None:
        try:
            before = termios.tcgetattr(0)
        except termios.error:
            return
        self._before = list(before)
        changed = termios.tcgetattr(0)
        changed[0] &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        changed[1] &= ~termios.OPOST
        changed[2] = changed[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        changed[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSANOW, changed)

    def __exit__(self, *_exception: object) -> None:
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)  # type: ignore[arg-type]


def copy_size(master: int) -> None:
    """Give the process's terminal the size of ours, if we have one."""
    for fd in range(3):
        try:
            size = fcntl.ioctl(fd, c.TIOCGWINSZ, pack("HHHH", 0, 0, 0, 0))
            fcntl.ioctl(master, c.TIOCSWINSZ, size)
            return
        except OSError:
            continue


def relay(pid: int, pidfd: int, master: int) -> int:
    """Copy until the process has ended and all that it wrote is told; gives what a shell would say of its end."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in PASSED - {64}:
        try:
            signal(number, _nothing)
        except (OSError, ValueError):
            continue
    set_wakeup_fd(writer, warn_on_full_buffer=False)
    pthread_sigmask(SIG_UNBLOCK, PASSED)
    copy_size(master)
    status: int | None = None
    poll = select.poll()
    for fd in (0, master, reader, pidfd):
        poll.register(fd, select.POLLIN)
    with Raw():
        while True:
            for fd, event in poll.poll(100 if status is not None else None):
                if fd == reader:
                    for number in os.read(reader, 4096):
                        if number == SIGWINCH:
                            copy_size(master)
                        elif number != SIGCHLD:
                            _pass(pidfd, number)
                elif fd == pidfd:
                    status = reap(pid) if status is None else status
                    poll.unregister(pidfd)
                elif fd == master:
                    if not _copy(master, 1):
                        return _final(pid, pidfd, status)
                elif event & (select.POLLIN | select.POLLHUP) and not _copy(0, master):
                    poll.unregister(0)
            if status is not None and not _readable(master):
                return status


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor tells of the signal."""


def _pass(pidfd: int, number: int) -> None:
    try:
        syscalls.pidfd_send_signal(pidfd, number, 0)
    except ProcessLookupError:
        pass


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(event & select.POLLIN for _fd, event in poll.poll(0))


def _copy(source: int, target: int) -> bool:
    try:
        piece = os.read(source, _MOST)
        view = memoryview(piece)
        while view:
            view = view[os.write(target, view) :]
    except OSError:
        return False
    return bool(piece)


def _final(pid: int, pidfd: int, status: int | None) -> int:
    """Nobody has the terminal open any more; the process may go on without."""
    if status is not None:
        return status
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll(None)
    found = reap(pid)
    return 1 if found is None else found
