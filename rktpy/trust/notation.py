"""Judge a Notary Project signature under its trust policy.

notaryproject/specifications ``trust-store-trust-policy.md``, "Signature Verification". The checks are integrity, authenticity,
expiry, authentic timestamp and revocation; the level of the applicable statement says for each of the last four whether its
failure refuses the signature or is only told. What is only told appears as a step with the outcome ``warns``.

Hot-path module: the cryptography was done by :mod:`rktpy.trust.notation_facts`.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.oci.media_types import INDEX_TYPES
from rktpy.formats.rfc3339 import text_of
from rktpy.formats.trust.members import shown
from rktpy.formats.trust.notation import identity
from rktpy.formats.trust.notation.policy import CHECKS, ENFORCE, SKIP, Statement, select
from rktpy.formats.trust.requirements import KeySource
from rktpy.trust.decision import Step
from rktpy.trust.evidence import NOTATION
from rktpy.trust.notation_store import policy_source, statements_of, stores_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.requirements import Notation
    from rktpy.trust.decision import Image
    from rktpy.trust.evidence import Evidence

_X509 = "notary.x509"
_DOCKER = "docker://"


def concerns(requirement: Notation, evidence: Evidence) -> bool:
    """Whether the evidence is worth examining for the requirement."""
    return evidence.family == NOTATION


def material(requirement: Notation) -> tuple[KeySource, ...]:
    """The trust policy and the certificate files of the stores that it names.

    Raises :class:`ConfigError` for a broken trust policy.
    """
    files = [path for store in stores_of(requirement, statements_of(requirement)) for path in store.files]
    return (policy_source(requirement), *[KeySource(path=path) for path in dict.fromkeys(files)])


def aspects(requirement: Notation) -> tuple[str, ...]:
    """What else changes the fact: where files lie, and what is wrong with stores.

    Raises :class:`ConfigError` for a broken trust policy.
    """
    found: list[str] = []
    for store in stores_of(requirement, statements_of(requirement)):
        found.append(f"{store.key}\n{store.problem}\n" + "\n".join(store.files))
    return tuple(found)


def without_signature(requirement: Notation, image: Image) -> Step | None:
    """What the requirement says of an image without looking at signatures: accepted at the level ``skip``, otherwise None.

    Raises :class:`ConfigError` for a broken trust policy.
    """
    statement = select(statements_of(requirement), repository_of(image.name))
    return _skipped(statement) if statement is not None and statement.level == SKIP else None


def judge(requirement: Notation, image: Image, fact: dict[str, Any], now: int) -> Step:
    """Judge one signature of an image by the fact about it; ``now`` is the clock in seconds since the epoch."""
    statements = tuple([Statement.from_dict(doc) for doc in fact["policy"]])
    repository = repository_of(image.name)
    statement = select(statements, repository)
    rule = _rule(fact)
    if statement is None:
        return Step(rule, "rejects", f"no trust policy is for {repository or image.name}")
    if statement.level == SKIP:
        return _skipped(statement)
    problem = _integrity(fact, image)
    steps = [Step("integrity", "rejects" if problem else "accepts", problem or "the signature is over this image")]
    if problem:
        return Step(rule, "rejects", problem, tuple(steps))
    authentic = _authentic_time(statement, fact, now)
    for check in CHECKS:
        action = statement.action(check)
        if action == SKIP:
            steps.append(Step(check, "skipped", f"trust policy {shown(statement.name)!r} does not ask for it"))
            continue
        problem, reason = _CHECKS[check](statement, fact, now, authentic)
        if problem and action == ENFORCE:
            steps.append(Step(check, "rejects", problem))
            return Step(rule, "rejects", problem, tuple(steps))
        steps.append(Step(check, "warns", f"only logged: {problem}") if problem else Step(check, "accepts", reason))
    warnings = sum(step.outcome == "warns" for step in steps)
    reason = f"signed by {_signer(fact)}, trust policy {shown(statement.name)!r} ({statement.level})"
    if warnings:
        reason += f", with {warnings} failed check{'s' if warnings > 1 else ''} that it only logs"
    return Step(rule, "accepts", reason, tuple(steps))


def repository_of(name: str) -> str:
    """``host/repository`` of an image's name, or empty for one that came from no registry."""
    if not name.startswith(_DOCKER):
        return ""
    try:
        return parse_image_name(name[len(_DOCKER) :]).name
    except UsageError:
        return ""


def _skipped(statement: Statement) -> Step:
    return Step("notation", "accepts", f"trust policy {shown(statement.name)!r} skips verification")


def _rule(fact: dict[str, Any]) -> str:
    return f"notation signature by {_signer(fact)}" if fact.get("certificates") else "notation signature"


def _signer(fact: dict[str, Any]) -> str:
    return repr(shown(fact["certificates"][0]["subject"]))


def _integrity(fact: dict[str, Any], image: Image) -> str:
    problem: str = fact.get("problem", "")
    if problem:
        return problem
    target = fact["target"]
    if target["digest"] != image.digest:
        if target["mediaType"] in INDEX_TYPES:
            return f"the signature is about the image index {target['digest']}, not about the manifest {image.digest}"
        return f"the signature is about {target['digest']}, not about {image.digest}"
    if target["mediaType"] != image.media_type:
        return f"the signature is about the media type {shown(target['mediaType'])!r}, not {image.media_type!r}"
    if target["size"] != image.size:
        return f"the signature is about a manifest of {target['size']} bytes, not {image.size}"
    return ""


def _authenticity(statement: Statement, fact: dict[str, Any], now: int, authentic: tuple[str, int]) -> tuple[str, str]:
    kind = "ca" if fact["scheme"] == _X509 else "signingAuthority"
    names = [name for store, name in statement.stores if store == kind]
    if not names:
        scheme = fact["scheme"]
        return f"trust policy {shown(statement.name)!r} has no {kind} store, which the scheme {scheme} needs", ""
    for name in names:
        if broken := fact["broken"].get(f"{kind}:{name}"):
            return broken, ""
    problems = [fact["stores"][f"{kind}:{name}"] for name in names]
    if all(problems):
        return problems[0] if len(problems) == 1 else "; ".join(problems), ""
    store = names[problems.index("")]
    if not statement.identities:
        return "", f"the chain leads to the trust store {kind}:{store}"
    failed: list[str] = []
    for trusted in statement.identities:
        problem = identity.mismatch(trusted, fact["subject"])
        if not problem:
            return "", f"the chain leads to the trust store {kind}:{store}, and {identity.text_of(trusted)} is trusted"
        failed.append(f"{identity.text_of(trusted)}: {problem}")
    return f"the signer {_signer(fact)} is no trusted identity ({shown('; '.join(failed))})", ""


def _expiry(statement: Statement, fact: dict[str, Any], now: int, authentic: tuple[str, int]) -> tuple[str, str]:
    expiry = fact["expiry"]
    if not expiry:
        return "", "the signature does not expire"
    if now >= expiry:
        return f"the signature expired at {text_of(expiry)}", ""
    return "", f"the signature expires at {text_of(expiry)}"


def _timestamp(statement: Statement, fact: dict[str, Any], now: int, authentic: tuple[str, int]) -> tuple[str, str]:
    problem, at = authentic
    if problem:
        return problem, ""
    return "", f"the certificates were valid at {text_of(at)}" if at else "the certificates are valid now"


def _authentic_time(statement: Statement, fact: dict[str, Any], now: int) -> tuple[str, int]:
    """What is wrong with the time of the signature, and that time if somebody vouches for it (otherwise 0)."""
    certificates = fact["certificates"]
    if fact["scheme"] != _X509:
        at = fact["signedAt"]
        return _valid(certificates, at, at), at
    names = [f"{kind}:{name}" for kind, name in statement.stores if kind == "tsa"]
    expired = any(certificate["ends"] < now for certificate in certificates)
    if not names or (statement.after_expiry and not expired):
        problem = _valid(certificates, now, now)
        if problem and not names:
            problem += " (and no time stamp counts: the trust policy has no tsa store)"
        return problem, 0
    problems: list[str] = []
    for name in names:
        stamp = fact["timestamps"][name]
        problem = stamp.get("problem", "") or _valid(certificates, stamp["earliest"], stamp["latest"])
        problem = problem or _revoked(stamp["revocation"], stamp["latest"])
        if not problem:
            return "", stamp["time"]
        problems.append(problem)
    return problems[0] if len(set(problems)) == 1 else "; ".join(problems), 0


def _valid(certificates: list[dict[str, Any]], earliest: int, latest: int) -> str:
    for certificate in certificates:
        name = repr(shown(certificate["subject"]))
        if latest > certificate["ends"]:
            return f"certificate {name} expired at {text_of(certificate['ends'])}"
        if earliest < certificate["starts"]:
            return f"certificate {name} is not valid before {text_of(certificate['starts'])}"
    return ""


def _revocation(statement: Statement, fact: dict[str, Any], now: int, authentic: tuple[str, int]) -> tuple[str, str]:
    problem, at = authentic
    states = fact["revocation"]
    found = _revoked(states, 0 if problem else at)
    if found:
        return found, ""
    asked = [state["from"] for state in states if "from" in state]
    if not asked:
        return "", "no certificate names anybody who could revoke it"
    return "", f"no certificate was revoked at {text_of(min(asked))}"


def _revoked(states: list[dict[str, Any]], at: int) -> str:
    """Why a chain must not be relied on; ``at`` is when it signed, if somebody vouches for that (otherwise 0)."""
    for state in states:
        name = repr(shown(state["certificate"]))
        if state["status"] == "unavailable":
            return f"it is not known whether certificate {name} is revoked: {state['reason']}"
        # What was signed before the key went bad stays good, if the time of both is known.
        if state["status"] == "revoked" and not (at and state.get("invalid", 0) > at):
            return f"certificate {name} was revoked at {text_of(state['at'])}"
    return ""


_CHECKS = {
    "authenticity": _authenticity,
    "expiry": _expiry,
    "authenticTimestamp": _timestamp,
    "revocation": _revocation,
}
