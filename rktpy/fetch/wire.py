"""HTTP/1.1 messages on a socket (RFC 9112): writing a request, reading the answer's head and body.

``http.client`` would do, but it reads through a buffer that hides how much has arrived when a connection stalls, which a
resumed download wants to keep; and it costs 20 ms to import. Bodies are received straight into the caller's buffer.
"""

from __future__ import annotations

from rktpy.errors import FetchError
from rktpy.fetch import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from socket import socket

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_RECEIVE = 64 << 10


class ProtocolError(FetchError):
    """The peer does not speak HTTP, or speaks it wrongly. Asking again does not help."""


class Truncated(FetchError):
    """The connection ended before the message did. Asking again may help."""


def shown(text: str) -> str:
    """What a server says, for messages: not too long, and without a way to move the cursor of a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:300])


class Headers:
    """Header fields of one message; names are matched without regard to case."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self._fields.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """The first value of a field, or None."""
        values = self._fields.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of a field, one per line as they came."""
        return list(self._fields.get(name.lower(), ()))

    def tokens(self, name: str) -> list[str]:
        """The comma-separated members of a list field, in lower case."""
        return [t for value in self.all(name) for t in (part.strip().lower() for part in value.split(",")) if t]


class Head:
    """Status line and headers of an answer."""

    def __init__(self, status: int, reason: str, headers: Headers, keep_alive: bool) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.keep_alive = keep_alive


class Wire:
    """One connection's byte stream: what has been received but not yet used, and the socket."""

    def __init__(self, sock: socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def readinto(self, view: memoryview) -> int:
        """Receive at least one byte into ``view``; 0 at the end of the stream. Raises OSError."""
        if self._buffer:
            n = min(len(view), len(self._buffer))
            view[:n] = self._buffer[:n]
            del self._buffer[:n]
            return n
        return self.sock.recv_into(view)

    def readline(self, limit: int, what: str) -> bytes:
        """One line without its end; a bare line feed ends it too (RFC 9112 section 2.2)."""
        start = 0
        while True:
            end = self._buffer.find(b"\n", start)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                if len(line) > limit:
                    raise ProtocolError(f"{what} is longer than {limit} bytes")
                return line[:-1] if line.endswith(b"\r") else line
            start = len(self._buffer)
            if start > limit:
                raise ProtocolError(f"{what} is longer than {limit} bytes")
            data = self.sock.recv(_RECEIVE)
            if not data:
                raise Truncated(f"connection closed while reading {what}" if start else "connection closed without an answer")
            self._buffer += data

    def send_request(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Send one request. Raises OSError, and :class:`FetchError` for what cannot stand in a header."""
        lines = [f"{method} {target} HTTP/1.1"]
        for name, value in headers:
            if not name or not _TOKEN.issuperset(name) or any(c in value for c in "\r\n\0"):
                raise FetchError(f"cannot send the header {name!r}: it holds forbidden characters")
            lines.append(f"{name}: {value}")
        try:
            head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        except UnicodeEncodeError:
            raise FetchError("cannot send a request: it holds characters outside Latin-1") from None
        self.sock.sendall(head + body)

    def answered(self) -> bool:
        """Whether the peer has sent something, although the connection may be broken for what we send."""
        if not self._buffer:
            try:
                self._buffer += self.sock.recv(_RECEIVE)
            except OSError:
                return False
        return bool(self._buffer)

    def read_head(self, method: str) -> Head:
        """Read the head of the final answer, past any 1xx ones."""
        for _ in range(10):
            head = self._read_one_head()
            if head.status >= 200 or head.status == 101:
                return head
        raise ProtocolError("too many interim answers")

    def _read_one_head(self) -> Head:
        line = self.readline(limits.HEAD_BYTES, "the status line")
        parts = line.decode("latin-1").split(" ", 2)
        if len(parts) < 2 or parts[0] not in ("HTTP/1.1", "HTTP/1.0") or len(parts[1]) != 3 or not parts[1].isdecimal():
            raise ProtocolError(f"not an HTTP answer: {line[:60]!r}")
        fields: list[tuple[str, str]] = []
        left = limits.HEAD_BYTES - len(line)
        while line := self.readline(left, "the head of the answer"):
            left -= len(line)
            name, colon, value = line.decode("latin-1").partition(":")
            # A folded line or a space before the colon is how one reader is made to disagree with another.
            if not colon or not name or not _TOKEN.issuperset(name):
                raise ProtocolError(f"malformed header line {line[:60]!r}")
            fields.append((name, value.strip(" \t")))
            if len(fields) > limits.HEADER_LINES:
                raise ProtocolError(f"more than {limits.HEADER_LINES} header lines")
        headers = Headers(fields)
        connection = headers.tokens("connection")
        keep_alive = "close" not in connection and (parts[0] == "HTTP/1.1" or "keep-alive" in connection)
        return Head(int(parts[1]), shown(parts[2]) if len(parts) > 2 else "", headers, keep_alive)


class Body:
    """The body of an answer, framed as RFC 9112 section 6.3 says.

    ``length`` is the announced number of bytes, None when it is not known. ``finished`` is true once the last byte was read.
    ``delimited`` tells that the body has an end of its own, so that the connection can carry another request after it.
    """

    def __init__(self, wire: Wire, method: str, head: Head) -> None:
        self._wire = wire
        self._chunked = False
        self._left: int | None = None  # of the body, or of the current chunk
        self.length: int | None = None
        self.finished = False
        self.delimited = True
        self._first_chunk = True
        self._frame(method, head)

    def _frame(self, method: str, head: Head) -> None:
        codings = head.headers.tokens("transfer-encoding")
        lengths = head.headers.tokens("content-length")
        if method == "HEAD" or head.status in (204, 304):
            self.length = self._left = 0
            self.finished = True
        elif codings:
            if codings != ["chunked"]:
                raise ProtocolError(f"unknown transfer encoding {', '.join(codings)[:60]!r}")
            if lengths:
                raise ProtocolError("both a transfer encoding and a content length")
            self._chunked = True
            self._left = 0
        elif lengths:
            text = lengths[0]
            if any(other != text for other in lengths) or not (text.isascii() and text.isdecimal() and len(text) < 19):
                raise ProtocolError(f"bad content length {', '.join(lengths)[:60]!r}")
            self.length = self._left = int(text)
            self.finished = self.length == 0
        else:
            self.delimited = False

    def readinto(self, view: memoryview) -> int:
        """Receive some bytes into ``view``; 0 at the end of the body.

        Raises OSError, :class:`Truncated`, :class:`ProtocolError`.
        """
        if self.finished or not view:
            return 0
        if self._chunked and self._left == 0:
            self._next_chunk()
            if self.finished:
                return 0
        left = self._left
        if left is None:
            n = self._wire.readinto(view)
            self.finished = n == 0
            return n
        n = self._wire.readinto(view[:left] if left < len(view) else view)
        if n == 0:
            raise Truncated("connection closed in the middle of the answer")
        self._left = left - n
        if not self._chunked and self._left == 0:
            self.finished = True
        return n

    def read(self, limit: int, what: str) -> bytes:
        """The whole body, at most ``limit`` bytes. Raises as :meth:`readinto`, and :class:`FetchError` when it is longer."""
        if self.length is not None and self.length > limit:
            raise FetchError(f"{what} has {self.length} bytes, more than the {limit} allowed")
        data = bytearray()
        view = memoryview(bytearray(_RECEIVE))
        while n := self.readinto(view):
            data += view[:n]
            if len(data) > limit:
                raise FetchError(f"{what} has more than the {limit} bytes allowed")
        return bytes(data)

    def _next_chunk(self) -> None:
        if not self._first_chunk and self._wire.readline(2, "the end of a chunk"):
            raise ProtocolError("malformed chunk")
        self._first_chunk = False
        text = self._wire.readline(1024, "a chunk size").split(b";", 1)[0].strip(b" \t")
        if not text or len(text) > 15 or text.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError(f"bad chunk size {text[:20]!r}")
        self._left = int(text, 16)
        if self._left == 0:
            left = limits.HEAD_BYTES
            while line := self._wire.readline(left, "the trailer"):
                left -= len(line)
            self.finished = True
