"""Entry point ``attach`` of stage1-systemd: connect this command's streams with those of an app.

The endpoints are Unix sockets that the app's multiplexer (``iomux.py``) has made in the pod's directory. They are reached from
the host by that directory, without following anything that the pod may have put there. A terminal is set to raw mode and set
back, however this ends.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import termios
import time
import tty
from fcntl import ioctl
from struct import unpack

from rktpy.errors import NotFoundError, Stage1Error, UsageError
from rktpy.formats import jsondoc
from rktpy.formats import stage1 as names
from rktpy.formats.aci.types import ac_name_problem
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.linux import constants as c
from rktpy.linux.syscalls import openat2
from rktpy.log import set_debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from rktpy.formats.entry_arguments import Arguments

_CHUNK = 65536
_ENDPOINTS = ("stdin", "stdout", "stderr", "tty")
_LARGEST_FILE = 65536
_RESOLVE = c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS | c.RESOLVE_NO_MAGICLINKS
_ESCAPE = 0x1D  # ^]
_ESCAPES = 3
_ESCAPE_WITHIN_S = 1.0


def main(argv: list[str]) -> int:
    """Attach to an app of the pod in the working directory until its output ends or the user detaches; 0 then.

    Raises UsageError, NotFoundError, Stage1Error, OSError.
    """
    arguments = parse_arguments(argv, ("debug", "tty-in", "tty-out", "stdin", "stdout", "stderr"), ("action", "app"))
    if arguments.is_set("debug"):
        set_debug(True)
    app = arguments.text("app")
    problem = ac_name_problem(app)
    if problem:
        raise UsageError(f"invalid application name: {problem}")
    action = arguments.text("action", "list")
    if action not in ("list", "auto-attach", "custom-attach"):
        raise UsageError(f"invalid attach action {action!r}")
    directory = _open_directory(app)
    try:
        document = _read_endpoints(directory, app)
        if action == "list":
            os.write(1, jsondoc.dump_pretty(document, "    ").encode() + b"\n")
            return 0
        offered = _names(document)
        wanted = _chosen(arguments, offered, app) if action == "custom-attach" else _everything(offered)
        session = _Session(directory, wanted)
    finally:
        os.close(directory)
    with session:
        session.pump()
    return 0


def _open_directory(app: str) -> int:
    path = f"{names.STAGE1_ROOTFS}/{names.IOMUX_DIR}/{app}"
    try:
        return openat2(c.AT_FDCWD, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, _RESOLVE)
    except FileNotFoundError:
        raise NotFoundError(_nothing(app)) from None


def _nothing(app: str) -> str:
    return f"there is nothing to attach to in app {app}: it does not run, or not with --stdin=stream and the like"


def _read_endpoints(directory: int, app: str) -> dict[str, Any]:
    try:
        fd = os.open("endpoints", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        raise NotFoundError(_nothing(app)) from None
    try:
        return jsondoc.parse_object(os.read(fd, _LARGEST_FILE), f"endpoints of app {app}")
    finally:
        os.close(fd)


def _names(document: dict[str, Any]) -> list[str]:
    """The endpoints that are offered. Where their sockets are is known; the document's addresses are not believed."""
    targets: Any = document.get("targets")
    found: list[Any] = targets if isinstance(targets, list) else []  # pyright: ignore[reportUnknownVariableType]
    present = [target.get("name") for target in found if isinstance(target, dict)]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return [name for name in _ENDPOINTS if name in present]


def _everything(offered: list[str]) -> set[str]:
    return {"tty-in", "tty-out"} if "tty" in offered else set(offered)


def _chosen(arguments: Arguments, offered: list[str], app: str) -> set[str]:
    wanted = {name for name in ("tty-in", "tty-out", "stdin", "stdout", "stderr") if arguments.is_set(name)}
    for name in sorted(wanted):
        endpoint = name.partition("-")[0]
        if endpoint not in offered:
            raise NotFoundError(f"app {app} has no {endpoint} to attach to (it has: {', '.join(offered) or 'nothing'})")
    return wanted


def _connect(directory: int, name: str) -> socket.socket:
    """Connect with a socket in the directory; what is no socket, or a link, is refused. Raises Stage1Error, OSError."""
    # O_PATH: the file itself, which then cannot be exchanged for another one.
    fd = os.open(f"sock-{name}", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise Stage1Error(f"sock-{name} of the app is no socket")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(f"/proc/self/fd/{fd}")
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.close(fd)


class _Session:
    """What is attached: outputs by connection, the connection that takes the input, the one that takes the window's size."""

    def __init__(self, directory: int, wanted: set[str]) -> None:
        self._outputs: dict[socket.socket, int] = {}
        self._input: socket.socket | None = None
        self._size: socket.socket | None = None
        self._pending = b""
        self._raw: list[Any] | None = None
        self._escapes: list[float] = []
        self._previous: dict[int, Any] = {}
        self._wakeup = (-1, -1)
        self._ended = False
        try:
            if "tty-in" in wanted or "tty-out" in wanted:
                connection = _connect(directory, "tty")
                # What is not wanted is read all the same: who does not read is dropped.
                self._outputs[connection] = 1 if "tty-out" in wanted else -1
                if "tty-in" in wanted:
                    self._input = connection
                    self._size = _connect(directory, "winsize") if os.isatty(0) or os.isatty(1) else None
            for name, fd in (("stdout", 1), ("stderr", 2)):
                if name in wanted:
                    self._outputs[_connect(directory, name)] = fd
            if "stdin" in wanted:
                self._input = _connect(directory, "stdin")
        except BaseException:
            self._close()
            raise
        self._reads_input = self._input is not None

    def __enter__(self) -> _Session:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = (reader, writer)
        self._before = signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH):
            self._previous[number] = signal.signal(number, self._signalled)
        # Somebody who does not read our output is no reason to leave the terminal raw.
        self._previous[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        if self._size is not None:
            self._send_size()
        if self._input is not None and self._input in self._outputs and os.isatty(0):
            self._raw = termios.tcgetattr(0)
            tty.setraw(0)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._raw is not None:
            try:
                termios.tcsetattr(0, termios.TCSAFLUSH, self._raw)
            except termios.error:
                pass  # the terminal is gone
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        for fd in self._wakeup:
            os.close(fd)
        self._close()

    def _close(self) -> None:
        for connection in (*self._outputs, self._input, self._size):
            if connection is not None:
                connection.close()

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            self._send_size()
        else:
            self._ended = True

    def _send_size(self) -> None:
        """Tell the app's terminal how large ours is."""
        if self._size is None:
            return
        for fd in (1, 0):
            if os.isatty(fd):
                rows, columns, _x, _y = unpack("HHHH", ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
                if rows and columns:
                    try:
                        self._size.send(f"{rows} {columns}\n".encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    except OSError:
                        pass
                return

    def pump(self) -> None:
        """Pass bytes on in both directions until it is over."""
        while not self._ended and (self._outputs or self._reads_input or self._pending):
            waiter = select.poll()
            waiter.register(self._wakeup[0], select.POLLIN)
            wanted = {connection.fileno(): select.POLLIN for connection in self._outputs}
            if self._input is not None and self._pending:
                wanted[self._input.fileno()] = wanted.get(self._input.fileno(), 0) | select.POLLOUT
            elif self._reads_input:
                wanted[0] = select.POLLIN
            if self._input is not None and self._input.fileno() not in wanted:
                wanted[self._input.fileno()] = 0  # its end is always told
            for fd, events in wanted.items():
                waiter.register(fd, events)
            self._handle(dict(waiter.poll()))

    def _handle(self, events: dict[int, int]) -> None:
        if self._wakeup[0] in events:
            os.read(self._wakeup[0], 512)
        for connection in list(self._outputs):
            if connection.fileno() in events and events[connection.fileno()] & ~select.POLLOUT:
                self._read_output(connection)
        taker = self._input
        gone = select.POLLHUP | select.POLLERR
        if taker is not None and taker not in self._outputs and events.get(taker.fileno(), 0) & gone:
            # The multiplexer has ended; there is nobody to write to.
            self._stop_input()
        if 0 in events and self._reads_input:
            self._read_input()
        if self._pending and self._input is not None:
            self._send_input()

    def _read_output(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            del self._outputs[connection]
            if connection is self._input or not self._outputs:
                self._ended = True
            if connection is not self._input:
                connection.close()
            return
        fd = self._outputs[connection]
        if fd >= 0:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]

    def _read_input(self) -> None:
        data = os.read(0, _CHUNK)
        if self._raw is not None and self._is_escape(data):
            self._ended = True
        elif data:
            self._pending = data
        elif os.isatty(0) or not self._outputs:
            # The user has typed the end of input; or nobody waits for an answer.
            self._ended = True
        else:
            self._reads_input = False
            if self._input is not None and self._input not in self._outputs:
                self._stop_input()

    def _is_escape(self, data: bytes) -> bool:
        now = time.monotonic()
        for byte in data:
            if byte != _ESCAPE:
                self._escapes.clear()
                continue
            self._escapes = [when for when in self._escapes if now - when < _ESCAPE_WITHIN_S]
            self._escapes.append(now)
            if len(self._escapes) >= _ESCAPES:
                return True
        return False

    def _send_input(self) -> None:
        assert self._input is not None
        try:
            done = self._input.send(self._pending, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            self._stop_input()
            return
        self._pending = self._pending[done:]

    def _stop_input(self) -> None:
        taker, self._input = self._input, None
        self._reads_input = False
        self._pending = b""
        if taker is not None and taker not in self._outputs:
            taker.close()
        if not self._outputs:
            self._ended = True
