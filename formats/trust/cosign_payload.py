"""What an old-style cosign signature signs: the simple-signing document (cosign ``specs/SIGNATURE_SPEC.md``).

Strict, as containers/image reads it: exactly ``critical`` and ``optional``, and nothing unknown inside ``critical``. cosign
writes ``"optional": null`` where it has nothing to say.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats import jsondoc
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.trust.fields import Fields
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPE = "cosign container image signature"
MAX_SIZE = 1 << 20


class CosignPayload(Record):
    """The claim: the image with the manifest ``digest`` is the one that its signer calls ``reference``."""

    digest: str
    reference: str


def parse_cosign_payload(data: bytes, what: str) -> CosignPayload:
    """Read the payload; ``what`` names it in errors. Raises :class:`FormatError`."""
    top = Fields(jsondoc.parse_object(data, what), what, "", ("critical", "optional"))
    if top.has("optional"):
        optional: Any = top.value("optional")
        if type(optional) is not dict:
            raise top.error("optional", "must be an object or null")
    critical = top.inside("critical", ("type", "image", "identity"))
    critical.one_of("type", (TYPE,))
    image = critical.inside("image", ("docker-manifest-digest",))
    digest = image.text("docker-manifest-digest")
    parse_digest(digest, what, "critical.image.docker-manifest-digest")
    identity = critical.inside("identity", ("docker-reference",))
    return CosignPayload(digest, identity.optional_text("docker-reference"))


def written(digest: str, reference: str) -> bytes:
    """The payload that claims it; ``reference`` is a repository, as cosign has it."""
    return jsondoc.dump(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": TYPE,
            },
            "optional": None,
        }
    )
