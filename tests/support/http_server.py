"""An HTTP server whose every answer a test can script, and which remembers every request.

Raw sockets instead of ``http.server``: the tests need answers that no well-behaved server gives.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self


class Request:
    """What a client sent. Header names are in lower case."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes, connection: int) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.connection = connection

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query of the target."""
        return self.target.partition("?")[2]


class Answer:
    """An answer: ``length`` overrides the announced length (None: no header).

    ``cut`` ends the connection after so many body bytes. ``pace`` is a pair (bytes, seconds): a pause after each so many bytes.
    ``raw`` replaces everything. ``delay`` is in seconds.
    """

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        length: int | None = -1,
        cut: int | None = None,
        pace: tuple[int, float] | None = None,
        chunked: bool = False,
        raw: bytes | None = None,
        delay: float = 0.0,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.length = len(body) if length == -1 else length
        self.cut = cut
        self.pace = pace
        self.chunked = chunked
        self.raw = raw
        self.delay = delay


Handler = Callable[[Request], Answer]


def _listen(port: int, timeout_s: float = 120) -> socket.socket:
    """A listening socket. A port that a test has to have may be in use by a test beside it."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


class Server:
    """Listens on a loopback port while its context is open. Every connection has a thread; all end with the context."""

    def __init__(self, handler: Handler | None = None, *, tls: tuple[Path, Path] | None = None, port: int = 0) -> None:
        self.routes: dict[str, Handler] = {}
        self.requests: list[Request] = []
        self._default = handler
        self._tls: ssl.SSLContext | None = None
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*tls)
        self._socket = _listen(port)
        self.port = self._socket.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._connections: list[socket.socket] = []
        self._count = 0
        self._closed = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed = True
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def paths(self) -> list[str]:
        """``METHOD target`` of all requests so far."""
        return [f"{request.method} {request.target}" for request in self.requests]

    def serve(self, path: str, answer: Answer) -> None:
        """Give the same answer to every request for ``path``."""
        self.routes[path] = lambda _request: answer

    def sequence(self, path: str, *answers: Answer | Handler) -> None:
        """Give these answers one after the other, the last one for ever."""
        left = list(answers)

        def handler(request: Request) -> Answer:
            answer = left.pop(0) if len(left) > 1 else left[0]
            return answer if isinstance(answer, Answer) else answer(request)

        self.routes[path] = handler

    def file(self, path: str, data: bytes, headers: dict[str, str] | None = None, *, cut: int | None = None) -> None:
        """A file that honours Range and If-Range; the first answer ends after ``cut`` bytes."""
        fields = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes", **(headers or {})}
        cuts = [cut] if cut is not None else []

        def handler(request: Request) -> Answer:
            return ranged(request, data, fields, cut=cuts.pop() if cuts else None)

        self.routes[path] = handler

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._count += 1
            self._connections.append(connection)
            threading.Thread(target=self._talk, args=(connection, self._count), daemon=True).start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        try:
            connection.settimeout(30)
            if self._tls is None and connection.recv(1, socket.MSG_PEEK) == b"\x16":
                return  # a TLS handshake, which a plain server would not wait to understand
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while (request := _read_request(reader, number)) is not None:
                    self.requests.append(request)
                    handler = self.routes.get(request.path) or self._default
                    answer = handler(request) if handler else Answer(404, b"not here")
                    if not _send(connection, request, answer):
                        return
        except (OSError, ValueError):
            return
        finally:
            connection.close()


def ranged(request: Request, data: bytes, headers: dict[str, str], *, cut: int | None = None) -> Answer:
    """What a good file server answers to a request with or without Range, If-Range and If-None-Match."""
    etag = headers.get("ETag")
    if etag and request.headers.get("if-none-match") == etag:
        return Answer(304, b"", headers)
    wanted = request.headers.get("range")
    condition = request.headers.get("if-range")
    if wanted is None or (condition is not None and condition not in (etag, headers.get("Last-Modified"))):
        return Answer(200, data, headers, cut=cut)
    start = int(wanted.removeprefix("bytes=").partition("-")[0])
    if start >= len(data):
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return Answer(206, data[start:], {**headers, "Content-Range": span}, cut=cut)


def _read_request(reader: object, number: int) -> Request | None:
    line = reader.readline()  # type: ignore[attr-defined]
    if not line.strip():
        return None
    method, target, _version = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    while (line := reader.readline().decode("latin-1").strip()) != "":  # type: ignore[attr-defined]
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined]
    return Request(method, target, headers, body, number)


def _send(connection: socket.socket, request: Request, answer: Answer) -> bool:
    """False when the connection is to be closed."""
    if answer.delay:
        time.sleep(answer.delay)
    if answer.raw is not None:
        connection.sendall(answer.raw)
        return False
    headers = dict(answer.headers)
    if answer.chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif answer.length is not None:
        headers["Content-Length"] = str(answer.length)
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    if request.method == "HEAD" or answer.status in (204, 304):
        return True
    body = answer.body if answer.cut is None else answer.body[: answer.cut]
    step, seconds = answer.pace or (len(body) or 1, 0.0)
    for start in range(0, len(body), step):
        piece = body[start : start + step]
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
        if seconds:
            time.sleep(seconds)
    if answer.cut is not None:
        return False
    if answer.chunked:
        connection.sendall(b"0\r\n\r\n")
    return (answer.length is not None and answer.length == len(body)) or answer.chunked


def make_certificate(directory: Path, name: str = "127.0.0.1", stem: str = "server") -> tuple[Path, Path]:
    """A self-signed certificate and its key for ``name`` (an IPv4 address or host name)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    is_address = name.replace(".", "").isdecimal()
    alternative = x509.IPAddress(ipaddress.ip_address(name)) if is_address else x509.DNSName(name)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{stem}.crt", directory / f"{stem}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return paths
