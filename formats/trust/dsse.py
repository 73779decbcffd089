"""DSSE envelopes (secure-systems-lab/dsse ``protocol.md`` and ``envelope.md``), with exactly one signature.

The protocol allows several; a sigstore bundle must have one, because it carries the key material of one. Two signatures of which
one is good would make it unclear who vouches.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.members import join
from rktpy.formats.trust import base64_strict
from rktpy.formats.trust.fields import Fields
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The payload type of in-toto statements.
IN_TOTO = "application/vnd.in-toto+json"
MAX_PAYLOAD = 4 << 20
MAX_SIGNATURE = 8192


class Envelope(Record):
    """An envelope. ``key_id`` is a hint that nobody signed."""

    payload_type: str
    payload: bytes
    signature: bytes
    key_id: str = ""

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return pre_authentication_encoding(self.payload_type, self.payload)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        signature = {"sig": base64_strict.encode(self.signature)}
        if self.key_id:
            signature["keyid"] = self.key_id
        return {
            "payload": base64_strict.encode(self.payload),
            "payloadType": self.payload_type,
            "signatures": [signature],
        }


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """PAE: what is signed instead of the payload alone, so that its type is signed too."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse_envelope(data: bytes, what: str) -> Envelope:
    """Read an envelope; ``what`` names it in errors. Raises :class:`FormatError`."""
    return envelope_from_dict(jsondoc.parse_object(data, what), what, "")


def envelope_from_dict(doc: Any, what: str, path: str) -> Envelope:
    """Read an envelope that stands at ``path`` of another document. Raises :class:`FormatError`."""
    fields = Fields(doc, what, path, ("payload", "payloadType", "signatures"))
    signatures = fields.each("signatures", 16, ("sig", "keyid"))
    if len(signatures) != 1:
        raise fields.error("signatures", f"must hold exactly one signature, not {len(signatures)}")
    payload = base64_strict.decode_any_alphabet(fields.value("payload"), what, join(path, "payload"), MAX_PAYLOAD)
    one = signatures[0]
    signature = base64_strict.decode_any_alphabet(one.value("sig"), what, join(one.path, "sig"), MAX_SIGNATURE)
    if not signature:
        raise FormatError(what, join(one.path, "sig"), "must not be empty")
    return Envelope(fields.text("payloadType"), payload, signature, one.optional_text("keyid"))
