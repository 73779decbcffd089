"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read the way Go programs (rkt, podman) do."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from rktpy.errors import ConfigError, FetchError
from rktpy.fetch.http_url import URL, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def proxy_for(url: URL, environ: Mapping[str, str]) -> URL | None:
    """The proxy for ``url``, or None for a direct connection. Raises :class:`ConfigError` for a proxy that we cannot use."""
    name = "HTTPS_PROXY" if url.scheme == "https" else "HTTP_PROXY"
    text = environ.get(name) or environ.get(name.lower()) or ""
    if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        # In a CGI program HTTP_PROXY is the client's Proxy header (CVE-2016-5385).
        text = environ.get("http_proxy", "")
    if not text or _is_local(url.host) or _excluded(url, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None
    if "://" not in text:
        text = "http://" + text
    if not text.startswith("http://"):
        raise ConfigError(f"{name}: only http:// proxies are supported, got {text.split('://', 1)[0]}://")
    try:
        return parse_url(text)
    except FetchError as error:
        raise ConfigError(f"{name} is not a proxy URL") from error


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _excluded(url: URL, no_proxy: str) -> bool:
    for item in no_proxy.lower().split(","):
        entry = item.strip()
        if entry == "*":
            return True
        if entry and _matches(url, entry):
            return True
    return False


def _matches(url: URL, entry: str) -> bool:
    try:
        address = ip_address(url.host)
    except ValueError:
        address = None
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    host, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and (":" not in host or host.startswith("[")):
        if int(port) != url.port:
            return False
        entry = host
    entry = entry.strip("[]")
    if address is not None:
        try:
            return ip_address(entry) == address
        except ValueError:
            return False
    if entry.startswith("*."):
        entry = entry[1:]
    # "example.com" means the host and everything below it, ".example.com" only what is below.
    return url.host.endswith(entry) if entry.startswith(".") else url.host == entry or url.host.endswith("." + entry)
