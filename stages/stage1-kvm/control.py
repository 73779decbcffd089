"""What other commands ask of a pod's monitor, on a socket in the pod's directory that only root can reach.

Frames as on the channel (``frames.py``). The first one of a connection, ``Q``, is the request: a list of strings. Answers: ``R``
with nothing or what went wrong; then for ``enter`` and ``attach`` data (``D``, ids 1 and 2; from the client id 0), its end
(``Z``), room for data (``W``), a terminal's size (``C``), a signal (``K``), and the exit status (``X``). Hot-path module.
"""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socket

from rktpy.errors import RktpyError, innermost
from rktpy.stage1.kvm.disks import MACHINE_DIR
from rktpy.stage1.kvm.frames import (
    CREDIT,
    LARGEST_TO_GUEST,
    Frame,
    ProtocolError,
    Reader,
    frame,
    number,
    read_number,
    read_strings,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.monitor import AppState, Monitor

CONTROL_SOCKET = f"{MACHINE_DIR}/control"
_CHUNK = 65536
_MOST_CLIENTS = 200
#: Bytes that may wait for somebody who is attached and does not read; then the connection is closed.
_PATIENCE = 1 << 20
_SIGKILL = 9


class Client:
    """One connection."""

    def __init__(self, connection: socket) -> None:
        self.connection = connection
        self.reader = Reader(LARGEST_TO_GUEST)
        self.out = bytearray()
        #: Of an entered process: its id in the guest, and how much of its output waits here, by stream.
        self.session = 0
        self.owed: dict[int, int] = {}
        self.room = CREDIT
        #: What it is attached to.
        self.app: AppState | None = None
        self.streams: frozenset[str] = frozenset()
        self.closing = False
        self.gone = False

    def send(self, kind: str, identity: int, data: bytes = b"") -> None:
        """Put a frame on its way."""
        self.out += frame(kind, identity, data)

    def answer(self, problem: str | None) -> None:
        """Answer the request and be done."""
        self.send("R", 0, (problem or "").encode("utf-8", "surrogateescape"))
        self.closing = True


class Server:
    """The monitor's end."""

    def __init__(self, monitor: Monitor) -> None:
        """Listen in the working directory. Raises OSError."""
        self._monitor = monitor
        self._listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        try:
            os.unlink(CONTROL_SOCKET)
        except FileNotFoundError:
            pass
        self._listener.bind(CONTROL_SOCKET)  # relative: a path of more than 107 bytes has no room in the address
        os.chmod(CONTROL_SOCKET, 0o600)
        self._listener.listen(16)
        self._clients: dict[int, Client] = {}
        self._sessions: dict[int, Client] = {}

    def register(self, poll: select.poll) -> None:
        """Say what to wait for."""
        if len(self._clients) < _MOST_CLIENTS:
            poll.register(self._listener.fileno(), select.POLLIN)
        for fd, client in self._clients.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if client.out else 0))

    def handle(self, events: dict[int, int]) -> None:
        """Do what the events ask for."""
        if self._listener.fileno() in events:
            self._accept()
        for fd, client in list(self._clients.items()):
            if events.get(fd, 0) & ~select.POLLOUT and not client.gone:
                self._receive(client)
            if client.out:
                self._send(client)
            if client.gone or (client.closing and not client.out):
                self._drop(fd, client)

    def _accept(self) -> None:
        try:
            fd, _address = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return  # it has gone away already
        connection = socket(fileno=fd)  # pyright: ignore[reportUnknownArgumentType]
        connection.setblocking(False)
        self._clients[fd] = Client(connection)

    def _receive(self, client: Client) -> None:
        try:
            data = client.connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            client.gone = True
            return
        try:
            for one in client.reader.feed(data):
                self._obey(client, one)
        except (RktpyError, ValueError) as error:
            client.answer(innermost(error))

    def _send(self, client: Client) -> None:
        try:
            done = client.connection.send(client.out)
        except BlockingIOError:
            return
        except OSError:
            client.gone = True
            return
        del client.out[:done]
        if client.session and len(client.out) < CREDIT:
            for stream, owed in client.owed.items():
                self._monitor.channel.send("w", stream, number(owed))
            client.owed.clear()

    def _drop(self, fd: int, client: Client) -> None:
        del self._clients[fd]
        client.connection.close()
        client.app = None
        if client.session:
            # Nobody is there any more to whom it could say anything.
            self._monitor.channel.send("K", client.session)
            for stream, owed in client.owed.items():
                self._monitor.channel.send("w", stream, number(owed))

    def _obey(self, client: Client, one: Frame) -> None:
        channel = self._monitor.channel
        if one.kind == "Q":
            self._request(client, [word.decode("utf-8", "surrogateescape") for word in read_strings(one.data)], one.data)
        elif client.session and one.kind == "D":
            client.room -= len(one.data)
            if client.room < 0:
                raise ProtocolError("more input than there is room for")
            channel.send("d", client.session * 4, one.data)
        elif client.session and one.kind == "Z":
            channel.send("z", client.session * 4)
        elif client.session and one.kind == "C":
            channel.send("c", client.session, one.data)
        elif client.session and one.kind == "K":
            channel.send("k", client.session, number(read_number(one.data)))
        elif client.app is not None and one.kind == "D" and client.streams & {"stdin", "tty-in"}:
            client.room -= len(one.data)
            if client.room < 0:
                raise ProtocolError("more input than there is room for")
            channel.send("d", client.app.id * 4, one.data)
        elif client.app is not None and one.kind == "Z" and "stdin" in client.streams:
            channel.send("z", client.app.id * 4)
        elif client.app is not None and one.kind == "C":
            channel.send("c", client.app.id, one.data)

    def _request(self, client: Client, words: list[str], data: bytes) -> None:
        name = words[0] if words else ""
        if name == "add":
            from rktpy.stage1.kvm.mutable import add

            add(self._monitor, client, read_strings(data))
            return
        app = self._monitor.apps.get(words[1] if len(words) > 1 else "")
        if app is None:
            client.answer("no such app")
        elif name == "enter" and len(words) > 5:
            self._enter(client, app, words)
        elif name == "endpoints":
            client.answer(app.spec.streams if app.running else "")
        elif name == "attach" and len(words) == 3:
            self._attach(client, app, words[2])
        elif name == "start":
            self._start(client, app, words[1])
        elif name == "stop":
            self._stop(client, app)
        elif name == "remove":
            from rktpy.stage1.kvm.mutable import remove

            remove(self._monitor, client, app, words[1])
        else:
            client.answer("unknown request")

    def _enter(self, client: Client, app: AppState, words: list[str]) -> None:
        _name, _app, streams, size, term, *command = words
        client.session = self._monitor.new_id()
        self._sessions[client.session] = client
        environment = {"TERM": term} if term else {}
        data = number(app.id) + app.spec.entered(tuple(command), streams, environment)

        def answer(problem: str | None) -> None:
            if problem is not None:
                self._sessions.pop(client.session, None)
                client.session = 0
                client.answer(problem)
                return
            client.send("R", 0)
            if size:
                rows, columns = (int(word) & 0xFFFF for word in size.split())
                self._monitor.channel.send("c", client.session, number(rows) + number(columns))

        self._monitor.channel.request("e", data, answer, client.session)

    def _attach(self, client: Client, app: AppState, streams: str) -> None:
        if not app.running:
            client.answer("the app is not running")
            return
        client.app = app
        client.streams = frozenset(streams.split(","))
        client.send("R", 0)

    def _start(self, client: Client, app: AppState, name: str) -> None:
        if app.running:
            client.answer(None)
            return
        try:
            os.unlink(_status_file(name))
        except FileNotFoundError:
            pass  # what is told about an earlier run of the app is not true of this one
        app.waiting.append(client.answer)
        self._monitor.start(name)

    def _stop(self, client: Client, app: AppState) -> None:
        if not app.running:
            client.answer(None if app.status is not None else "not running")
            return
        app.stopped.append(client.answer)
        self._monitor.stop(app)

    def session_frame(self, one: Frame) -> None:
        """A frame of a process that is none of the pod's apps: one that was entered. Unknown ones are passed over."""
        streams = one.kind in ("D", "Z", "W")
        identity = one.id // 4 if streams else one.id
        client = self._sessions.get(identity)
        if client is None:
            if one.kind == "X":
                self._monitor.channel.send("f", identity)
            return
        if one.kind == "D":
            client.owed[one.id] = client.owed.get(one.id, 0) + len(one.data)
            client.send("D", one.id % 4, one.data)
        elif one.kind == "W":
            self.input_room(one, read_number(one.data))
        elif one.kind == "X" and len(one.data) == 5:
            status = read_number(one.data, 1) & 0xFF
            client.send("X", 0, number(status if one.data[:1] == b"e" else 128 + status))
            client.closing = True
            client.session = 0
            del self._sessions[identity]
            self._monitor.channel.send("f", identity)
        if client.out:
            self._send(client)

    def input_room(self, one: Frame, size: int) -> None:
        """A process has taken input."""
        identity = one.id // 4
        client = self._sessions.get(identity)
        takers = [client] if client is not None else [one for one in self._clients.values() if one.app and one.app.id == identity]
        for taker in takers[:1]:
            taker.room = min(CREDIT, taker.room + size)
            taker.send("W", 0, number(size))

    def attached_output(self, app: AppState, stream: int, data: bytes) -> None:
        """Pass on what an app has written to those who are attached."""
        for client in self._clients.values():
            if client.app is not app:
                continue
            wanted = "tty-out" if app.spec.streams[stream] == "t" else ("stdout", "stderr")[stream - 1]
            if wanted in client.streams:
                client.send("D", stream, data)
                if len(client.out) > _PATIENCE:
                    client.gone = True

    def app_ended(self, app: AppState) -> None:
        """Tell those who are attached to it."""
        for client in self._clients.values():
            if client.app is app:
                client.send("Z", 1)
                client.app = None
                client.closing = True


def _status_file(name: str) -> str:
    from rktpy.formats import stage1 as names

    return names.status_file(name)
