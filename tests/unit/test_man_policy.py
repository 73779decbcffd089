"""The manual pages rktpy-policy.json(5) and rktpy-trust(5) say what policies may hold and what decisions by them have."""

from __future__ import annotations

import re

from rktpy.formats.trust import policy_requirements, scopes
from rktpy.formats.trust.evidence import MAX_COUNT
from rktpy.formats.trust.policy import parse_policy
from rktpy.trust.decision import Decision, Image, Step
from tests.conftest import ROOT as CHECKOUT
from tests.unit.test_man_formats import WORDS, examples, mentions


def test_members_of_the_policy() -> None:
    """Every word that the parser asks for, and every transport; the examples are policies."""
    page = "rktpy-policy.json"
    source = (CHECKOUT / "formats/trust/policy_requirements.py").read_text()
    stems = {"ca", "caRoots", "caIntermediates", "trustedRoot", "key", "logKey", "rekorPublicKey"}
    named = set(re.findall(r'(?:text|inner|take|path_text|_match)\((?:members, |subject, )?"([a-zA-Z]+)"', source))
    named |= {stem + "Path" for stem in stems} | {stem + "Data" for stem in stems}
    named |= set(re.findall(r'"((?:match|exact|remap)[A-Z][a-zA-Z]+)"', source)) | {"dockerReference", "dockerRepository"}
    named |= {"email", "uri", "exact", "prefix", "regexp", *policy_requirements._LOGS, *scopes.TRANSPORTS}
    assert len(named) > 45
    for name in (*named, *policy_requirements._READERS):
        assert mentions(page, name), name
    assert f"At most {MAX_COUNT} of a family" in WORDS[page]
    shown = [text for _page, text in examples("json: policy")]
    assert len(shown) == 3
    for text in shown:
        assert parse_policy(text.encode(), page).default


def test_what_decisions_by_a_policy_have() -> None:
    image = Image("sha256-" + "0" * 64, "oci", "docker://registry.example/a:1", "sha256:" + "0" * 64, "m", 1, "")
    inner = Step("rule", "accepts", "why", (Step("rule", "accepts", "why"),))
    kept = {"evidence": {}, "data": {}, "key": "", "fact": {}}
    decision = Decision(image, "accepted", "r", "x", (inner,), (), "/p", "rule", (kept,))
    document = decision.to_dict()
    for name in (*document, *document["image"], *document["steps"][0], *kept):
        assert mentions("rktpy-trust", name), name
    assert Image.from_dict(document["image"]) == image
