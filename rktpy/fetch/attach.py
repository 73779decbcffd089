"""Pushing signatures and attestations to where their image is.

Bundles and Notary Project signatures become referrers. A registry with the referrers API says that it has understood
(``OCI-Subject``); for others the index under the fallback tag is read, added to and written back. cosign's tags are added to in
the same way. What others wrote there stays. Two who write at once can lose one another's entry, since registries cannot replace
a tag on condition; so it is read again after it was written, and written once more when the entry is gone.
"""

from __future__ import annotations

from rktpy.errors import FetchError, FormatError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.push import put_manifest
from rktpy.fetch.referrers import fallback_index, list_referrers
from rktpy.fetch.upload import upload_bytes
from rktpy.formats.oci.artifacts import EMPTY_CONFIG, EMPTY_DIGEST, cosign_tag, fallback_tag
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from rktpy.formats.oci.parse import parse_manifest_document
from rktpy.formats.trust import attachments
from rktpy.formats.trust.evidence import BUNDLE, COSIGN, NOTATION
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from rktpy.fetch.registry_session import Session
    from rktpy.formats.trust.attachments import Referrer
    from rktpy.formats.trust.evidence import Evidence


_ATTEMPTS = 5


def attach(session: Session, subject: dict[str, Any], found: Iterable[Evidence], read: Callable[[str], bytes]) -> list[str]:
    """Push signatures of the image that the descriptor ``subject`` (media type, digest, size) names.

    ``read(digest)`` gives the bytes of their blobs. Simple signatures are left out: their place is a lookaside. What is there
    already is not pushed again. Returns, for messages, where each new one went. Raises :class:`FetchError` and
    :class:`FormatError`, the latter also when a tag is something else already.
    """
    found = list(found)
    said: list[str] = []
    for suffix in ("sig", "att"):
        group = [one for one in found if one.family == COSIGN and attachments.cosign_suffix(one) == suffix]
        if group:
            said += _add_to_tag(session, cosign_tag(subject["digest"], suffix), subject, group, read)
    group = [one for one in found if one.family in (BUNDLE, NOTATION)]
    if group:
        said += _refer(session, subject, group, read)
    return said


def _add_to_tag(
    session: Session, tag: str, subject: dict[str, Any], group: list[Evidence], read: Callable[[str], bytes]
) -> list[str]:
    if not tag:
        raise FormatError(f"{session.name}@{subject['digest']}", "digest", "is too long for cosign's tags")
    blobs = [read(one.blob("payload")) for one in group]
    layers = [attachments.cosign_layer(one, len(data)) for one, data in zip(group, blobs, strict=True)]
    for data in blobs:
        upload_bytes(session, data, sha256_digest(data))
    for attempt in range(_ATTEMPTS):
        made = attachments.cosign_manifest(layers, _existing(session, tag))
        if made is None:
            return [f"{session.name}:{tag}"] if attempt else []
        manifest, config = made
        upload_bytes(session, config, sha256_digest(config))
        put_manifest(session, tag, manifest, OCI_MANIFEST)
    raise _overwritten(session, tag)


def _existing(session: Session, tag: str) -> Manifest | None:
    try:
        data, media_type = session.manifest(tag)
    except HTTPError as error:
        if error.code == 404:
            return None
        raise
    what = f"{session.name}:{tag}"
    document = parse_manifest_document(data, media_type, what)
    if not isinstance(document, Manifest):
        raise FormatError(what, "", "is an index, not the signatures that belong there")
    return document


def _refer(session: Session, subject: dict[str, Any], group: list[Evidence], read: Callable[[str], bytes]) -> list[str]:
    there = _referred(session, subject["digest"])
    said: list[str] = []
    unlisted: list[Referrer] = []
    for one in group:
        digest = one.blobs[0][1]
        if digest in there:
            debug("image", f"{session.name} has the signature {digest} already")
            continue
        data = read(digest)
        referrer = attachments.referrer_of(one, subject, len(data))
        upload_bytes(session, data, digest)
        upload_bytes(session, EMPTY_CONFIG, EMPTY_DIGEST)
        answer = put_manifest(session, referrer.digest, referrer.data, OCI_MANIFEST)
        if not answer.get("oci-subject"):
            unlisted.append(referrer)
        there.add(digest)
        said.append(f"{session.name}@{referrer.digest}")
    if unlisted:
        _list(session, subject["digest"], unlisted)
    return said


def _referred(session: Session, digest: str) -> set[str]:
    """The digests of the blobs that the referrers hold."""
    blobs: set[str] = set()
    for entry in list_referrers(session, digest)[: limits.REFERRER_MANIFESTS]:
        try:
            data, media_type = session.manifest(entry.digest)
            document = parse_manifest_document(data, media_type, f"{session.name}@{entry.digest}")
        except (HTTPError, FormatError) as error:
            debug("image", f"{session.name}@{entry.digest}: {error}")
            continue
        if isinstance(document, Manifest):
            blobs.update([layer.digest for layer in document.layers])
    return blobs


def _list(session: Session, digest: str, referrers: list[Referrer]) -> None:
    """Add to the index under the fallback tag, for a registry that keeps no list."""
    tag = fallback_tag(digest)
    debug("image", f"{session.name} has no referrers API, listing signatures under {tag}")
    for _ in range(_ATTEMPTS):
        index = attachments.fallback_index([one.entry for one in referrers], fallback_index(session, digest))
        if index is None:
            return
        put_manifest(session, tag, index, OCI_INDEX)
    raise _overwritten(session, tag)


def _overwritten(session: Session, tag: str) -> FetchError:
    return FetchError(f"{session.name}:{tag}: somebody else writes to this tag and overwrites what is added; try again")
