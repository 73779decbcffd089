"""What the annotations of an old-style cosign layer carry beside its payload (cosign ``pkg/oci/static``, ``pkg/cosign/bundle``).

The text of cosign's specification spells two of the names differently; these are the ones that its code writes and reads.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats import jsondoc
from rktpy.formats.oci.artifacts import COSIGN_SIGNATURE
from rktpy.formats.trust.fields import Fields
from rktpy.formats.trust.rekor_entry import MAX_BODY
from rktpy.record import Record

SIGNATURE = COSIGN_SIGNATURE
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
REKOR_BUNDLE = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"

MAX_TIMESTAMP = 64 << 10


class RekorBundle(Record):
    """A promise of the log (signed entry timestamp) and what it is over. ``log_id`` is in hexadecimal digits."""

    promise: bytes
    body: bytes
    integrated_time: int
    log_index: int
    log_id: str


def parse_rekor_bundle(text: str, what: str) -> RekorBundle:
    """Read the annotation :data:`REKOR_BUNDLE`; ``what`` names it in errors. Raises :class:`FormatError`."""
    top = Fields(jsondoc.parse_object(text, what), what, "", ("SignedEntryTimestamp", "Payload"))
    payload = top.inside("Payload", ("body", "integratedTime", "logIndex", "logID"))
    return RekorBundle(
        top.data("SignedEntryTimestamp", 4096),
        payload.data("body", MAX_BODY),
        payload.integer("integratedTime"),
        payload.integer("logIndex"),
        payload.hexadecimal("logID", 32),
    )


def parse_timestamp(text: str, what: str) -> bytes:
    """Read the annotation :data:`TIMESTAMP`: the DER of an RFC 3161 response. Raises :class:`FormatError`."""
    top = Fields(jsondoc.parse_object(text, what), what, "", ("SignedRFC3161Timestamp",))
    return top.data("SignedRFC3161Timestamp", MAX_TIMESTAMP)
