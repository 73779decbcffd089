"""Cloning the pod's first process, the pipes to it, the console, and becoming the monitor. Hot-path module."""

from __future__ import annotations

import os
import sys

from rktpy.cgroup.pod import own_processes
from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.linux import constants as c
from rktpy.record import Record
from rktpy.stage1.systemd.pod_paths import FIRST_FAILURE, OVER_FIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rktpy.cgroup.subtree import Subtree
    from rktpy.pod.pod import Pod

_HERE = os.path.dirname(os.path.abspath(__file__))
_FAILED = b"!"


class Console(Record):
    """A pseudo terminal: the descriptors of both sides, and the path of the one that the pod gets."""

    master: int
    terminal: int
    path: str


class Pipes:
    """Two pipes between parent and child: words of one byte down, one report up."""

    __slots__ = ("_down", "_up")

    def __init__(self) -> None:
        self._down = os.pipe()
        self._up = os.pipe()

    def in_parent(self) -> None:
        """Close the child's ends."""
        os.close(self._down[0])
        os.close(self._up[1])

    def in_child(self) -> None:
        """Close the parent's ends, so that the child notices when the parent has died."""
        os.close(self._down[1])
        os.close(self._up[0])

    def say(self, word: bytes) -> None:
        """Parent: let the child go on."""
        os.write(self._down[1], word)

    def wait(self) -> bytes:
        """Child: wait for the parent's word; the process ends when there is no parent any more."""
        word = os.read(self._down[0], 1)
        if not word:
            os._exit(254)
        return word

    def report(self, data: bytes) -> None:
        """Child: tell what became of the isolators."""
        while data:
            data = data[os.write(self._up[1], data) :]
        os.close(self._up[1])

    def failed(self, message: str, status: int) -> None:
        """Child: tell what went wrong."""
        self.report(_FAILED + bytes((status,)) + message.encode("utf-8", "surrogateescape"))

    def read_report(self) -> bytes:
        """Parent: what the child reports. Raises Stage1Error when it failed."""
        chunks: list[bytes] = []
        while chunk := os.read(self._up[0], 65536):
            chunks.append(chunk)
        os.close(self._up[0])
        data = b"".join(chunks)
        if data.startswith(_FAILED):
            raise Stage1Error(data[2:].decode("utf-8", "surrogateescape"), data[1])
        if not data:
            raise Stage1Error("the pod's first process died while it was set up")
        return data


def open_console(*, interactive: bool) -> Console:
    """A new pseudo terminal. For the lines of apps it leaves bytes as they are. Raises OSError."""
    import termios

    master, terminal = os.openpty()
    if not interactive:
        attributes = termios.tcgetattr(terminal)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    return Console(master, terminal, os.ttyname(terminal))


def monitor_program() -> str:
    """The path of the monitor. Raises Stage1Error when it was not built."""
    path = f"{_HERE}/monitor"
    if not os.access(path, os.X_OK):
        raise Stage1Error(f"{path} is missing: rktpy was installed without a C compiler (try --stage1=fly)")
    return path


class Ends(Record):
    """What the monitor listens to: the FIFO that systemd closes at the end, and the socket on which it says that it is ready.

    ``group`` is ``cgroup.procs`` of its own control group, see ``monitor.c``.
    """

    over: int
    notify: int
    group: int


def open_ends(pod_root: str, groups: Subtree) -> Ends:
    """Make the FIFO and the socket in the pod's root; open the group of the calling process. Raises OSError."""
    import _socket

    fifo, path = f"{pod_root}/{OVER_FIFO}", f"{names.STAGE1_ROOTFS}/rkt/notify"
    os.mkfifo(fifo, 0o600)
    over = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    notify = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    notify.bind(path)  # relative: a path of more than 107 bytes has no room in the address
    processes = own_processes(groups)
    return Ends(over, notify.detach(), os.open(processes, os.O_WRONLY | os.O_CLOEXEC) if processes else -1)


def console_mode(pod: Pod) -> str:
    """What the monitor does with the console, as ``monitor.c`` reads it. To be asked before this process leaves its unit.

    A standard output that is a stream of the host's journal (``JOURNAL_STREAM``, systemd.exec(5)) gets no lines with names in
    them: the journal gets them with the app's name as a field.
    """
    if pod.interactive:
        return "interactive"
    stream = os.environ.get("JOURNAL_STREAM", "")
    if not stream:
        return "lines"
    try:
        output = os.fstat(1)
    except OSError:
        return "lines"
    if stream != f"{output.st_dev}:{output.st_ino}":
        return "lines"
    from rktpy.cgroup.delegation import own_service

    return f"journal:{own_service()}"


def become_monitor(pod: Pod, pid: int, pidfd: int, console: Console, ends: Ends, lock: int, mode: str) -> NoReturn:
    """Execute the monitor, which has nothing open but what it needs. ``mode`` is of :func:`console_mode`.

    Raises Stage1Error, OSError.
    """
    program = monitor_program()
    finish = [sys.executable or "/usr/bin/python3", "-IS", f"{_HERE}/finish", *(["--debug"] if pod.debug else []), pod.uuid]
    arguments = [
        program,
        str(pid),
        str(pidfd),
        str(console.master),
        str(console.terminal),
        str(ends.over),
        str(ends.notify),
        str(ends.group),
        mode,
        f"{names.STAGE1_ROOTFS}/{FIRST_FAILURE}",
        f"{names.STAGE1_ROOTFS}/{names.READY_FILE}",
        "--",
        *finish,
    ]
    from rktpy.linux import syscalls

    syscalls.close_range(3, 2**32 - 1, c.CLOSE_RANGE_CLOEXEC)
    for fd in (pidfd, console.master, console.terminal, ends.over, ends.notify, ends.group, lock):
        if fd >= 0:
            os.set_inheritable(fd, True)
    os.execv(program, arguments)
