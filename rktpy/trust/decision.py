"""The trust decision: may this image run? A value without I/O.

:func:`decide` is asked at every fetch and again at every start. It is handed facts (the image, the signatures that were checked,
the keys trusted for the image's name and what is known of them, what the user switched off) and answers with a
:class:`Decision` that lists every rule and signature it looked at and why. Only ``accepted`` runs; ``undecided`` (the facts could
not be had) is never an acceptance.

Rules (rkt 1.30 ``Documentation/signing-and-verification-guide.md``; RFC 4880):

- ``--insecure-options=image`` accepts any image, and is recorded as what allowed it.
- An ACI is accepted when a good detached OpenPGP signature over the file as distributed was made by a key that the keystore
  trusts for the image's name now, and that key is neither revoked nor expired now.
- An OCI image is rejected: which ones are good is said by a policy.json (:mod:`rktpy.trust.engine`), and there is none.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, TrustRejected, TrustUndecided
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rktpy.trust.keystore import TrustedKey

ACCEPTED = "accepted"
REJECTED = "rejected"
UNDECIDED = "undecided"

# Outcomes of steps.
ACCEPTS = "accepts"
REJECTS = "rejects"
SKIPPED = "skipped"

#: What allows any image, as it is recorded.
INSECURE_IMAGE = "--insecure-options=image"
KEY_EXPIRED = "the signing key has expired"
KEY_REVOKED = "the signing key was revoked"
#: Where there is no policy.json, OCI images are refused.
NO_POLICY = "no trust policy says which docker images may run (write a policy.json, or try --insecure-options=image)"
#: The family of detached OpenPGP signatures in stored evidence.
OPENPGP = "openpgp"


class Image(Record):
    """What is being decided about. ``name`` is the logical name: the appc name, or the reference text of an OCI image.

    ``digest``, ``media_type`` and ``size`` (bytes) are those of an OCI image's manifest: what its signatures must be about.
    ``index_digest`` is that of the index from which it was chosen for its platform, if there was one: a signature of the index
    is none of the image.
    """

    id: str
    format: str
    name: str
    digest: str = ""
    media_type: str = ""
    size: int = 0
    index_digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; what the manifest is only where it is known."""
        document: dict[str, Any] = {"id": self.id, "format": self.format, "name": self.name}
        if self.digest:
            document.update(digest=self.digest, mediaType=self.media_type, size=self.size, indexDigest=self.index_digest)
        return document

    @classmethod
    def from_dict(cls, doc: dict[str, Any]) -> Image:
        """Read the JSON form. Raises :class:`FormatError`."""
        values: dict[str, Any] = {"digest": "", "mediaType": "", "indexDigest": "", **doc}
        size = values.pop("size", 0)
        if sorted(values) != sorted(_IMAGE_TEXTS) or {type(text) for text in values.values()} != {str} or type(size) is not int:
            raise FormatError("trust decision", "image", "is not an image")
        identity, form, name, digest, media_type, index = [values[member] for member in _IMAGE_TEXTS]
        return cls(identity, form, name, digest, media_type, size, index)


_IMAGE_TEXTS = ("id", "format", "name", "digest", "mediaType", "indexDigest")


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


class KeyState(Record):
    """What GnuPG says of one file of the keystore.

    ``keys`` tells of its primary key and of each subkey, by fingerprint (lower-case hex), when the key expires (seconds since the
    epoch, 0 for never) and whether it has been revoked.
    """

    keys: dict[str, tuple[int, bool]]

    def problem(self, fingerprint: str, now: int) -> str:
        """Why the key must not be relied on at the time ``now``; empty if it may."""
        if fingerprint not in self.keys:
            return "the signing key is not in the trusted key's file"
        expires, revoked = self.keys[fingerprint]
        if revoked:
            return KEY_REVOKED
        return KEY_EXPIRED if expires and expires <= now else ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {key: {"expires": expires, "revoked": revoked} for key, (expires, revoked) in self.keys.items()}

    @classmethod
    def from_dict(cls, doc: Any) -> KeyState:
        """Read the JSON form. Raises :class:`FormatError`."""
        keys: dict[str, tuple[int, bool]] = {}
        for key, value in _object(doc).items():
            facts = _object(value)
            expires, revoked = facts.get("expires"), facts.get("revoked")
            if type(expires) is not int or type(revoked) is not bool:
                raise FormatError(_KEY_STATE, key, "must tell expires and revoked")
            keys[key] = (expires, revoked)
        return cls(keys)


_KEY_STATE = "state of a key"


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise FormatError(_KEY_STATE, "", "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


class Step(Record):
    """One rule or signature that was looked at: ``outcome`` is ``accepts``, ``rejects`` or ``skipped`` (could not be decided).

    A check inside of a signature may also be ``warns``: it failed, and the policy wants that told, but does not refuse for it.

    ``steps`` are those that led to it: the signatures looked at for a requirement, the checks made of a signature.
    """

    rule: str
    outcome: str
    reason: str
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; ``steps`` only where there are some."""
        document: dict[str, Any] = {"rule": self.rule, "outcome": self.outcome, "reason": self.reason}
        if self.steps:
            document["steps"] = [step.to_dict() for step in self.steps]
        return document


class Decision(Record):
    """The answer. ``reason`` is one line; ``allowed_by`` names what accepted the image, ``signatures`` are those looked at.

    ``policy`` is the path of the policy.json that was asked and ``rule`` the place in it that speaks of the image; both are empty
    where none was. ``evidence`` is what has to be kept so that an OCI image can be judged again after its removal, in the form of
    :mod:`rktpy.trust.kept`.
    """

    image: Image
    verdict: str
    reason: str
    allowed_by: str = ""
    steps: tuple[Step, ...] = ()
    signatures: tuple[SignatureFact, ...] = ()
    policy: str = ""
    rule: str = ""
    evidence: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The document kept with each pod.

        It holds the evidence too: when the image has been removed, the decision is made again from that.
        """
        document: dict[str, Any] = {
            "image": self.image.to_dict(),
            "verdict": self.verdict,
            "reason": self.reason,
            "allowedBy": self.allowed_by,
            "steps": [step.to_dict() for step in self.steps],
            "signatures": [signature.to_dict() for signature in self.signatures],
        }
        if self.policy:
            document["policy"] = self.policy
            document["rule"] = self.rule
        if self.evidence:
            document["evidence"] = list(self.evidence)
        return document

    def to_bytes(self) -> bytes:
        """:meth:`to_dict` as JSON."""
        return jsondoc.dump(self.to_dict())

    def require(self) -> None:
        """Raise unless the image was accepted: :class:`TrustRejected` or :class:`TrustUndecided` with the reason."""
        if self.verdict == REJECTED:
            raise TrustRejected(self.reason, self)
        if self.verdict != ACCEPTED:
            raise TrustUndecided(self.reason, self)


def decide(
    image: Image,
    signatures: tuple[SignatureFact, ...],
    keys: tuple[TrustedKey, ...],
    *,
    states: Mapping[str, KeyState],
    insecure_image: bool,
    now: int,
) -> Decision:
    """Decide about one image.

    ``signatures`` are the checked signatures at hand, ``keys`` what the keystore trusts for the image's name, ``states``
    by fingerprint what is known of those keys that signed, ``now`` the clock in seconds since the epoch.
    """
    if insecure_image:
        step = Step(INSECURE_IMAGE, ACCEPTS, "signature verification was switched off by the user")
        return Decision(image, ACCEPTED, step.reason, INSECURE_IMAGE, (step,))
    if image.format == "oci":
        return Decision(image, REJECTED, NO_POLICY, "", (Step("oci", REJECTS, NO_POLICY),))
    if image.format != "aci":
        return Decision(image, UNDECIDED, f"image {image.id} has the unknown format {image.format!r}")
    judged = judge_signatures(image.name, signatures, keys, states, now)
    allowed_by = f"{OPENPGP}:{judged.key}" if judged.key else ""
    return Decision(image, judged.verdict, judged.reason, allowed_by, judged.steps, signatures)


class JudgedSignatures(Record):
    """What came of the detached signatures of an ACI. ``key`` is the fingerprint of the key by which it was accepted."""

    verdict: str
    reason: str
    steps: tuple[Step, ...]
    key: str = ""


def judge_signatures(
    name: str,
    signatures: tuple[SignatureFact, ...],
    keys: tuple[TrustedKey, ...],
    states: Mapping[str, KeyState],
    now: int,
) -> JudgedSignatures:
    """Look at every signature of the ACI called ``name``; the other arguments are those of :func:`decide`."""
    trusted = {key.fingerprint: key for key in keys}
    steps: list[Step] = []
    winner = ""
    unknown = ""
    for signature in signatures:
        rule = f"openpgp signature by {signature.signer or signature.key or 'an unknown key'}"
        key = trusted.get(signature.signer)
        if signature.problem:
            steps.append(Step(rule, REJECTS, signature.problem))
        elif key is None:
            steps.append(Step(rule, REJECTS, f"the key is not trusted for {name}"))
        elif signature.expires and signature.expires <= now:
            steps.append(Step(rule, REJECTS, "the signature has expired"))
        elif signature.signer not in states:
            unknown = f"it is not known whether key {signature.signer} may still be relied on"
            steps.append(Step(rule, SKIPPED, unknown))
        elif problem := _key_problem(states[signature.signer], signature, now):
            steps.append(Step(rule, REJECTS, problem))
        else:
            scope = f"prefix {key.prefix}" if key.prefix else "root key"
            steps.append(Step(rule, ACCEPTS, f"trusted by {scope} ({key.path})"))
            winner = winner or key.fingerprint
    if winner:
        return JudgedSignatures(ACCEPTED, "signed by a trusted key", tuple(steps), winner)
    if unknown:
        return JudgedSignatures(UNDECIDED, unknown, tuple(steps))
    if not steps:
        reason = f"image {name!r} has no signature (sign it, or try --insecure-options=image)"
        steps.append(Step("openpgp", REJECTS, "no signature at hand"))
    elif trusted and len(steps) == 1 and (signatures[0].problem or signatures[0].signer in trusted):
        reason = steps[0].reason
    else:
        reason = "openpgp: signature made by unknown entity"
    return JudgedSignatures(REJECTED, reason, tuple(steps))


def _key_problem(state: KeyState, signature: SignatureFact, now: int) -> str:
    """What is wrong with the primary key, or with the subkey that made the signature."""
    return state.problem(signature.signer, now) or (state.problem(signature.key, now) if signature.key else "")
