"""An HTTP server that no client can wear out: one request a connection, and limits on time, size and number of everything.

The parsing is the standard library's ``http.server``; what it lacks for clients that are not trusted is added here.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from rktpy.log import debug, note

if TYPE_CHECKING:
    from io import BufferedIOBase

_HEAD_BYTES = 16 << 10
_STEP_S = 0.25
_LINGER_S = 0.5


class Limits:
    """What one server bears. ``request_s``: seconds from the first byte to the last; ``body_bytes``: the most of one body.

    ``connections`` may be open at once, ``of_one_peer`` by one IP address.
    """

    def __init__(self, *, request_s: float, body_bytes: int, connections: int, of_one_peer: int) -> None:
        self.request_s = request_s
        self.body_bytes = body_bytes
        self.connections = connections
        self.of_one_peer = of_one_peer


class Refused(Exception):
    """A request gets this answer and nothing else. ``allow`` names the methods that would do, for status 405."""

    def __init__(self, status: int, text: str = "", allow: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.allow = allow


class _Head:
    """Reads lines like a file, up to the most that a request's line and headers may have together."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.file = file
        self._left = _HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line = self.file.readline(self._left if limit < 0 else min(limit, self._left))
        self._left -= len(line)
        if self._left <= 0:
            raise LineTooLong("head")
        return line

    def close(self) -> None:
        self.file.close()


class BoundedServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves on a socket that listens already, a thread for each connection."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, handler: type[BoundedHandler], limits: Limits) -> None:
        # Not TCPServer's own, which would make a socket.
        socketserver.BaseServer.__init__(self, listener.getsockname(), handler)
        self.socket = listener
        self.limits = limits
        self._open: dict[socket.socket, tuple[float, str]] = {}
        self._open_lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Serve in threads of its own until :meth:`stop`."""
        threading.Thread(target=self.serve_forever, args=(_STEP_S,), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self, grace_s: float) -> None:
        """Take no more connections; wait up to ``grace_s`` seconds for the requests that are under way."""
        self.shutdown()
        self.socket.close()
        deadline = time.monotonic() + grace_s
        while self._open and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stopped.set()

    def refusal(self, request: socket.socket) -> bytes:
        """What to answer to this connection before anything is read from it; empty to serve it."""
        return b""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to serve this connection; see ``socketserver``."""
        refusal = self.refusal(request)
        if refusal:
            try:
                # Into an empty send buffer, so this does not wait.
                request.sendall(refusal)
            except OSError:
                pass
            return False
        # An address is a tuple for IP; for Unix sockets it is empty.
        peer: str = client_address[0] if client_address else ""
        with self._open_lock:
            of_peer = sum(1 for _deadline, other in self._open.values() if other == peer) if peer else 0
            if len(self._open) >= self.limits.connections or of_peer >= self.limits.of_one_peer:
                return False
            self._open[request] = (time.monotonic() + self.limits.request_s, peer)
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; see ``socketserver``."""
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def _watch(self) -> None:
        """End connections whose time is up: one that sends a byte now and then stays below every timeout of a single read."""
        while not self._stopped.wait(_STEP_S):
            now = time.monotonic()
            with self._open_lock:
                for request, (deadline, _peer) in self._open.items():
                    if deadline < now:
                        try:
                            request.shutdown(socket.SHUT_RDWR)
                        except OSError:
                            pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away, and threads that cannot be had, are no news; see ``socketserver``."""
        error = sys.exc_info()[1]
        debug("metadata-service", f"connection broke off: {type(error).__name__}: {error}")


class BoundedHandler(BaseHTTPRequestHandler):
    """One request. A sub-class says what to answer in :meth:`answer`."""

    protocol_version = "HTTP/1.1"
    # HTTP/0.9 is not spoken: its answers have no status.
    default_request_version = "HTTP/1.0"
    server: BoundedServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        """See ``socketserver``."""
        super().setup()
        self._body = self.rfile
        # Only what the parser uses is there; it reads nothing but lines.
        self.rfile = _Head(self._body)  # type: ignore[assignment]
        self._expects = False
        self._refused = False

    def handle(self) -> None:
        """One request and no more: what a client sends after it is not looked at, so it cannot be taken for another request."""
        try:
            self.handle_one_request()
        except LineTooLong:
            self.command, self.requestline, self.request_version = "", "", self.default_request_version
            self.send_error(414)

    def finish(self) -> None:
        """Let a client that was refused send the rest of its request: it looks at the answer only after that."""
        super().finish()
        if not self._refused:
            return
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_LINGER_S)
            left = self.server.limits.body_bytes
            while left > 0 and (count := len(self.connection.recv(65536))):
                left -= count
        except OSError:
            pass

    def handle_expect_100(self) -> bool:
        """The go-ahead is given when the body is really wanted."""
        self._expects = True
        return True

    def answer(self) -> tuple[str, bytes]:
        """The content type and the body of a successful answer. Raises Refused."""
        raise NotImplementedError

    def body(self) -> bytes:
        """The request's body. Raises Refused when it is larger than the server takes, or has no length."""
        if self.headers.get("Transfer-Encoding") is not None:
            raise Refused(411, "the body must have a Content-Length")
        lengths = self.headers.get_all("Content-Length", ["0"])
        length = lengths[0].strip()
        if len(lengths) != 1 or not (length.isascii() and length.isdigit()):
            raise Refused(400, "bad Content-Length")
        if len(length) > 18 or int(length) > self.server.limits.body_bytes:
            raise Refused(413, f"the body is larger than {self.server.limits.body_bytes} bytes")
        if self._expects:
            self.send_response_only(100)
            self.end_headers()
        data = self._body.read(int(length))
        if len(data) < int(length):
            raise Refused(400, "the body is cut short")
        return data

    def _do(self) -> None:
        try:
            kind, data = self.answer()
        except Refused as refused:
            self._send(refused.status, "text/plain; charset=utf-8", refused.text.encode("utf-8", "replace"), refused.allow)
        except OSError:
            raise
        except Exception as error:
            note("metadata-service", f"internal error: {type(error).__name__}: {error}")
            self._send(500, "text/plain; charset=utf-8", b"")
        else:
            self._send(200, kind, data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_PATCH = _do

    def _send(self, status: int, kind: str, data: bytes, allow: str = "") -> None:
        self._refused = status != 200
        self.send_response(status)
        if allow:
            self.send_header("Allow", allow)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the parser refuses, as plain text; see ``http.server``."""
        self._send(code, "text/plain; charset=utf-8", (message or "").encode("utf-8", "replace"))

    def version_string(self) -> str:
        """The server's name, without versions that would help an attacker."""
        return "rktpy"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: the path holds the token, and a client could fill the log."""

    def log_message(self, format: str, *args: Any) -> None:
        """What ``http.server`` says about broken requests, with --debug."""
        debug("metadata-service", format % args)
