"""The multiplexer of an app's streams: a program that runs in the pod, beside an app that can be attached to.

    python3 -IS iomux.py [--cri-log=FILE] DIRECTORY STREAM...

STREAM is ``stdin``, ``stdout`` or ``stderr``, or ``tty`` alone. In DIRECTORY (``/rkt/iottymux/<app>``) it makes

    stdin, stdout, stderr   FIFOs for the app (StandardInput=file:..., StandardOutput=file:...)
    tty                     a link to the app's terminal (TTYPath=...)
    sock-<stream>           a Unix socket for those who attach; what is read and written there are bare bytes
    sock-winsize            takes lines "ROWS COLUMNS", the size for the terminal
    endpoints               what there is, in rkt's JSON

and then says READY=1 (sd_notify(3)). What the app writes goes to everybody who is attached and to this program's own standard
output or error: line by line, marked with the priority (``<6>``, ``<3>``) where that is the journal, so that logs keep the
streams apart. What those who attach send goes to the app.

With --cri-log the app's lines are also added to FILE as the Kubernetes CRI wants them, by ``cri_line.py`` beside this program.

Nobody who is attached can hold up the app: who does not read is dropped when a megabyte waits for him. The journal is not dropped
but waited for, as by an app without a multiplexer. What the app does not read is not taken from those who send it.

It ends with SIGTERM, after everything that the app has written is passed on. Nothing but the standard library is used, because
it runs as a single file. rkt 1.30's ``stage1/iottymux`` does the same over sockets of the same names.
"""

from __future__ import annotations

import _socket
import os
import sys
import termios
from errno import EAGAIN, EINTR, EIO
from fcntl import ioctl
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll
from struct import pack
from time import monotonic, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from _socket import socket as Socket
    from collections.abc import Callable

    Copy = Callable[[bytes, bool], None]
else:
    # The module signal costs some milliseconds, and the app waits.
    import _signal as signal

STREAMS = ("stdin", "stdout", "stderr")
_CHUNK = 65536
_LARGEST_BACKLOG = 1 << 20
_JOURNAL_BACKLOG = 1 << 18
_LARGEST_LINE = 48 << 10
_INPUT_BACKLOG = 1 << 16
_MOST_CLIENTS = 64
_LAST_WORDS_S = 2.0
_SIZE = (24, 80)  # of a terminal that nobody has told its size yet
_MARKS = {"stdout": b"<6>", "stderr": b"<3>", "tty": b"<6>"}


class Log:
    """This program's own standard output or error: the pod's journal. ``copy`` gets each piece of whole lines too."""

    def __init__(self, fd: int, mark: bytes, copy: Copy | None = None) -> None:
        self._copy = copy
        self.fd = fd
        self._mark = mark if _is_journal(fd) else b""
        self._line = b""
        self.pending = bytearray()
        os.set_blocking(fd, False)

    @property
    def full(self) -> bool:
        """Whether the app has to wait for the journal."""
        return len(self.pending) > _JOURNAL_BACKLOG

    def feed(self, data: bytes) -> None:
        """Take in output of the app; what is no whole line yet waits for the rest."""
        if self.fd < 0 and self._copy is None:
            return
        lines, newline, rest = data.rpartition(b"\n")
        if newline:
            self._put(self._line + lines)
            self._line = rest
        else:
            self._line += rest
        if len(self._line) > _LARGEST_LINE:
            self.finish_line(partial=True)

    def finish_line(self, *, partial: bool = False) -> None:
        """Pass on a line that will not be finished, or (``partial``) goes on in the next."""
        line, self._line = self._line, b""
        if line:
            self._put(line, partial=partial)

    def _put(self, lines: bytes, *, partial: bool = False) -> None:
        """Take in whole lines, without the last newline. A terminal's end in a carriage return."""
        text = lines.replace(b"\r\n", b"\n").removesuffix(b"\r")
        if self._copy is not None:
            self._copy(text, partial)
        if self.fd >= 0:
            self.pending += self._mark + text.replace(b"\n", b"\n" + self._mark) + b"\n"

    def flush(self) -> None:
        """Write as much as can be written now."""
        if self.fd >= 0 and self.pending and not _write(self.fd, self.pending):
            # Nobody reads it any more.
            self.fd = -1
            self.pending.clear()


class Client:
    """Somebody who is attached to a stream."""

    def __init__(self, connection: Socket) -> None:
        self.connection = connection
        self.fd = connection.fileno()
        self.pending = bytearray()
        self.sends = True
        connection.setblocking(False)

    def close(self) -> None:
        """Drop him."""
        self.connection.close()
        self.fd = -1


class Endpoint:
    """One stream of the app, with the socket to attach to it.

    ``source`` is the descriptor that the app's output comes from, ``sink`` the one that its input goes to, -1 for none.
    """

    def __init__(self, name: str, *, source: int = -1, sink: int = -1, log: Log | None = None) -> None:
        self.name = name
        self.source = source
        self.sink = sink
        self.log = log
        self.input = bytearray()
        self.clients: list[Client] = []
        self.listener = _listen(f"sock-{name}")

    def interests(self) -> dict[int, int]:
        """What is waited for: events by descriptor."""
        wanted = {self.listener.fileno(): POLLIN}
        if self.source >= 0 and not (self.log is not None and self.log.full):
            wanted[self.source] = POLLIN
        if self.sink >= 0 and self.input:
            wanted[self.sink] = wanted.get(self.sink, 0) | POLLOUT
        if self.log is not None and self.log.pending and self.log.fd >= 0:
            wanted[self.log.fd] = POLLOUT
        takes = len(self.input) < _INPUT_BACKLOG
        for client in self.clients:
            events = (POLLIN if client.sends and takes else 0) | (POLLOUT if client.pending else 0)
            # While nothing is taken from him it does not matter whether he has gone: what he sent is still to be read.
            if events or not client.sends:
                wanted[client.fd] = events
        return wanted

    def handle(self, events: dict[int, int]) -> None:
        """Do what the events of :meth:`interests` allow."""
        if self.listener.fileno() in events:
            self._accept()
        if self.source >= 0 and events.get(self.source, 0) & (POLLIN | POLLHUP | POLLERR):
            self.read_app()
        for client in self.clients:
            event = events.get(client.fd, 0)
            if event & POLLIN and client.sends:
                self._receive(client)
            elif event & (POLLHUP | POLLERR):
                client.close()
        if self.input and self.sink >= 0 and not _write(self.sink, self.input):
            self.input.clear()
        if self.log is not None:
            self.log.flush()
        for client in self.clients:
            if client.fd >= 0 and client.pending and not _write(client.fd, client.pending):
                client.close()
        self.clients = [client for client in self.clients if client.fd >= 0]

    def read_app(self) -> bool:
        """Pass on what the app has written; False when there is nothing now."""
        try:
            data = os.read(self.source, _CHUNK)
        except OSError as error:
            if error.errno in (EAGAIN, EINTR, EIO):
                return False
            raise
        if not data:
            return False
        if self.log is not None:
            self.log.feed(data)
        for client in self.clients:
            if client.fd >= 0:
                client.pending += data
                if len(client.pending) > _LARGEST_BACKLOG and not (
                    _write(client.fd, client.pending) and len(client.pending) <= _LARGEST_BACKLOG
                ):
                    client.close()
        return True

    def take(self, data: bytes) -> None:
        """Take in what somebody sends."""
        if self.sink >= 0:
            self.input += data

    def _accept(self) -> None:
        try:
            fd, _address = self.listener._accept()  # type: ignore[attr-defined]  # pyright: ignore
        except OSError:
            return
        client = Client(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd))  # pyright: ignore[reportUnknownArgumentType]
        if len(self.clients) < _MOST_CLIENTS:
            self.clients.append(client)
        else:
            client.close()

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(_CHUNK)
        except OSError as error:
            if error.errno not in (EAGAIN, EINTR):
                client.close()
            return
        if data:
            self.take(data)
        elif self.source >= 0:
            # He may only have nothing more to say, and still listen.
            client.sends = False
        else:
            client.close()

    def is_idle(self) -> bool:
        """Whether nothing waits to be written."""
        return not (any(client.pending for client in self.clients) or (self.log is not None and self.log.pending))


class WindowSize(Endpoint):
    """The size of the terminal that the app sees; the last who says one counts."""

    def __init__(self, terminal: int) -> None:
        super().__init__("winsize")
        self._terminal = terminal

    def take(self, data: bytes) -> None:
        words = data.rstrip(b"\n").rpartition(b"\n")[2].split()
        if len(words) == 2 and all(word.isdigit() and len(word) < 6 for word in words):
            _set_size(self._terminal, *[min(int(word), 65535) for word in words])


def open_cri_log(path: str) -> Callable[[str], Copy]:
    """What makes the copier of a stream into a log file. Raises OSError, ImportError."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    log_line: Callable[..., bytes] = __import__("cri_line").log_line
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)

    def copier(stream: str) -> Copy:
        return lambda text, partial: _append(fd, log_line(time_ns(), stream, text, partial=partial))

    return copier


def _append(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass  # a full disk must not end the app


def _set_size(terminal: int, rows: int, columns: int) -> None:
    ioctl(terminal, termios.TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))


def make_endpoints(streams: list[str], copier: Callable[[str], Copy] | None = None) -> list[Endpoint]:
    """Make everything in the working directory. Raises OSError."""
    if streams == ["tty"]:
        terminal, app_side = os.openpty()
        os.set_blocking(terminal, False)
        _set_size(terminal, *_SIZE)
        # Kept open here too, so that the terminal outlives an app that is started again.
        _replace("tty")
        os.symlink(os.ttyname(app_side), "tty")
        return [
            Endpoint("tty", source=terminal, sink=terminal, log=Log(1, _MARKS["tty"], copier and copier("stdout"))),
            WindowSize(terminal),
        ]
    made: list[Endpoint] = []
    for name in streams:
        _replace(name)
        # An app may open its own stream again by /proc/self/fd, whoever it runs as; the directory keeps others out.
        os.mkfifo(name)
        os.chmod(name, 0o644 if name == "stdin" else 0o622)
        # Both ends, so that neither opening nor reading depends on whether the app is there.
        fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        if name == "stdin":
            made.append(Endpoint(name, sink=fd))
        else:
            log = Log(1 if name == "stdout" else 2, _MARKS[name], copier and copier(name))
            made.append(Endpoint(name, source=fd, log=log))
    return made


def write_endpoints(directory: str, streams: list[str]) -> None:
    """Say what can be attached to, as rkt does. The names need no quoting."""
    targets = [f'{{"name":"{name}","domain":"unix","address":"{directory}/sock-{name}"}}' for name in streams]
    with open("endpoints.new", "w", encoding="utf-8") as file:
        file.write(f'{{"version":1,"targets":[{",".join(targets)}]}}\n')
    os.rename("endpoints.new", "endpoints")


def serve(endpoints: list[Endpoint], stop: int) -> None:
    """Pass on until ``stop`` can be read, then what is left."""
    while True:
        events = _poll(endpoints, {stop: POLLIN}, None)
        if stop in events:
            break
        for endpoint in endpoints:
            endpoint.handle(events)
    _finish(endpoints)


def _finish(endpoints: list[Endpoint]) -> None:
    deadline = monotonic() + _LAST_WORDS_S
    more = True
    while more or not all(endpoint.is_idle() for endpoint in endpoints):
        left = deadline - monotonic()
        if left <= 0:
            return
        more = False
        for endpoint in endpoints:
            endpoint.listener.close()
            if endpoint.source >= 0 and not (endpoint.log is not None and endpoint.log.full):
                more = endpoint.read_app() or more
            if not more and endpoint.log is not None:
                endpoint.log.finish_line()
        writers = [endpoint for endpoint in endpoints if not endpoint.is_idle()]
        if writers and not more:
            _wait_writable(writers, left)
        for endpoint in endpoints:
            endpoint.handle({})


def _wait_writable(endpoints: list[Endpoint], timeout_s: float) -> None:
    waiter = poll()
    for endpoint in endpoints:
        if endpoint.log is not None and endpoint.log.pending:
            waiter.register(endpoint.log.fd, POLLOUT)
        for client in endpoint.clients:
            if client.pending:
                waiter.register(client.fd, POLLOUT)
    waiter.poll(int(timeout_s * 1000) + 1)


def _poll(endpoints: list[Endpoint], wanted: dict[int, int], timeout_s: float | None) -> dict[int, int]:
    for endpoint in endpoints:
        wanted.update(endpoint.interests())
    waiter = poll()
    for fd, events in wanted.items():
        waiter.register(fd, events)
    return dict(waiter.poll(None if timeout_s is None else int(timeout_s * 1000)))


def _write(fd: int, data: bytearray) -> bool:
    """Write what can be written now and take it off ``data``; False when it never can be again."""
    try:
        while data:
            done = os.write(fd, memoryview(data)[:_CHUNK].tobytes())
            del data[:done]
    except OSError as error:
        return error.errno in (EAGAIN, EINTR, EIO)
    return True


def _is_journal(fd: int) -> bool:
    """Whether systemd has connected the descriptor with the journal (JOURNAL_STREAM, systemd.exec(5))."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _replace(name: str) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        pass


def _listen(name: str) -> Socket:
    _replace(name)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        # By a relative name: an absolute one may be too long for an address.
        listener.bind(name)
    finally:
        os.umask(before)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _notify_ready() -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":
        address = f"\0{address[1:]}"
    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    sender.connect(address)
    sender.send(b"READY=1")
    sender.close()


def main(argv: list[str]) -> int:
    """Run until SIGTERM, SIGINT or SIGHUP. Raises OSError when an endpoint cannot be made."""
    cri_log = ""
    if argv and argv[0].startswith("--cri-log="):
        cri_log = argv[0].partition("=")[2]
        argv = argv[1:]
    directory, *streams = argv or [""]
    if not directory or not streams or (streams != ["tty"] and not set(streams) <= set(STREAMS)):
        os.write(2, b"usage: iomux.py [--cri-log=FILE] DIRECTORY tty | stdin|stdout|stderr...\n")
        return 2
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    os.chdir(directory)
    os.chmod(".", 0o700)
    endpoints = make_endpoints(streams, open_cri_log(cri_log) if cri_log else None)
    write_endpoints(directory, streams)
    _notify_ready()
    serve(endpoints, reader)
    for name in ("endpoints", *[f"sock-{endpoint.name}" for endpoint in endpoints]):
        _replace(name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
