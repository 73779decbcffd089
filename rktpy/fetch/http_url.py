"""http and https URLs, checked and split once (RFC 3986, RFC 9110 section 4.2)."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

from rktpy.errors import FetchError
from rktpy.record import Record

_PORTS = {"http": 80, "https": 443}
# What may stand in a path or query without being escaped, with "%" because the text is escaped already.
_SAFE = "/:@!$&'()*+,;=%-._~?[]|"


class URL(Record):
    """A URL of an HTTP server. ``host`` is lower case and without brackets, ``path`` and ``query`` are percent-encoded."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"URL({self.shown!r})"  # no secrets in tracebacks and logs

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to: scheme, host and port."""
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """``host[:port]`` as the Host header wants it: no default port, IPv6 addresses in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The origin form of the request target: path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def text(self) -> str:
        """The URL without user information, fit for requests."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """The URL for messages: no user information, no query (it may hold a signed token)."""
        return f"{self.scheme}://{self.authority}{self.path}" + ("?…" if self.query else "")

    def join(self, location: str) -> URL:
        """The URL that ``location`` (absolute or relative) means, seen from this one. Raises :class:`FetchError`."""
        try:
            joined = urljoin(self.text, location)
        except ValueError as error:
            raise FetchError(f"{self.shown}: bad location {_without_user(location)[:200]!r}: {error}") from None
        return parse_url(joined)


def _without_user(text: str) -> str:
    """A URL that may be malformed, for messages: what stands before an ``@`` may be a password."""
    scheme, slashes, rest = text.partition("//")
    at = rest.rfind("@")
    return f"{scheme}{slashes}…{rest[at:]}" if at >= 0 else text


def parse_url(text: str) -> URL:
    """Split an http or https URL; the fragment is dropped. Raises :class:`FetchError`."""
    shown = _without_user(text)[:200]
    if any(ord(c) <= 32 or ord(c) == 127 for c in text):
        raise FetchError(f"bad URL {shown!r}: it contains a space or control character")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise FetchError(f"bad URL {shown!r}: {error}") from None
    if parts.scheme not in _PORTS:
        raise FetchError(f"bad URL {shown!r}: the scheme must be http or https")
    if not host:
        raise FetchError(f"bad URL {shown!r}: it names no host")
    if port == 0:
        raise FetchError(f"bad URL {shown!r}: port 0")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise FetchError(f"bad URL {shown!r}: bad host name: {error}") from None
    if not all(c.isalnum() or c in "-._:~%" for c in host):
        raise FetchError(f"bad URL {shown!r}: bad host name")
    return URL(
        parts.scheme,
        host.lower(),
        port or _PORTS[parts.scheme],
        quote(parts.path or "/", safe=_SAFE),
        quote(parts.query, safe=_SAFE),
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )
