"""Versions of CNI: those that are known, and choosing one that both sides know.

Source: CNI ``SPEC.md`` 1.1.0, "Version considerations". Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Members

#: All released versions, in order.
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
#: What a configuration without ``cniVersion`` speaks (libcni).
UNSAID = "0.1.0"

LISTS_SINCE = "0.3.0"  # several plugins, results with interfaces
CHECK_SINCE = "0.4.0"  # CHECK, and prevResult for DEL
GC_SINCE = "1.1.0"  # GC and STATUS


def at_least(version: str, other: str) -> bool:
    """Whether ``version`` is ``other`` or newer. Both are in VERSIONS."""
    return VERSIONS.index(version) >= VERSIONS.index(other)


def is_version(text: str) -> bool:
    """Whether ``text`` has the form of a version, known or not: up to three numbers."""
    parts = text.split(".")
    return len(parts) <= 3 and all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)


def newest_first(versions: tuple[str, ...]) -> tuple[str, ...]:
    """The known ones of ``versions``, each once, the newest first."""
    return tuple(version for version in reversed(VERSIONS) if version in versions)


def supported_versions(data: bytes, what: str) -> tuple[str, ...]:
    """The known versions, newest first, that a plugin lists in its answer to VERSION. Raises FormatError.

    A plugin of CNI 0.1.0 does not know the question: it fails, and the caller takes UNSAID.
    """
    names = {"supportedversions": "supportedVersions"}
    members = Members(jsondoc.parse_object(data, what), names, what, "")
    versions = members.texts("supportedVersions")
    if not versions:
        raise FormatError(what, "supportedVersions", "must be set")
    return newest_first(versions)
