"""Meta discovery: from an app name to the URLs of its image, signature and keys (appc spec 0.8.11, discovery.md)."""

from __future__ import annotations

import re

from rktpy.errors import FetchError, RktpyError
from rktpy.fetch import limits
from rktpy.fetch.html_meta import meta_elements
from rktpy.fetch.http_url import parse_url
from rktpy.log import debug
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from rktpy.fetch.http import Authorizer, Client
    from rktpy.formats.aci.types import NameValue

    _T = TypeVar("_T")

_UNRESOLVED = re.compile(r"\{[^{}]*\}")
_ENDPOINT = "ac-discovery"
_KEYS = "ac-discovery-pubkeys"
_DEFAULT_VERSION = "latest"


class ACIEndpoint(Record):
    """Where an image and its detached signature should be."""

    aci: str
    asc: str


class Tag(Record):
    """One discovery tag of a page: its kind (the ``name`` attribute), the image names it speaks for, and a template or URL."""

    kind: str
    prefix: str
    value: str

    def covers(self, name: str) -> bool:
        """Whether the tag speaks for an image name: by whole path components, so that ``foo`` says nothing about ``foobar``."""
        prefix = self.prefix.rstrip("/")
        return name == prefix or name.startswith(prefix + "/")


def parse_page(data: bytes) -> list[Tag]:
    """The discovery tags of an HTML page, in order, wherever they stand in it but in comments and scripts."""
    found: list[Tag] = []
    for attributes in meta_elements(data):
        kind = attributes.get("name") or ""
        prefix, _, value = (attributes.get("content") or "").strip().partition(" ")
        if kind in (_ENDPOINT, _KEYS) and prefix and value.strip():
            found.append(Tag(kind, prefix, value.strip()))
    return found


def endpoints_of(tags: Iterable[Tag], name: str, labels: Iterable[NameValue]) -> tuple[ACIEndpoint, ...]:
    """The endpoints for an image that the templates of a page give; templates with an unknown variable are passed over."""
    values = {label.name: label.value for label in labels}
    values.setdefault("version", _DEFAULT_VERSION)
    values["name"] = name
    found: list[ACIEndpoint] = []
    for tag in tags:
        if tag.kind == _ENDPOINT and tag.covers(name):
            aci, asc = (_render(tag.value, {**values, "ext": ext}) for ext in ("aci", "aci.asc"))
            if aci is not None and asc is not None:
                found.append(ACIEndpoint(aci, asc))
    return tuple(found)


def _render(template: str, values: dict[str, str]) -> str | None:
    # One pass, so that a brace inside a value is not taken for a variable.
    missing = False

    def value_of(match: re.Match[str]) -> str:
        nonlocal missing
        value = values.get(match[0][1:-1])
        missing = missing or value is None
        return value or ""

    text = _UNRESOLVED.sub(value_of, template)
    return None if missing else text


def keys_of(tags: Iterable[Tag], name: str) -> tuple[str, ...]:
    """The URLs of the public keys for images called ``name``; what is no URL of a web server (a path, say) is passed over."""
    found: list[str] = []
    for tag in tags:
        if tag.kind == _KEYS and tag.covers(name):
            try:
                url = parse_url(tag.value)
                # It is shown to a person: nothing in it may turn letters about.
                found.append(tag.value if tag.value.isascii() else url.text)
            except FetchError as error:
                debug("image", f"no location of a key: {error}")
    return tuple(found)


def discover_endpoints(
    client: Client, name: str, labels: Iterable[NameValue], authorizer: Authorizer | None = None
) -> tuple[ACIEndpoint, ...]:
    """Ask the hosts on the path of ``name`` where the image is; never empty.

    Plain http is tried after https where the client allows it. Raises :class:`FetchError` when no page says anything.
    """
    wanted = tuple(labels)
    return _walk(client, name, _ENDPOINT, lambda tags: endpoints_of(tags, name, wanted), authorizer)


def discover_keys(client: Client, prefix: str, authorizer: Authorizer | None = None) -> tuple[str, ...]:
    """Ask the hosts on the path of ``prefix`` for the URLs of public keys; never empty. Raises as :func:`discover_endpoints`."""
    return _walk(client, prefix, _KEYS, lambda tags: keys_of(tags, prefix), authorizer)


def _walk(
    client: Client, name: str, kind: str, pick: Callable[[list[Tag]], tuple[_T, ...]], authorizer: Authorizer | None
) -> tuple[_T, ...]:
    last = ""
    parts = name.split("/")
    for end in range(len(parts), 0, -1):
        prefix = "/".join(parts[:end])
        try:
            found = pick(parse_page(_page(client, prefix, authorizer)))
            if found:
                return found
            problem = "no matching tag"
        except FetchError as error:
            client.check_stopped()
            problem = str(error)
            last = last or problem
        debug("image", f"meta tag '{kind}' not found on {prefix}: {problem}")
    raise FetchError(f"discovery of {name} failed: {last or f'no page on its path has a matching {kind} tag'}")


def _page(client: Client, prefix: str, authorizer: Authorizer | None) -> bytes:
    schemes = ("https", "http") if client.options.allow_http else ("https",)
    first: RktpyError | None = None
    for scheme in schemes:
        url = parse_url(f"{scheme}://{prefix}").replace(query="ac-discovery=1")
        # Where plain http comes next, a host without TLS is not asked for it again and again.
        asking = client if scheme == schemes[-1] else client.derive(client.options.replace(attempts=1))
        try:
            return asking.document(url, limits.PAGE_BYTES, authorizer=authorizer).data
        except FetchError as error:
            client.check_stopped()
            first = first or error
        finally:
            if asking is not client:
                asking.close()
    raise first or FetchError(prefix)
