"""The claims inside a simple-signing signature (containers-signature(5)).

Read only after the signature was verified, and strictly: an unknown member of ``critical`` might be a restriction that we do not
know of. ``optional`` may hold anything.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.trust.members import Members, as_object
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE = "atomic container signature"
#: More than honest claims need, in bytes.
MAX_SIZE = 64 << 10
_LARGEST = (1 << 63) - 1


class Claims(Record):
    """What the signer says: ``digest`` of the manifest, ``reference`` (the image's name), who made it and when (0: not said).

    ``timestamp`` is in seconds since the epoch. It is the signer's word, no proof.
    """

    digest: str
    reference: str
    creator: str = ""
    timestamp: int = 0

    def to_bytes(self) -> bytes:
        """The document to be signed."""
        optional: dict[str, Any] = {}
        if self.creator:
            optional["creator"] = self.creator
        if self.timestamp:
            optional["timestamp"] = self.timestamp
        return jsondoc.dump(
            {
                "critical": {
                    "identity": {"docker-reference": self.reference},
                    "image": {"docker-manifest-digest": self.digest},
                    "type": TYPE,
                },
                "optional": optional,
            }
        )


def parse_claims(data: bytes, what: str) -> Claims:
    """Read the claims; ``what`` names the signature in errors. Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    document = Members(jsondoc.parse(data, what), what, "")
    critical, optional = document.inner("critical"), document.take("optional")
    document.end()
    kind = critical.text("type")
    if kind != TYPE:
        critical.fail("type", f"must be {TYPE!r}")
    image = critical.inner("image")
    digest = image.text("docker-manifest-digest")
    parse_digest(digest, what, "critical.image.docker-manifest-digest")
    image.end()
    identity = critical.inner("identity")
    reference = identity.text("docker-reference")
    identity.end()
    critical.end()
    return Claims(digest, reference, *_optional(optional, what))


def _optional(value: Any, what: str) -> tuple[str, int]:
    members = as_object(value)
    if members is None:
        raise FormatError(what, "optional", "must be an object")
    creator, timestamp = members.get("creator", ""), members.get("timestamp", 0)
    if type(creator) is not str:
        raise FormatError(what, "optional.creator", "must be a string")
    if type(timestamp) is float and timestamp == int(timestamp):
        # Go's writers of old signed 1.4e+09.
        timestamp = int(timestamp)
    if type(timestamp) is not int or not -_LARGEST <= timestamp <= _LARGEST:
        raise FormatError(what, "optional.timestamp", "must be a 64-bit integer")
    return creator, timestamp
