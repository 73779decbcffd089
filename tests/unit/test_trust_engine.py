"""The decision by a policy: how requirements and signatures add up, whatever the signatures are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import TrustRejected, TrustUndecided
from rktpy.formats.trust.evidence import SIMPLE_SIGNING, Evidence
from rktpy.formats.trust.requirements import AcceptAnything, KeySource, Reject, Requirement, SignedBy, TrustedKeys, Unsupported
from rktpy.trust.decision import Decision, Image, KeyState, SignatureFact
from rktpy.trust.engine import Finding, Findings, decide_by_rule
from rktpy.trust.explanation import tree
from rktpy.trust.keystore import TrustedKey
from rktpy.trust.policy import Rule

DIGEST = "sha256:" + "ab" * 32
IMAGE = Image("sha256-" + "ab" * 32, "oci", "docker://registry.example/app:v1", DIGEST)
EVIDENCE = Evidence(SIMPLE_SIGNING, "file:///s/signature-1", "", ())
GOOD: dict[str, Any] = {
    "problem": "",
    "signer": "a" * 40,
    "key": "a" * 40,
    "created": 1,
    "expires": 0,
    "user": "alice",
    "states": {"a" * 40: [0, 0]},
    "digest": DIGEST,
    "reference": "registry.example/app:v1",
}
BAD: dict[str, Any] = {"problem": "it is bad\x1b[2J"}
FINDINGS = {
    "good": Finding(EVIDENCE, GOOD),
    "bad": Finding(EVIDENCE, BAD),
    "unknown": Finding(EVIDENCE, None, "nobody could tell"),
    "damaged": Finding(EVIDENCE, {"problem": "", "expires": "soon"}),
}


def decide(*parts: tuple[Requirement, Findings]) -> Decision:
    rule = Rule("the rule", tuple(requirement for requirement, _findings in parts))
    decision, good = decide_by_rule(IMAGE, "/policy.json", rule, tuple(findings for _requirement, findings in parts), 100)
    assert bool(good) <= (decision.verdict == "accepted")
    return decision


def signed(*names: str, passed_over: int = 0) -> tuple[Requirement, Findings]:
    return SignedBy("here", (KeySource("/k"),)), Findings(tuple(FINDINGS[name] for name in names), passed_over=passed_over)


ANYTHING = (AcceptAnything("any"), Findings())
NOTHING = (Reject("no"), Findings())


@pytest.mark.parametrize(
    ("parts", "verdict", "reason"),
    [
        ([ANYTHING], "accepted", "the policy accepts any image here"),
        ([NOTHING], "rejected", "the policy rejects every image here"),
        ([ANYTHING, NOTHING], "rejected", "the policy rejects every image here"),
        ([signed()], "rejected", "no signature of this kind is at hand"),
        ([signed("good")], "accepted", "signed by alice as registry.example/app:v1"),
        ([signed("bad")], "rejected", "it is bad"),
        ([signed("bad", "bad")], "rejected", "none of 2 signatures will do, the first because it is bad"),
        ([signed("bad", "good")], "accepted", "signed by alice"),
        ([signed("unknown")], "undecided", "nobody could tell"),
        ([signed("bad", "unknown")], "undecided", "nobody could tell"),
        ([signed("unknown", "good")], "accepted", "signed by alice"),
        ([signed("damaged")], "undecided", "what is remembered of it is damaged"),
        ([signed("bad", passed_over=9)], "rejected", "it is bad"),
        ([signed("good"), signed("bad")], "rejected", "it is bad"),
        ([signed("unknown"), signed("bad")], "rejected", "it is bad"),
        ([signed("unknown"), signed("good")], "undecided", "nobody could tell"),
        ([signed("good"), ANYTHING], "accepted", "all 2 requirements hold"),
        ([(SignedBy("here", ()), Findings(problem="no key file"))], "undecided", "no key file"),
        ([(Requirement("here"), Findings())], "undecided", "this type of requirement is not known"),
        ([(Unsupported("here", "keyType X"), Findings())], "undecided", "keyType X is not supported"),
        ([], "undecided", "it has no requirements"),
    ],
)
def test_how_requirements_add_up(parts: list[tuple[Requirement, Findings]], verdict: str, reason: str) -> None:
    decision = decide(*parts)
    assert decision.verdict == verdict
    assert reason in decision.reason
    assert (decision.allowed_by == "/policy.json: the rule") == (verdict == "accepted")
    assert len(decision.steps) == len(parts)
    if verdict == "rejected":
        with pytest.raises(TrustRejected):
            decision.require()
    elif verdict == "undecided":
        with pytest.raises(TrustUndecided):
            decision.require()
    shown = tree(decision)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert decision.verdict in shown


def test_signatures_that_were_not_looked_at_are_told() -> None:
    decision = decide(signed("bad", "bad", passed_over=9))
    assert decision.steps[0].steps[-1].reason == "9 more are not looked at: 2 are the most that are"


@given(st.lists(st.lists(st.sampled_from(sorted(FINDINGS)), max_size=4), max_size=4))
def test_accepted_only_if_every_requirement_has_a_good_signature(table: list[list[str]]) -> None:
    decision = decide(*[signed(*names) for names in table])
    accepted = bool(table) and all("good" in names for names in table)
    assert (decision.verdict == "accepted") == accepted
    hopeless = any(names == [] or set(names) == {"bad"} for names in table)
    assert (decision.verdict == "rejected") == (hopeless and not accepted)


def test_the_keys_of_acis() -> None:
    signature = SignatureFact("a" * 40, "a" * 40, 1)
    key = TrustedKey("a" * 40, "", "/k")
    known = {"a" * 40: KeyState({"a" * 40: (0, False)})}
    table = [
        (Findings(signatures=(signature,), keys=(key,), states=known), "accepted"),
        (Findings(signatures=(signature,), keys=(key,)), "undecided"),
        (Findings(signatures=(signature,)), "rejected"),
        (Findings(keys=(key,), states=known), "rejected"),
    ]
    for findings, verdict in table:
        assert decide((TrustedKeys("aci"), findings)).verdict == verdict
