"""The little that references need of URLs, without the cost of ``urllib`` (RFC 3986, RFC 8089).

Every function raises :class:`UsageError` with the problem alone. Text stands for bytes the way the file system's names do
(``os.fsencode``), so that names that are not UTF-8 survive. Hot-path module.
"""

from __future__ import annotations

from os import fsdecode, fsencode

from rktpy.errors import UsageError

_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_IN_PATH = _UNRESERVED | frozenset(b"/!$&'()*+,;=:@")
_IN_URL = _IN_PATH | frozenset(b"?%[]")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_IPV6 = frozenset("0123456789abcdef:.")


def _quote(data: bytes, safe: frozenset[int]) -> str:
    return "".join([chr(byte) if byte in safe else f"%{byte:02X}" for byte in data])


def escape(text: str) -> str:
    """Percent-encode everything but letters, digits and ``-._~``."""
    return _quote(fsencode(text), _UNRESERVED)


def unescape(text: str) -> str:
    """Undo percent-encoding. ``+`` stays. Refuses broken escapes and escaped control characters."""
    data = fsencode(text)
    if b"%" not in data:
        return text
    first, *parts = data.split(b"%")
    out = [first]
    for part in parts:
        if len(part) < 2 or not _HEX.issuperset(part[:2]):
            raise UsageError("it has a broken % escape")
        byte = int(part[:2], 16)
        if byte < 0x20 or byte == 0x7F:
            raise UsageError("it has control characters")
        out.append(bytes((byte,)) + part[2:])
    return fsdecode(b"".join(out))


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The names and values of a query string, where ``+`` is a space as in forms."""
    pairs: list[tuple[str, str]] = []
    for part in query.split("&"):
        if part:
            name, _equals, value = part.partition("=")
            pairs.append((unescape(name.replace("+", " ")), unescape(value.replace("+", " "))))
    return pairs


def file_url(path: str) -> str:
    """The file URL of an absolute path."""
    return "file://" + _quote(fsencode(path), _IN_PATH)


def path_of_file_url(rest: str) -> str:
    """The absolute path in a file URL; ``rest`` is what follows ``file:``."""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise UsageError("a file URL names no host: file:///absolute/path")
        rest = slash + path
    if not rest.startswith("/"):
        raise UsageError("a file URL needs an absolute path")
    if "?" in rest or "#" in rest:
        raise UsageError("a file URL has no query or fragment; write %3F and %23 for these characters")
    return unescape(rest)


def checked_http_url(text: str) -> str:
    """An http or https URL with scheme and host in lower case, unsafe characters escaped and without its fragment."""
    scheme, _colon, rest = text.partition("#")[0].partition(":")
    if not rest.startswith("//"):
        raise UsageError("a URL needs // after its scheme")
    rest = rest[2:]
    end = min([position for position in (rest.find("/"), rest.find("?"), len(rest)) if position >= 0])
    authority, rest = rest[:end].lower(), rest[end:]
    if "@" in authority:
        raise UsageError("credentials in a URL would be stored and shown with the image; put them into the auth configuration")
    _check_authority(authority)
    data = fsencode(rest)
    for position in range(len(data)):
        if data[position] == 0x25 and not (position + 2 < len(data) and _HEX.issuperset(data[position + 1 : position + 3])):
            raise UsageError("it has a broken % escape")
    return f"{scheme.lower()}://{authority}{_quote(data, _IN_URL)}"


def _check_authority(authority: str) -> None:
    host, port = authority, ""
    if authority.startswith("["):
        host, bracket, after = authority[1:].partition("]")
        if not bracket or not host or not _IPV6.issuperset(host) or (after and not after.startswith(":")):
            raise UsageError("the host of the URL is malformed")
        colon, port = after[:1], after[1:]
    else:
        host, colon, port = authority.partition(":")
        if not host or not _HOST.issuperset(host):
            raise UsageError("the host of the URL is malformed" if host else "the URL has no host")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UsageError("the port of the URL must be 1 to 65535")
