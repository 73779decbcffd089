"""The families of signatures on OCI images: which modules check and judge what a requirement asks for.

Each family is two modules of this package. ``<name>`` judges and is imported at every start that needs it; ``<name>_facts`` does
the cryptography and is imported only when a fact is not remembered. They offer::

    <name>.concerns(requirement, evidence) -> bool         is this evidence worth examining for it
    <name>.material(requirement) -> tuple[KeySource, ...]  the files that examine() will read
    <name>.aspects(requirement) -> tuple[str, ...]         what else of the requirement changes the fact
    <name>.judge(requirement, image, fact, now) -> Step    pure; its reason names exactly what was wrong
    <name>_facts.FACT_VERSION                              changes when the same evidence would give another fact
    <name>_facts.examine(requirement, evidence, blob, file) -> dict

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.trust.evidence import BUNDLE, COSIGN, NOTATION, SIMPLE_SIGNING
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import KeySource, Requirement
    from rktpy.trust.decision import Image, Step

    class Judge(Protocol):
        """The hot module of a family."""

        def concerns(self, requirement: Any, evidence: Evidence) -> bool: ...

        def material(self, requirement: Any) -> tuple[KeySource, ...]: ...

        def aspects(self, requirement: Any) -> tuple[str, ...]: ...

        def judge(self, requirement: Any, image: Image, fact: dict[str, Any], now: int) -> Step: ...

    class Examiner(Protocol):
        """The cold module of a family."""

        FACT_VERSION: int

        def examine(
            self, requirement: Any, evidence: Evidence, blob: Callable[[str], bytes], file: Callable[[KeySource], bytes]
        ) -> dict[str, Any]: ...


class Family(Record):
    """One family. ``version`` is the FACT_VERSION of its examiner, too dear to be asked; ``evidence`` is what it reads."""

    name: str
    version: int
    evidence: tuple[str, ...]

    @property
    def judge(self) -> Judge:
        """The module that judges."""
        module: Judge = _module(f"rktpy.trust.{self.name}")
        return module

    @property
    def examiner(self) -> Examiner:
        """The module that examines."""
        module: Examiner = _module(f"rktpy.trust.{self.name}_facts")
        return module


#: By the record class of the requirement.
FAMILIES = {
    "SignedBy": Family("simple_signing", 1, (SIMPLE_SIGNING,)),
    "SigstoreSigned": Family("cosign", 1, (COSIGN,)),
    "SigstoreBundle": Family("bundle", 1, (BUNDLE, COSIGN)),
    "Notation": Family("notation", 1, (NOTATION,)),
}


def family_of(requirement: Requirement) -> Family | None:
    """The family that a requirement asks for; None for one that asks for no signature of an OCI image."""
    return FAMILIES.get(type(requirement).__name__)


def wanted_evidence(requirements: tuple[Requirement, ...]) -> tuple[str, ...]:
    """The kinds of evidence that can satisfy any of the requirements, for who looks for signatures."""
    found: dict[str, None] = {}
    for requirement in requirements:
        family = family_of(requirement)
        if family is not None:
            found.update(dict.fromkeys(family.evidence))
    return tuple(found)


def _module(name: str) -> Any:
    # Only what a policy asks for is imported.
    return __import__(name, fromlist=["*"])
