"""The manifests that carry signatures beside an image, made from evidence: referrers, and the manifest of cosign's tags.

Sources: OCI image-spec 1.1 manifest.md ("Guidelines for Artifact Usage"), sigstore/cosign ``specs/SIGNATURE_SPEC.md`` and
``BUNDLE_SPEC.md``, notaryproject ``signature-specification.md``. The same evidence always gives the same bytes. Pure.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.artifacts import (
    ATTESTATIONS,
    BUNDLE_TYPE,
    DSSE_ENVELOPE,
    NOTATION_TYPE,
    SIGNATURES,
    SIMPLE_SIGNATURE,
    empty_descriptor,
)
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from rktpy.formats.trust.evidence import BUNDLE, NOTATION, SIMPLE_SIGNING
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rktpy.formats.oci.index import ImageIndex
    from rktpy.formats.oci.manifest import Manifest
    from rktpy.formats.trust.evidence import Evidence

_REFERRERS = {
    BUNDLE: ("bundle", BUNDLE_TYPE),
    NOTATION: ("envelope", NOTATION_TYPE),
    SIMPLE_SIGNING: ("signature", SIMPLE_SIGNATURE),
}


class Referrer(Record):
    """A manifest with a subject: its bytes, digest, and how a list of referrers names it."""

    data: bytes
    digest: str
    artifact_type: str
    entry: dict[str, Any]


def is_referrer(evidence: Evidence) -> bool:
    """Whether this is kept as a referrer (and not under cosign's tags)."""
    return evidence.family in _REFERRERS


def referrer_of(evidence: Evidence, subject: dict[str, Any], size: int) -> Referrer:
    """The referrer for a bundle, a Notary Project or a simple signature of the image that the descriptor ``subject`` names.

    ``size`` is that of the blob in bytes. Raises :class:`FormatError` for evidence without its blob.
    """
    role, artifact_type = _REFERRERS[evidence.family]
    if evidence.family == BUNDLE:
        artifact_type = evidence.media_type  # of the version that it is
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty_descriptor(),
        "layers": [{"mediaType": evidence.media_type, "digest": evidence.blob(role), "size": size}],
        "subject": subject,
    }
    if evidence.annotations:
        document["annotations"] = dict(evidence.annotations)
    data = jsondoc.dump(document)
    entry: dict[str, Any] = {
        "mediaType": OCI_MANIFEST,
        "digest": sha256_digest(data),
        "size": len(data),
        "artifactType": artifact_type,
    }
    if evidence.annotations:
        entry["annotations"] = dict(evidence.annotations)
    return Referrer(data, entry["digest"], artifact_type, entry)


def cosign_suffix(evidence: Evidence) -> str:
    """The suffix of the tag of cosign's that this belongs under."""
    return ATTESTATIONS if evidence.media_type == DSSE_ENVELOPE else SIGNATURES


def cosign_layer(evidence: Evidence, size: int) -> dict[str, Any]:
    """The layer for one signature; ``size`` is that of its payload in bytes."""
    layer: dict[str, Any] = {"mediaType": evidence.media_type, "digest": evidence.blob("payload"), "size": size}
    if evidence.annotations:
        layer["annotations"] = dict(evidence.annotations)
    return layer


def cosign_manifest(layers: Iterable[dict[str, Any]], before: Manifest | None = None) -> tuple[bytes, bytes] | None:
    """The manifest of a tag of cosign's that holds ``layers`` after those there are ``before``, and its configuration.

    None when it has them all already. Tools that add to it read the configuration as an image's and want a diff ID for each.
    """
    document: dict[str, Any] = before.to_dict() if before else {"schemaVersion": 2}
    document["mediaType"] = OCI_MANIFEST
    there: list[dict[str, Any]] = list(document.get("layers", []))
    known = {_identity(layer) for layer in there}
    added = list({_identity(layer): layer for layer in layers if _identity(layer) not in known}.values())
    if before is not None and not added:
        return None
    combined = [*there, *added]
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in combined]}
    config = jsondoc.dump({"architecture": "", "os": "", "config": {}, "rootfs": rootfs})
    document["config"] = {"mediaType": OCI_CONFIG, "digest": sha256_digest(config), "size": len(config)}
    document["layers"] = combined
    return jsondoc.dump(document), config


def _identity(layer: dict[str, Any]) -> bytes:
    annotations: dict[str, Any] = layer.get("annotations") or {}
    return jsondoc.dump([layer["digest"], annotations], sort=True)


def fallback_index(entries: Iterable[dict[str, Any]], before: ImageIndex | None = None) -> bytes | None:
    """The index of referrers that has ``entries`` after those there are ``before``; None when it has them all already."""
    document: dict[str, Any] = before.to_dict() if before else {"schemaVersion": 2}
    document["mediaType"] = OCI_INDEX
    there: list[dict[str, Any]] = list(document.get("manifests", []))
    known = {entry["digest"] for entry in there}
    added = list({entry["digest"]: entry for entry in entries if entry["digest"] not in known}.values())
    if not added:
        return None
    if len(there) + len(added) > _MAX_ENTRIES:
        raise FormatError("index of referrers", "manifests", f"has {len(there)} entries, no more fit in")
    document["manifests"] = [*there, *added]
    return jsondoc.dump(document)


#: As many as readers take (rktpy.formats.oci.members.MAX_ITEMS).
_MAX_ENTRIES = 10_000
