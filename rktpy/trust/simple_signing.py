"""Judging simple-signing signatures (``signedBy``): what is known of one against the image, the identity and the clock.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.trust.evidence import SIMPLE_SIGNING
from rktpy.formats.trust.members import shown
from rktpy.trust.decision import ACCEPTS, KEY_EXPIRED, KEY_REVOKED, REJECTS, Step
from rktpy.trust.identity import matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import KeySource, SignedBy
    from rktpy.trust.decision import Image

#: How far clocks may be apart, in seconds.
_SKEW = 300


def concerns(_requirement: SignedBy, evidence: Evidence) -> bool:
    """Whether the evidence is a simple-signing signature."""
    return evidence.family == SIMPLE_SIGNING


def material(requirement: SignedBy) -> tuple[KeySource, ...]:
    """The key files."""
    return requirement.keys


def aspects(_requirement: SignedBy) -> tuple[str, ...]:
    """Nothing but the keys changes what a signature proves."""
    return ()


def judge(requirement: SignedBy, image: Image, fact: dict[str, Any], now: int) -> Step:
    """Whether the signature accepts the image at the time ``now``, in seconds since the epoch."""
    signer: str = fact.get("signer", "") or fact.get("key", "")
    rule = f"openpgp key {signer.upper()}" if signer else ""
    problem: str = fact["problem"] or _problem(requirement, image, fact, now)
    if problem:
        return Step(rule, REJECTS, problem)
    user = shown(fact["user"])
    return Step(rule, ACCEPTS, f"signed by {user or fact['signer'].upper()} as {shown(fact['reference'])}")


def _problem(requirement: SignedBy, image: Image, fact: dict[str, Any], now: int) -> str:
    if fact["expires"] and fact["expires"] <= now:
        return "the signature has expired"
    if fact["created"] > now + _SKEW:
        return "the signature was made in the future"
    for key in (fact["signer"], fact["key"]):
        state = fact["states"].get(key)
        if state is None:
            return "the signing key is none of the policy's keys"
        expires, revoked = state
        if revoked:
            return KEY_REVOKED
        if expires and expires <= now:
            return KEY_EXPIRED
    digest: str = fact["digest"]
    if digest != image.digest:
        if digest == image.index_digest:
            return f"the signature is for the index {digest}, not for the manifest of this platform"
        return f"the signature is for the manifest {digest}, not for {image.digest or 'this one'}"
    return matches(requirement.identity, image.name, fact["reference"])
