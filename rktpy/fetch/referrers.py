"""The manifests that name an image as their subject (OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema").

A registry without the API keeps the list as an index under a tag made of the digest, written by those who push.
"""

from __future__ import annotations

from urllib.parse import quote

from rktpy.errors import FormatError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.http_url import URL
from rktpy.formats.oci.artifacts import fallback_tag
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.media_types import OCI_INDEX
from rktpy.formats.oci.parse import parse_manifest_document
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.fetch.registry_auth import RegistryAuth
    from rktpy.fetch.registry_session import Session
    from rktpy.formats.oci.descriptor import Descriptor

_ACCEPT = [("Accept", OCI_INDEX)]
# "Not found" is what the specification asks of a registry without the API; some in the field say it otherwise.
_NO_API = frozenset((400, 403, 404, 405, 406, 410, 501))


def list_referrers(session: Session, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
    """The referrers of a manifest at one place, by the API or else by the fallback tag.

    With ``artifact_type`` the registry may leave out those of other types; the caller looks at what comes all the same. Raises
    :class:`FetchError`, and :class:`FormatError` for a list that is none.
    """
    entries = ask_api(session, digest, artifact_type)
    if entries is None:
        index = fallback_index(session, digest)
        entries = index.manifests if index else ()
    return entries[: limits.REFERRERS]


def ask_api(session: Session, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...] | None:
    """What the referrers API says, all pages; None when the registry does not have it."""
    url, auth = session.place("referrers", digest)
    if artifact_type:
        url = url.replace(query=f"artifactType={quote(artifact_type, safe='')}")
    found: list[Descriptor] = []
    seen: set[str] = set()
    target: URL | None = url
    while target is not None and target.text not in seen and len(found) < limits.REFERRERS:
        seen.add(target.text)
        page, target = _page(session, target, auth, first=len(seen) == 1)
        if page is None:
            return None
        found += page
        if len(seen) >= limits.REFERRER_PAGES and target is not None:
            debug("image", f"{url.shown} has more than {limits.REFERRER_PAGES} pages, the rest is not looked at")
            break
    return tuple(found)


def _page(session: Session, url: URL, auth: RegistryAuth, *, first: bool) -> tuple[tuple[Descriptor, ...] | None, URL | None]:
    """One page and the URL of the next; no page when there is no such API."""
    try:
        document = session.client.document(url, limits.MANIFEST_BYTES, headers=_ACCEPT, authorizer=auth)
        index = parse_manifest_document(document.data, document.headers.get("content-type"), url.shown)
    except HTTPError as error:
        if first and error.code in _NO_API:
            debug("image", f"{url.shown}: no referrers API (HTTP {error.code}), looking for the fallback tag")
            return None, None
        raise
    except FormatError as error:
        if first:  # a page for people, say, of a server that answers everything
            debug("image", f"{url.shown}: no referrers API ({error.problem}), looking for the fallback tag")
            return None, None
        raise
    if not isinstance(index, ImageIndex):
        raise FormatError(url.shown, "", "is no list of referrers")
    following = next_page(url, document.headers.all("link"))
    return index.manifests, following


def next_page(url: URL, links: list[str]) -> URL | None:
    """The URL with ``rel="next"`` in Link fields (RFC 8288), if it leads to the same server."""
    for field in links:
        for link in field.split(","):
            target, _, parameters = link.strip().partition(";")
            names = [part.strip().lower().replace('"', "").replace(" ", "") for part in parameters.split(";")]
            if target.startswith("<") and target.endswith(">") and "rel=next" in names:
                following = url.join(target[1:-1])
                # Whoever asks with credentials is not led elsewhere.
                return following if following.origin == url.origin else None
    return None


def fallback_index(session: Session, digest: str) -> ImageIndex | None:
    """The index under the fallback tag, None when there is none. Raises :class:`FormatError` when the tag is something else."""
    tag = fallback_tag(digest)
    try:
        data, media_type = session.manifest(tag)
    except HTTPError as error:
        if error.code == 404:
            return None
        raise
    what = f"{session.name}:{tag}"
    index = parse_manifest_document(data, media_type, what)
    if not isinstance(index, ImageIndex):
        raise FormatError(what, "", "is no index of referrers")
    return index
