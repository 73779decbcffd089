"""Raw evidence, as the verifiers know it: :mod:`rktpy.formats.trust.evidence`, where what fetches it can reach it too.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.trust.evidence import (
    BUNDLE,
    COSIGN,
    DETACHED,
    FAMILIES,
    MAX_COUNT,
    MAX_SIZE,
    NOTATION,
    SIMPLE_SIGNING,
    Evidence,
)

__all__ = ["BUNDLE", "COSIGN", "DETACHED", "FAMILIES", "MAX_COUNT", "MAX_SIZE", "NOTATION", "SIMPLE_SIGNING", "Evidence"]
