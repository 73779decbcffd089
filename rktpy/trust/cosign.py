"""Judging signatures and attestations of cosign's old scheme (tags ``.sig`` and ``.att``), from what is known of them.

The facts come from :mod:`rktpy.trust.cosign_facts`. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.trust.requirements import SigstoreBundle, SigstoreSigned
from rktpy.trust import evidence as families
from rktpy.trust import sigstore_checks
from rktpy.trust.sigstore_checks import aspects, material

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.requirements import Requirement
    from rktpy.trust.decision import Image, Step
    from rktpy.trust.evidence import Evidence

__all__ = ("aspects", "concerns", "judge", "material")

_ATTESTATION = "application/vnd.dsse.envelope.v1+json"


def concerns(requirement: Requirement, evidence: Evidence) -> bool:
    """Whether the evidence can satisfy the requirement: signatures and attestations are not taken for each other."""
    if evidence.family != families.COSIGN:
        return False
    attestation = evidence.media_type == _ATTESTATION
    if isinstance(requirement, SigstoreSigned):
        return not attestation
    return isinstance(requirement, SigstoreBundle) and attestation == bool(requirement.predicate_type)


def judge(requirement: Requirement, image: Image, fact: dict[str, Any], now: int) -> Step:
    """One step for this piece of evidence. ``now`` is in seconds since the epoch."""
    kind = "cosign attestation" if isinstance(requirement, SigstoreBundle) and requirement.predicate_type else "cosign signature"
    return sigstore_checks.judge(kind, requirement, image, fact, now)
