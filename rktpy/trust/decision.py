"""The trust decision: may this image run? A value without I/O.

:func:`decide` is asked at every fetch and again at every start. It is handed facts (the image, the signatures that were checked,
the keys trusted for the image's name, what the user switched off) and answers with a :class:`Decision` that lists every rule and
signature it looked at and why. Only ``accepted`` runs; ``undecided`` (the facts could not be had) is never an acceptance.

Rules (rkt 1.30 ``Documentation/signing-and-verification-guide.md``; RFC 4880):

- ``--insecure-options=image`` accepts any image, and is recorded as what allowed it.
- An ACI is accepted when a good detached OpenPGP signature over the file as distributed was made by a key that the keystore
  trusts for the image's name now.
- An OCI image has no signature family that this policy can check, so it is rejected.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, TrustRejected, TrustUndecided
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.trust.keystore import TrustedKey

ACCEPTED = "accepted"
REJECTED = "rejected"
UNDECIDED = "undecided"

#: What allows any image, as it is recorded.
INSECURE_IMAGE = "--insecure-options=image"
#: The family of detached OpenPGP signatures in stored evidence.
OPENPGP = "openpgp"


class Image(Record):
    """What is being decided about. ``name`` is the logical name: the appc name, or the reference text of an OCI image."""

    id: str
    format: str
    name: str


class SignatureFact(Record):
    """One OpenPGP signature and what GnuPG found when it was checked against the distributed bytes.

    ``problem`` is empty for a good signature. ``signer`` is the primary key's fingerprint, ``key`` that of the (sub)key that
    made it; times are seconds since the epoch, 0 for none.
    """

    signer: str
    key: str = ""
    created: int = 0
    expires: int = 0
    identity: str = ""
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The form in which evidence is kept beside the image."""
        return {
            "family": OPENPGP,
            "signer": self.signer,
            "key": self.key,
            "created": self.created,
            "expires": self.expires,
            "identity": self.identity,
            "problem": self.problem,
        }

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> SignatureFact:
        """Read stored evidence. Raises :class:`FormatError`."""
        what = "stored signature evidence"
        values: dict[str, Any] = {}
        for name, kind in (
            ("signer", str),
            ("key", str),
            ("created", int),
            ("expires", int),
            ("identity", str),
            ("problem", str),
        ):
            value = doc.get(name)
            if not isinstance(value, kind):
                raise FormatError(what, name, "is missing or of the wrong type")
            values[name] = value
        return cls(**values)


class Step(Record):
    """One rule or signature that was looked at: ``outcome`` is ``accepts``, ``rejects`` or ``skipped``."""

    rule: str
    outcome: str
    reason: str


class Decision(Record):
    """The answer. ``reason`` is one line; ``allowed_by`` names what accepted the image."""

    image: Image
    verdict: str
    reason: str
    allowed_by: str = ""
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document kept with each pod; beside the image the evidence is kept, from which it is made again."""
        return {
            "image": {"id": self.image.id, "format": self.image.format, "name": self.image.name},
            "verdict": self.verdict,
            "reason": self.reason,
            "allowedBy": self.allowed_by,
            "steps": [{"rule": step.rule, "outcome": step.outcome, "reason": step.reason} for step in self.steps],
        }

    def to_bytes(self) -> bytes:
        """:meth:`to_dict` as JSON."""
        return jsondoc.dump(self.to_dict())

    def require(self) -> None:
        """Raise unless the image was accepted: :class:`TrustRejected` or :class:`TrustUndecided` with the reason."""
        if self.verdict == REJECTED:
            raise TrustRejected(self.reason)
        if self.verdict != ACCEPTED:
            raise TrustUndecided(self.reason)


def decide(
    image: Image,
    signatures: tuple[SignatureFact, ...],
    keys: tuple[TrustedKey, ...],
    *,
    insecure_image: bool,
    now: int,
) -> Decision:
    """Decide about one image.

    ``signatures`` are the checked signatures at hand, ``keys`` what the keystore trusts for the image's name, ``now`` the clock
    in seconds since the epoch.
    """
    if insecure_image:
        step = Step(INSECURE_IMAGE, "accepts", "signature verification was switched off by the user")
        return Decision(image, ACCEPTED, step.reason, INSECURE_IMAGE, (step,))
    if image.format == "oci":
        reason = "signature verification for docker images is not supported (try --insecure-options=image)"
        return Decision(image, REJECTED, reason, "", (Step("oci", "rejects", reason),))
    if image.format != "aci":
        return Decision(image, UNDECIDED, f"image {image.id} has the unknown format {image.format!r}")
    return _decide_aci(image, signatures, keys, now)


def _decide_aci(image: Image, signatures: tuple[SignatureFact, ...], keys: tuple[TrustedKey, ...], now: int) -> Decision:
    trusted = {key.fingerprint: key for key in keys}
    steps: list[Step] = []
    winner = ""
    for signature in signatures:
        rule = f"openpgp signature by {signature.signer or signature.key or 'an unknown key'}"
        key = trusted.get(signature.signer)
        if signature.problem:
            steps.append(Step(rule, "rejects", signature.problem))
        elif key is None:
            steps.append(Step(rule, "rejects", f"the key is not trusted for {image.name}"))
        elif signature.expires and signature.expires <= now:
            steps.append(Step(rule, "rejects", "the signature has expired"))
        else:
            scope = f"prefix {key.prefix}" if key.prefix else "root key"
            steps.append(Step(rule, "accepts", f"trusted by {scope} ({key.path})"))
            winner = winner or f"openpgp:{key.fingerprint}"
    if winner:
        return Decision(image, ACCEPTED, "signed by a trusted key", winner, tuple(steps))
    if not steps:
        reason = f"image {image.name!r} has no signature (sign it, or try --insecure-options=image)"
        steps.append(Step("openpgp", "rejects", "no signature at hand"))
    elif not trusted:
        reason = "openpgp: signature made by unknown entity"
    else:
        reason = steps[0].reason if len(steps) == 1 and signatures[0].problem else "openpgp: signature made by unknown entity"
    return Decision(image, REJECTED, reason, "", tuple(steps))
