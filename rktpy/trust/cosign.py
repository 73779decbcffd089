"""Judging signatures and attestations of cosign's old scheme (tags ``.sig`` and ``.att``), from what is known of them.

The facts come from :mod:`rktpy.trust.cosign_facts`. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.oci.artifacts import DSSE_ENVELOPE
from rktpy.formats.trust.evidence import COSIGN
from rktpy.formats.trust.requirements import SigstoreBundle, SigstoreSigned
from rktpy.trust.sigstore_checks import aspects, judge, material

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import Requirement

__all__ = ("aspects", "concerns", "judge", "material")


def concerns(requirement: Requirement, evidence: Evidence) -> bool:
    """Whether the evidence can satisfy the requirement: signatures and attestations are not taken for each other."""
    if evidence.family != COSIGN:
        return False
    attestation = evidence.media_type == DSSE_ENVELOPE
    if isinstance(requirement, SigstoreSigned):
        return not attestation
    return isinstance(requirement, SigstoreBundle) and attestation == bool(requirement.predicate_type)
