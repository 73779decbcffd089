"""What is remembered of the signatures of a stored image, so that a start needs no cryptography.

A fact (what a signature proves with certain keys) never changes, so it is kept in the store under a digest of everything that it
rests on: the family and its version, the evidence, what the requirement asks for and the bytes of the keys. A key file that was
replaced, or another requirement, makes another digest, and the signature is examined anew. The notes are as well protected as the
evidence itself and may be deleted at any time; damage to one costs time and nothing else.

Hot-path module: what examines is imported by :mod:`rktpy.trust.families` when a fact is missing.
"""

from __future__ import annotations

from rktpy.errors import FormatError, StoreError
from rktpy.formats import jsondoc
from rktpy.store.blobs import hash_of
from rktpy.store.lookup import read_file
from rktpy.store.paths import RECORD_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import KeySource, Requirement
    from rktpy.store.paths import Layout
    from rktpy.trust.families import Family

#: Facts of one image that are kept; each pair of a signature and a set of keys has one.
_MOST = 1024


class Facts:
    """The facts about the signatures of one image.

    ``given`` are facts that came from elsewhere (a pod's trust file); with ``fresh`` nothing is taken from memory.
    """

    def __init__(self, layout: Layout, image_id: str, given: dict[str, dict[str, Any]], *, fresh: bool) -> None:
        self._layout = layout
        self._path = layout.facts(image_id)
        self._fresh = fresh
        self._given = given
        self._stored: dict[str, dict[str, Any]] | None = None
        self._new: dict[str, dict[str, Any]] = {}

    def key(self, family: Family, requirement: Requirement, evidence: Evidence, material: tuple[str, ...]) -> str:
        """The digest of all that the fact rests on. ``material`` are the digests of the keys and trust roots."""
        rests_on = [
            family.name,
            family.version,
            evidence.to_dict(),
            type(requirement).__name__,
            list(family.judge.aspects(requirement)),
            list(material),
        ]
        return hash_of("sha256", jsondoc.dump(rests_on, sort=True))

    def find(
        self,
        key: str,
        family: Family,
        requirement: Requirement,
        evidence: Evidence,
        blob: Callable[[str], bytes],
        file: Callable[[KeySource], bytes],
    ) -> dict[str, Any]:
        """The fact, remembered or found out now. Raises ConfigError, TrustUndecided, and what ``blob`` and ``file`` raise."""
        fact = self._new.get(key)
        if fact is None and not self._fresh:
            fact = self._remembered(key)
        if fact is None:
            fact = family.examiner.examine(requirement, evidence, blob, file)
            self._new[key] = fact
        return fact

    def _remembered(self, key: str) -> dict[str, Any] | None:
        given = self._given.get(key)
        if given is not None:
            return given
        if self._stored is None:
            self._stored = self._read()
        return self._stored.get(key)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            document = jsondoc.parse_object(read_file(self._path), "facts about signatures")
        except (OSError, FormatError):
            return {}
        return {key: fact for key, fact in document.items() if type(fact) is dict}

    def save(self) -> None:
        """Keep what was found out. Where the store cannot be written, it is found out again next time."""
        if not self._new:
            return
        from rktpy.store.temporary import write_durably

        kept = [*self._read().items()][-_MOST:]
        try:
            write_durably(self._layout, self._path, jsondoc.dump({**dict(kept), **self._new}), RECORD_MODE)
        except StoreError:
            pass
