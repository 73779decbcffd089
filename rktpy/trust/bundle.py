"""Judging what ``rktpy:sigstoreBundle`` may be satisfied by: sigstore bundles, and cosign's old signatures and attestations.

The facts come from :mod:`rktpy.trust.bundle_facts`. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.trust.evidence import BUNDLE
from rktpy.formats.trust.requirements import SigstoreBundle
from rktpy.trust import cosign
from rktpy.trust.sigstore_checks import aspects, judge, material

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import Requirement

__all__ = ("aspects", "concerns", "judge", "material")


def concerns(requirement: Requirement, evidence: Evidence) -> bool:
    """Whether the evidence can satisfy the requirement. What a bundle holds is only known once its signature was checked."""
    if evidence.family == BUNDLE:
        return isinstance(requirement, SigstoreBundle)
    return cosign.concerns(requirement, evidence)
