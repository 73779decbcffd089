"""Judging sigstore bundles from what is known of them.

The facts come from :mod:`rktpy.trust.bundle_facts`. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.trust.requirements import SigstoreBundle
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


def concerns(requirement: Requirement, evidence: Evidence) -> bool:
    """Whether the evidence can satisfy the requirement. What a bundle holds is only known once its signature was checked."""
    return evidence.family == families.BUNDLE and isinstance(requirement, SigstoreBundle)


def judge(requirement: Requirement, image: Image, fact: dict[str, Any], now: int) -> Step:
    """One step for this piece of evidence. ``now`` is in seconds since the epoch."""
    return sigstore_checks.judge("sigstore bundle", requirement, image, fact, now)
