"""Signatures and attestations as they were found: what is kept beside an image so that the policy can be asked again, offline.

Evidence is raw. What a verifier found out about it with a certain key (a *fact*) never changes with time or policy, so it may be
remembered; whether the fact satisfies a requirement now is judged anew at every start.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: A simple-signing blob: ``blobs`` has ``signature``, an OpenPGP signed message.
SIMPLE_SIGNING = "simple-signing"
#: A layer of cosign's ``.sig`` or ``.att`` tag: ``blobs`` has ``payload``, ``annotations`` are the layer's.
COSIGN = "cosign"
#: A sigstore bundle: ``blobs`` has ``bundle``.
BUNDLE = "sigstore-bundle"
#: A Notary Project signature: ``blobs`` has ``envelope``, ``media_type`` is the envelope's.
NOTATION = "notation"
#: A detached OpenPGP signature over the stored tar of an ACI: ``blobs`` has ``signature``. It is kept for copies of the image;
#: what the policy asks of an ACI is known of it already (family ``openpgp`` of its record).
DETACHED = "openpgp-detached"
FAMILIES = (SIMPLE_SIGNING, COSIGN, BUNDLE, NOTATION)

#: More than an honest signature or attestation needs, in bytes; larger ones are not fetched and not read.
MAX_SIZE = 4 << 20
#: How many pieces of evidence of one family are looked at for one image. An attacker may push hundreds.
MAX_COUNT = 64


class Evidence(Record):
    """One signature or attestation. ``source`` tells a person where it was found, ``blobs`` are digests (``sha256:…``) by role.

    ``annotations`` are those of the descriptor or manifest it came with: unverified until a verifier says otherwise.
    """

    family: str
    source: str
    media_type: str
    blobs: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...] = ()

    def blob(self, role: str) -> str:
        """The digest of the blob with this role. Raises FormatError."""
        for name, digest in self.blobs:
            if name == role:
                return digest
        raise FormatError(f"{self.family} signature from {self.source}", f"blobs.{role}", "is missing")

    def annotation(self, name: str) -> str | None:
        """The value of an annotation, or None."""
        for key, value in self.annotations:
            if key == name:
                return value
        return None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as the image's record keeps it."""
        return {
            "family": self.family,
            "source": self.source,
            "mediaType": self.media_type,
            "blobs": dict(self.blobs),
            "annotations": dict(self.annotations),
        }

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> Evidence:
        """Read the JSON form. Raises FormatError."""
        return cls(
            _text(doc, "family"), _text(doc, "source"), _text(doc, "mediaType"), _texts(doc, "blobs"), _texts(doc, "annotations")
        )


_WHAT = "stored signature"


def _text(doc: dict[str, Any], name: str) -> str:
    value = doc.get(name)
    if type(value) is not str:
        raise FormatError(_WHAT, name, "must be a string")
    return value


def _texts(doc: dict[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    value = doc.get(name)
    if type(value) is not dict:
        raise FormatError(_WHAT, name, "must be an object")
    pairs: list[tuple[str, str]] = []
    for key, text in value.items():  # pyright: ignore[reportUnknownVariableType]
        if type(key) is not str or type(text) is not str:  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            raise FormatError(_WHAT, name, "must hold strings")
        pairs.append((key, text))
    return tuple(pairs)
