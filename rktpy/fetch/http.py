"""The HTTP client of everything that is fetched (RFC 9110, 9112): redirects, retries, proxies, TLS, credentials per origin."""

from __future__ import annotations

import os
import threading

from rktpy import __version__
from rktpy.errors import FetchError, HTTPError, RktpyError
from rktpy.fetch import limits
from rktpy.fetch.connection import Connection, Pool, basic_authorization, connect, pool_key, proxy_headers, tls_context
from rktpy.fetch.http_url import URL
from rktpy.fetch.proxy import proxy_for
from rktpy.fetch.retry import Retry
from rktpy.fetch.wire import Body, Head, ProtocolError, Truncated, shown
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Protocol

    from rktpy.fetch.request_body import FileBody
    from rktpy.fetch.wire import Headers

    class Authorizer(Protocol):
        """Adds credentials to requests. Asked again for every hop, so it decides by the URL's origin."""

        def headers(self, method: str, url: URL, redirected: bool) -> list[tuple[str, str]]:
            """Header fields for this request; ``redirected`` tells that another server sent us here."""
            ...

        def challenged(self, url: URL, answer: Headers) -> bool:
            """A 401 came from ``url``. True: :meth:`headers` will now return something better."""
            ...


_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_CHALLENGES = 2
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
_DRAIN = 64 << 10
# Never handed on to another origin.
_PRIVATE = frozenset(("authorization", "cookie", "proxy-authorization"))


class HTTPOptions(Record):
    """How a :class:`Client` behaves.

    ``insecure_tls`` accepts any certificate (``--insecure-options=tls``), ``allow_http`` lets requests go out unencrypted
    (``--insecure-options=http``). Times are seconds. ``ca_files`` are trusted beside the system's store;
    ``client_certificate`` is the pair (certificate file, key file).
    """

    insecure_tls: bool = False
    allow_http: bool = False
    connect_seconds: float = limits.CONNECT_SECONDS
    read_seconds: float = limits.READ_SECONDS
    attempts: int = limits.ATTEMPTS
    ca_files: tuple[str, ...] = ()
    client_certificate: tuple[str, str] | None = None


class Stopped(FetchError):
    """The client was stopped by another thread."""


class Response:
    """An answer whose body may be read. Close it; a body read to its end leaves the connection for the next request."""

    def __init__(self, client: Client, connection: Connection, method: str, url: URL, head: Head) -> None:
        self._client = client
        self._connection = connection
        self._keep_alive = head.keep_alive
        self._closed = False
        self.method = method
        self.url = url
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self.body = Body(connection.wire, method, head)

    def __enter__(self) -> Response:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if isinstance(error, ProtocolError):
            # Whoever takes the body apart does not know where it comes from.
            raise ProtocolError(f"{self.url.shown}: {error}") from error.__cause__

    def close(self) -> None:
        """Give the connection back."""
        if not self._closed:
            self._closed = True
            self._client.release(self._connection, self._keep_alive and self.body.delimited and self._drained())

    def _drained(self) -> bool:
        if self.body.finished:
            return True
        if self.body.length is None or self.body.length > _DRAIN:
            return False
        try:
            self.body.read(_DRAIN, "body")
        except (OSError, FetchError):
            return False
        return self.body.finished

    def error(self) -> HTTPError:
        """What to raise for an answer that is not the wanted one."""
        text = f"{self.method} {self.url.shown}: HTTP {self.status} {self.reason}".rstrip()
        said = self._explanation()
        return HTTPError(f"{text}: {said}" if said else text, self.status)

    def _explanation(self) -> str:
        """What the server says went wrong: the first entry of a registry's error document (distribution-spec, "Error Codes")."""
        if "json" not in (self.headers.get("content-type") or "") or self.body.finished:
            return ""
        try:
            document = jsondoc.parse_object(self.body.read(limits.ERROR_BYTES, "error"), "error")
            entry = document["errors"][0]
            text = entry.get("message") or entry.get("code")
        except (OSError, RktpyError, LookupError, TypeError, AttributeError):
            return ""
        return shown(text) if isinstance(text, str) else ""


class Document:
    """A small answer, read whole. ``url`` is where it came from after redirects."""

    def __init__(self, response: Response, data: bytes) -> None:
        self.data = data
        self.status = response.status
        self.headers = response.headers
        self.url = response.url


class Client:
    """Sends requests and keeps connections. Safe to use from several threads; construction does no I/O."""

    def __init__(self, options: HTTPOptions | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        self.options = options or HTTPOptions()
        self._environ = os.environ if environ is None else environ
        self._pool = Pool()
        self._active: set[Connection] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._tls: ssl.SSLContext | None = None

    def derive(self, options: HTTPOptions | None = None) -> Client:
        """A client with its own connections and stop switch, and the same or other options."""
        return Client(options or self.options, environ=self._environ)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        self._pool.close()

    def speaks_tls(self, url: URL) -> bool:
        """Whether a TLS server answers at ``url``; its certificate does not matter, and nothing is sent to it."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            proxy = proxy_for(url, self._environ)
            connect(url, proxy, context, min(self.options.connect_seconds, limits.PROBE_SECONDS), 1.0).close()
        except (OSError, FetchError):
            return False
        return True

    def stop(self) -> None:
        """Make all requests in progress, in whatever thread, end with an error soon."""
        self._stop.set()
        with self._lock:
            active = list(self._active)
        for connection in active:
            connection.close()
        self._pool.close()

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def pause(self, seconds: float) -> None:
        """Sleep; raises :class:`Stopped` when the client is stopped meanwhile."""
        if self._stop.wait(seconds):
            raise Stopped("stopped")

    def retry(self, what: str) -> Retry:
        """The failure counter for one request named ``what`` in messages."""
        return Retry(what, self.pause, self.options.attempts)

    def document(
        self,
        url: URL,
        limit: int,
        *,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        authorizer: Authorizer | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> Document:
        """Ask for something small and read it whole, with retries.

        Raises :class:`HTTPError` for a status that is not in ``accept``, :class:`FetchError` for more than ``limit`` bytes.
        """
        fields = list(headers)
        retry = self.retry(f"{method} {url.shown}")
        while True:
            try:
                with self.open(url, method=method, headers=fields, body=body, authorizer=authorizer) as response:
                    if retry.after_status(response.status, response.headers):
                        continue
                    if response.status not in accept:
                        raise response.error()
                    coding = response.headers.get("content-encoding") or "identity"
                    if coding.lower() != "identity" and method != "HEAD":
                        raise FetchError(f"{response.url.shown}: unrequested content encoding {coding[:40]!r}")
                    return Document(response, response.body.read(limit, response.url.shown))
            except (OSError, Truncated) as error:
                self.check_stopped()
                retry.after_error(error)

    def open(
        self,
        url: URL,
        *,
        method: str = "GET",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | FileBody = b"",
        authorizer: Authorizer | None = None,
    ) -> Response:
        """Send one request and follow redirects; no retries. Any final status comes back as a :class:`Response`.

        Raises OSError and :class:`Truncated` when the connection fails, :class:`FetchError` for what will not get better.
        """
        fields = list(headers)
        challenges = 0
        redirects = 0
        redirected = False
        while True:
            self._check_scheme(url)
            credentials = authorizer.headers(method, url, redirected) if authorizer else []
            if not credentials and url.user:
                credentials = [("Authorization", basic_authorization(url.user, url.password))]
            response = self._exchange(url, method, [*fields, *credentials], body)
            if response.status == 401 and authorizer is not None and challenges < _CHALLENGES:
                challenges += 1
                try:
                    again = authorizer.challenged(url, response.headers)
                except BaseException:
                    response.close()
                    raise
                if again:
                    response.close()
                    continue
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None or method not in ("GET", "HEAD"):
                return response
            response.close()
            redirects += 1
            if redirects > limits.REDIRECTS:
                raise HTTPError(f"{url.shown}: more than {limits.REDIRECTS} redirects", response.status)
            target = url.join(location)
            if url.scheme == "https" and target.scheme == "http" and not self.options.allow_http:
                raise FetchError(f"{url.shown}: refusing the redirect to unencrypted {target.shown}")
            if target.origin != url.origin:
                redirected = True
                fields = [field for field in fields if field[0].lower() not in _PRIVATE]
            url = target

    def _check_scheme(self, url: URL) -> None:
        if url.scheme == "http" and not self.options.allow_http:
            raise FetchError(f"{url.shown}: plain http is not allowed (try --insecure-options=http)")

    def check_stopped(self) -> None:
        """Raises :class:`Stopped` after :meth:`stop`."""
        if self._stop.is_set():
            raise Stopped("stopped")

    def _exchange(self, url: URL, method: str, headers: list[tuple[str, str]], body: bytes | FileBody) -> Response:
        proxy = proxy_for(url, self._environ)
        fields = [("Host", url.authority), ("User-Agent", f"rktpy/{__version__}"), ("Accept-Encoding", "identity")]
        if len(body) or method in _WITH_BODY:
            fields.append(("Content-Length", str(len(body))))
        target = url.target
        if proxy is not None and url.scheme == "http":
            target = url.text
            fields += proxy_headers(proxy)
        fields += headers
        while True:
            self.check_stopped()
            connection = self._pool.take(pool_key(url, proxy))
            if connection is None:
                tls = self._tls_context() if url.scheme == "https" else None
                connection = connect(url, proxy, tls, self.options.connect_seconds, self.options.read_seconds)
            with self._lock:
                self._active.add(connection)
            try:
                # Again: stop() may have looked for connections just before this one was among them.
                self.check_stopped()
                if isinstance(body, bytes):
                    connection.wire.send_request(method, target, fields, body)
                else:
                    connection.wire.send_request(method, target, fields)
                    self._send_body(connection, body)
                head = connection.wire.read_head(method)
                return Response(self, connection, method, url, head)
            except (OSError, Truncated):
                self.release(connection, False)
                # The server may have closed an idle connection just when we took it: that is no failure.
                if not connection.used or method not in ("GET", "HEAD"):
                    raise
            except ProtocolError as error:
                self.release(connection, False)
                raise ProtocolError(f"{url.shown}: {error}") from error.__cause__
            except BaseException:
                self.release(connection, False)
                raise

    @staticmethod
    def _send_body(connection: Connection, body: FileBody) -> None:
        """Send a long body. A server that has heard enough answers and closes: its answer says more than the broken pipe."""
        try:
            body.send(connection.sock)
        except ConnectionError:
            if not connection.wire.answered():
                raise

    def release(self, connection: Connection, reusable: bool) -> None:
        """Take a connection back from a :class:`Response`."""
        with self._lock:
            self._active.discard(connection)
        if reusable and not self.stopped:
            self._pool.put(connection)
        else:
            connection.close()

    def _tls_context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                self._tls = tls_context(self.options.insecure_tls, self.options.ca_files, self.options.client_certificate)
            return self._tls
