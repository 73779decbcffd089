"""The decision about an image under a policy.json: every requirement of the rule that speaks of it must hold.

A value without I/O. Whoever calls has gathered, for each requirement, the signatures at hand and the facts about them
(:class:`Finding`); here these are compared with the image, the policy and the clock. A requirement holds if one signature
satisfies it. What could not be examined never accepts: if the rest does not suffice, the answer is "undecided".

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.trust.requirements import AcceptAnything, Reject, TrustedKeys, Unsupported
from rktpy.record import Record
from rktpy.trust.decision import ACCEPTED, ACCEPTS, REJECTED, REJECTS, SKIPPED, UNDECIDED, Decision, Step, judge_signatures
from rktpy.trust.families import family_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rktpy.formats.trust.evidence import Evidence
    from rktpy.formats.trust.requirements import Requirement
    from rktpy.trust.decision import Image, KeyState, SignatureFact
    from rktpy.trust.keystore import TrustedKey
    from rktpy.trust.policy import Rule

#: Types of requirements as a policy.json spells them.
TYPES = {
    "AcceptAnything": "insecureAcceptAnything",
    "Reject": "reject",
    "SignedBy": "signedBy",
    "Unsupported": "requirement",
    "SigstoreSigned": "sigstoreSigned",
    "SigstoreBundle": "rktpy:sigstoreBundle",
    "Notation": "rktpy:notation",
    "TrustedKeys": "rktpy:trustedKeys",
}


class Finding(Record):
    """One signature that concerns a requirement: what is known of it, or in ``problem`` why nothing could be found out."""

    evidence: Evidence
    fact: dict[str, Any] | None = None
    problem: str = ""


class Findings(Record):
    """All that was gathered for one requirement.

    ``without`` is a step that accepts the image whatever its signatures are. ``problem`` says why signatures could not be looked
    at at all (a key file that cannot be read). ``passed_over`` is how many signatures there are beyond those that are looked at.
    ``signatures``, ``keys`` and ``states`` are those of an ACI, as :func:`rktpy.trust.decision.decide` takes them.
    """

    found: tuple[Finding, ...] = ()
    problem: str = ""
    without: Step | None = None
    passed_over: int = 0
    signatures: tuple[SignatureFact, ...] = ()
    keys: tuple[TrustedKey, ...] = ()
    states: Mapping[str, KeyState] = {}


class Judged(Record):
    """The step about one requirement, and which of the findings satisfied it."""

    step: Step
    good: tuple[Finding, ...] = ()


def decide_by_rule(
    image: Image, policy: str, rule: Rule, gathered: tuple[Findings, ...], now: int
) -> tuple[Decision, list[Finding]]:
    """Decide about an image.

    ``policy`` is the path of the policy.json, ``gathered`` has an entry for each requirement of the ``rule``, ``now`` the clock
    in seconds since the epoch. Also gives the findings that the acceptance rests on.
    """
    judged = [judge(one, image, findings, now) for one, findings in zip(rule.requirements, gathered, strict=True)]
    steps = tuple([one.step for one in judged])
    signatures = tuple([signature for findings in gathered for signature in findings.signatures])
    outcomes = [step.outcome for step in steps]
    if REJECTS in outcomes:
        step = steps[outcomes.index(REJECTS)]
        verdict, reason = REJECTED, f"image {image.name} is refused by {step.rule} in {policy}: {step.reason}"
    elif SKIPPED in outcomes or not steps:
        step = steps[outcomes.index(SKIPPED)] if steps else Step(rule.place, SKIPPED, "it has no requirements")
        verdict, reason = UNDECIDED, f"cannot decide about image {image.name} by {step.rule} in {policy}: {step.reason}"
    else:
        verdict, reason = ACCEPTED, steps[0].reason
        if len(steps) > 1:
            reason = f"all {len(steps)} requirements hold"
    allowed_by = f"{policy}: {rule.place}" if verdict == ACCEPTED else ""
    decision = Decision(image, verdict, reason, allowed_by, steps, signatures, policy, rule.place)
    good = [finding for one in judged for finding in one.good]
    return decision, good if verdict == ACCEPTED else []


def judge(requirement: Requirement, image: Image, findings: Findings, now: int) -> Judged:
    """Whether one requirement holds."""
    rule = f"{TYPES.get(type(requirement).__name__, '?')} at {requirement.path}"
    if isinstance(requirement, AcceptAnything):
        return Judged(Step(rule, ACCEPTS, "the policy accepts any image here"))
    if isinstance(requirement, Reject):
        return Judged(Step(rule, REJECTS, "the policy rejects every image here"))
    if isinstance(requirement, Unsupported):
        return Judged(Step(rule, SKIPPED, f"{requirement.what} is not supported"))
    if findings.problem:
        return Judged(Step(rule, SKIPPED, findings.problem))
    if isinstance(requirement, TrustedKeys):
        return Judged(_judge_aci(rule, image, findings, now))
    if findings.without is not None:
        return Judged(findings.without.replace(rule=f"{rule}: {findings.without.rule}"))
    family = family_of(requirement)
    if family is None:
        return Judged(Step(rule, SKIPPED, "this type of requirement is not known"))
    steps: list[Step] = []
    good: list[Finding] = []
    for finding in findings.found:
        step = _judge_one(family.judge.judge, requirement, image, finding, now)
        steps.append(step)
        if step.outcome == ACCEPTS:
            good.append(finding)
    if findings.passed_over:
        reason = f"{findings.passed_over} more are not looked at: {len(findings.found)} are the most that are"
        steps.append(Step("further signatures", SKIPPED, reason))
    outcome, reason = _summary(steps, len(findings.found))
    return Judged(Step(rule, outcome, reason, tuple(steps)), tuple(good))


def _judge_one(judge_fact: Any, requirement: Requirement, image: Image, finding: Finding, now: int) -> Step:
    if finding.fact is None:
        return Step(f"signature {finding.evidence.source}", SKIPPED, finding.problem or "it was not examined")
    try:
        step: Step = judge_fact(requirement, image, finding.fact, now)
    except (FormatError, KeyError, TypeError, ValueError, AttributeError):
        return Step(
            f"signature {finding.evidence.source}", SKIPPED, "what is remembered of it is damaged (fetch the image again)"
        )
    # Where it was found is told by who knows it; families know what it says.
    return step.replace(rule=f"signature {finding.evidence.source}" + (f": {step.rule}" if step.rule else ""))


def _summary(steps: list[Step], looked_at: int) -> tuple[str, str]:
    for step in steps:
        if step.outcome == ACCEPTS:
            return ACCEPTS, step.reason
    refused = [step for step in steps if step.outcome == REJECTS]
    # Had the others been examined, one of them might have been good.
    undecided = [step for step in steps[:looked_at] if step.outcome == SKIPPED]
    if undecided:
        return SKIPPED, undecided[0].reason
    if not refused:
        return REJECTS, "no signature of this kind is at hand (they are looked for when the image is fetched)"
    if len(refused) == 1:
        return REJECTS, refused[0].reason
    return REJECTS, f"none of {len(refused)} signatures will do, the first because {refused[0].reason}"


def _judge_aci(rule: str, image: Image, findings: Findings, now: int) -> Step:
    judged = judge_signatures(image.name, findings.signatures, findings.keys, findings.states, now)
    outcomes = {ACCEPTED: ACCEPTS, REJECTED: REJECTS}
    return Step(rule, outcomes.get(judged.verdict, SKIPPED), judged.reason, judged.steps)
