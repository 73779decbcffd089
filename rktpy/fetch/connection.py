"""TCP and TLS connections to HTTP servers, directly or through a proxy, and the pool that keeps idle ones."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode

from rktpy.errors import FetchError, HTTPError
from rktpy.fetch.http_url import URL
from rktpy.fetch.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

_IDLE_PER_ORIGIN = 4


class Connection:
    """One open connection. ``used`` tells that it has carried an answer, so that the server may have closed it meanwhile."""

    def __init__(self, sock: socket.socket, key: tuple[object, ...]) -> None:
        self.sock = sock
        self.wire = Wire(sock)
        self.key = key
        self.used = False

    def close(self) -> None:
        """Drop the connection. Wakes another thread that waits for bytes from it."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Pool:
    """Idle connections by where they lead. Safe to use from several threads."""

    def __init__(self) -> None:
        self._idle: dict[tuple[object, ...], list[Connection]] = {}
        self._lock = threading.Lock()

    def take(self, key: tuple[object, ...]) -> Connection | None:
        """An idle connection, no longer in the pool."""
        with self._lock:
            idle = self._idle.get(key)
            return idle.pop() if idle else None

    def put(self, connection: Connection) -> None:
        """Keep a connection for later, or close it when there are enough."""
        connection.used = True
        with self._lock:
            idle = self._idle.setdefault(connection.key, [])
            if len(idle) < _IDLE_PER_ORIGIN:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            connections = [c for idle in self._idle.values() for c in idle]
            self._idle.clear()
        for connection in connections:
            connection.close()


def basic_authorization(user: str, password: str) -> str:
    """The value of an Authorization header with these credentials (RFC 7617)."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def connect(url: URL, proxy: URL | None, tls: ssl.SSLContext | None, connect_timeout: float, read_timeout: float) -> Connection:
    """Open a connection for ``url``; times in seconds.

    ``tls`` is needed for https. Raises OSError (ssl.SSLError is one) and, when the proxy refuses, :class:`HTTPError`.
    """
    at = proxy or url
    sock = _dial(at, connect_timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            if proxy is not None:
                _open_tunnel(sock, url, proxy)
            if tls is None:
                raise FetchError(f"{url.shown}: no TLS context")
            # A stream that ends without TLS's own end mark is cut off, not finished.
            sock = tls.wrap_socket(sock, server_hostname=url.host, suppress_ragged_eofs=False)
        sock.settimeout(read_timeout)
    except BaseException:
        sock.close()
        raise
    return Connection(sock, pool_key(url, proxy))


def _dial(at: URL, timeout: float) -> socket.socket:
    return socket.create_connection((at.host, at.port), timeout=timeout)


def pool_key(url: URL, proxy: URL | None) -> tuple[object, ...]:
    """What two requests must share to use one connection."""
    return (url.origin, proxy and proxy.origin)


def _open_tunnel(sock: socket.socket, url: URL, proxy: URL) -> None:
    host = f"[{url.host}]" if ":" in url.host else url.host
    target = f"{host}:{url.port}"
    headers = [("Host", target), *proxy_headers(proxy)]
    wire = Wire(sock)
    wire.send_request("CONNECT", target, headers)
    head = wire.read_head("CONNECT")
    if head.status != 200:
        raise HTTPError(
            f"proxy {proxy.authority} refuses to connect to {target}: HTTP {head.status} {head.reason}".rstrip(), head.status
        )


def proxy_headers(proxy: URL) -> list[tuple[str, str]]:
    """The credentials that the proxy's URL carries."""
    return [("Proxy-Authorization", basic_authorization(proxy.user, proxy.password))] if proxy.user else []


def tls_context(insecure: bool, ca_files: tuple[str, ...] = (), client: tuple[str, str] | None = None) -> ssl.SSLContext:
    """TLS with the system's trust store (OpenSSL's, so SSL_CERT_FILE and SSL_CERT_DIR count).

    ``insecure`` accepts any certificate. ``ca_files`` are trusted in addition; ``client`` is our own certificate and key.
    Raises :class:`FetchError` for a file that cannot be used.
    """
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    for path in ca_files:
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise FetchError(f"cannot use the TLS certificates in {path}") from error
    if client is not None:
        try:
            context.load_cert_chain(*client)
        except (OSError, ValueError) as error:
            raise FetchError(f"cannot use the TLS client certificate {client[0]} with the key {client[1]}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
