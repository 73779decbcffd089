"""An ACI and its detached signature over HTTP, with the caching and deferring that rkt 1.30 knows."""

from __future__ import annotations

from rktpy.errors import FetchError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.download import download
from rktpy.fetch.http_url import URL, parse_url
from rktpy.fetch.progress import Progress
from rktpy.log import debug, note
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.fetch.http import Authorizer, Client
    from rktpy.fetch.sink import Partial
    from rktpy.fetch.wire import Headers

_ACI = ".aci"


class FetchedACI(Record):
    """What a server gave for an ACI.

    ``not_modified``: it is still the one with the known ETag, nothing was downloaded. Otherwise the bytes are in the partial,
    ``size`` of them. ``signature`` is None when none was asked for. ``max_age`` is in seconds, 0 for "ask every time".
    """

    not_modified: bool
    size: int
    signature: bytes | None
    etag: str
    max_age: int


def fetch_aci(
    client: Client,
    url: str,
    partial: Partial,
    *,
    signature_url: str = "",
    signature_optional: bool = False,
    etag: str = "",
    authorizer: Authorizer | None = None,
    progress: Progress | None = None,
) -> FetchedACI:
    """Download an ACI into ``partial``, which the caller has entered and will import and discard.

    ``signature_url`` is asked first, and again after the image if the server defers it with 202; with ``signature_optional``
    there may be none (404). ``etag`` is that of the copy at hand, if any. Raises :class:`FetchError` and what
    :func:`rktpy.fetch.download.download` raises.
    """
    shown = progress or Progress()
    place = parse_url(url)
    item = place.shown
    debug("image", f"fetching image from {item}")
    signature: bytes | None = None
    if signature_url:
        try:
            signature = fetch_signature(client, signature_url, authorizer)
        except FetchError as error:
            if not (signature_optional and isinstance(error.__cause__, HTTPError) and error.__cause__.code == 404):
                raise
            debug("image", f"there is no signature at {signature_url}")
            signature_url = ""
    shown.begin(item, place.path.rpartition("/")[2] or place.host, None, partial.size)
    outcome = "failed"
    try:
        done = download(
            client,
            place,
            partial,
            limit=limits.ACI_BYTES,
            authorizer=authorizer,
            headers=[("If-None-Match", etag)] if etag else [],
            arrived=lambda have, total: shown.advance(item, have, total),
        )
        outcome = "exists" if done.not_modified else "done"
    finally:
        shown.end(item, outcome)
    if done.not_modified:
        return FetchedACI(True, 0, signature, etag, max_age_of(done.headers))
    if signature_url and signature is None:
        signature = fetch_signature(client, signature_url, authorizer)
        if signature is None:
            raise FetchError("error downloading the signature file: server asked to defer the download again")
    return FetchedACI(False, done.size, signature, (done.headers and done.headers.get("etag")) or "", max_age_of(done.headers))


def fetch_signature(client: Client, url: str, authorizer: Authorizer | None = None) -> bytes | None:
    """A detached signature; None when the server wants to be asked again after the image (202)."""
    place = parse_url(url)
    debug("image", f"downloading signature from {place.shown}")
    try:
        document = client.document(place, limits.SIGNATURE_BYTES, authorizer=authorizer, accept=(200, 202))
    except FetchError as error:
        client.check_stopped()
        raise FetchError("error downloading the signature file") from error
    if document.status == 202:
        note("image", "server requested deferring the signature download")
        return None
    return document.data


def signature_url_of(url: str) -> str:
    """Where the signature of an image lies by convention: ``.aci.asc`` in the place of ``.aci`` at the end of the path."""
    place = parse_url(url)
    return _full_text(place.replace(path=place.path.removesuffix(_ACI) + ".aci.asc"))


def _full_text(url: URL) -> str:
    from urllib.parse import quote

    if not url.user:
        return url.text
    login = quote(url.user, safe="") + (":" + quote(url.password, safe="") if url.password else "")
    return url.text.replace("://", f"://{login}@", 1)


def max_age_of(headers: Headers | None) -> int:
    """How long the copy may be used unasked, in seconds (RFC 9111; as rkt, only what concerns us)."""
    age = 0
    for directive in headers.tokens("cache-control") if headers else ():
        name, _, value = directive.partition("=")
        if name in ("no-store", "no-cache"):
            return 0
        value = value.strip('"')
        if name == "max-age" and value.isascii() and value.isdecimal():
            age = min(int(value[:12]), 1 << 31)
    return age
