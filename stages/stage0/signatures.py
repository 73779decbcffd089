"""The signatures that are kept beside a stored image: reading them, adding to them. Cold-path module."""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.parse import MAX_DOCUMENT, parse_manifest_document
from rktpy.formats.openpgp import dearmor
from rktpy.formats.trust.evidence import DETACHED, FAMILIES, MAX_SIZE, Evidence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rktpy.store.image_record import ImageRecord
    from rktpy.store.store import Store


def manifest_of(store: Store, record: ImageRecord) -> Manifest:
    """The manifest of a stored OCI image. Raises :class:`StoreError`, :class:`FormatError`."""
    digest = digest_of_image(record)
    document = parse_manifest_document(store.read_blob(digest, MAX_DOCUMENT), None, f"manifest {digest}")
    if not isinstance(document, Manifest):
        raise FormatError(f"manifest {digest}", "", "is an index")
    return document


def digest_of_image(record: ImageRecord) -> str:
    """The digest of the manifest of a stored OCI image."""
    return record.id.replace("-", ":", 1)


def subject_of(manifest: Manifest, record: ImageRecord) -> dict[str, Any]:
    """The descriptor of an image that its signatures are about."""
    return {"mediaType": manifest.media_type, "digest": digest_of_image(record), "size": len(manifest.to_bytes())}


def stored_evidence(record: ImageRecord) -> tuple[Evidence, ...]:
    """The signatures beside an image, each once, wherever it was found. Raises :class:`FormatError` for a damaged record."""
    found = [Evidence.from_dict(one) for one in record.evidence if one.get("family") in FAMILIES]
    return tuple({one.replace(source=""): one for one in found}.values())


def read_evidence(store: Store, digest: str) -> bytes:
    """The blob of a stored signature. Raises :class:`StoreError`."""
    return store.read_blob(digest, MAX_SIZE)


def detached_signature(store: Store, record: ImageRecord) -> bytes | None:
    """The detached signature over an ACI as it is stored, or None; several are put together to one file."""
    kept = [Evidence.from_dict(one) for one in record.evidence if one.get("family") == DETACHED]
    found = [read_evidence(store, one.blob("signature")) for one in kept]
    if len(found) > 1:
        return b"".join([dearmor(data, "stored signature") for data in found])
    return found[0] if found else None


def keep_detached(store: Store, record: ImageRecord, signature: bytes, facts: Iterable[dict[str, Any]]) -> None:
    """Keep a detached signature over an ACI as it is stored, and what is known of it. Raises :class:`StoreError`."""
    one = Evidence(DETACHED, "", "application/pgp-signature", (("signature", store.put_blob(signature)),))
    _keep(store, record, [one], list(facts))


def keep(store: Store, record: ImageRecord, added: Iterable[Evidence]) -> None:
    """Keep signatures whose blobs are in the store beside an image. Raises :class:`StoreError`."""
    added = list(added)
    if added:
        _keep(store, record, added, [])


def _keep(store: Store, record: ImageRecord, added: list[Evidence], facts: list[dict[str, Any]]) -> None:
    documents = [*[one.to_dict() for one in added], *facts]
    # The store unites them with those that are there.
    store.add_image(record.replace(evidence=tuple(documents)), store.manifest_bytes(record.id))
