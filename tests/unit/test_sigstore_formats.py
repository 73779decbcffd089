"""The formats below sigstore signatures: one spelling for each value, and the same bytes as other implementations make."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats.trust import base64_strict, dsse, pem
from rktpy.formats.trust.canonical_json import canonical
from rktpy.formats.trust.checkpoint import parse_checkpoint
from rktpy.formats.trust.fields import Fields
from rktpy.formats.trust.fulcio_claims import NAMES, claim_number
from rktpy.formats.trust.intoto import parse_statement, written
from rktpy.formats.trust.policy import parse_policy
from rktpy.formats.trust.trusted_root import Period, parse_trusted_root
from tests.support.sigstore import Deployment, Rekor, pae

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.binary(max_size=200))
def test_base64_has_one_spelling(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert base64_strict.encode(data) == text
    assert base64_strict.decode(text, "x", "", 200) == data
    url = base64.urlsafe_b64encode(data).decode()
    for spelling in (text, text.rstrip("="), url, url.rstrip("=")):
        assert base64_strict.decode_any_alphabet(spelling, "x", "", 200) == data


@given(st.text("ABab019+/=-_ \n", max_size=24))
def test_what_decodes_encodes_to_the_same(text: str) -> None:
    try:
        data = base64_strict.decode(text, "x", "", 100)
    except FormatError:
        return
    assert base64.b64encode(data).decode() == text


@pytest.mark.parametrize("text", ["AB==", "AAA", "AAAA\n", " AAAA", "AAAA====", "A===", "AA==AAAA", "A-__", None, 1, "é"])
def test_other_spellings_are_refused(text: Any) -> None:
    with pytest.raises(FormatError):
        base64_strict.decode(text, "x", "path", 100)


def test_mixed_alphabets_and_size() -> None:
    with pytest.raises(FormatError, match="mixes the two alphabets"):
        base64_strict.decode_any_alphabet("+-AA", "x", "", 100)
    with pytest.raises(FormatError, match="is larger than 3 bytes"):
        base64_strict.decode("AAAAAAAA", "x", "", 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_json_is_that_of_another_implementation(value: Any) -> None:
    import rfc8785

    assert canonical(value, "x") == rfc8785.dumps(value)


def test_the_order_of_rfc_8785() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    wanted = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, 1), "x"))) == wanted


@pytest.mark.parametrize("value", [1.5, 2**53 + 1, -(2**53) - 1, "\ud800", {"a": b""}])
def test_what_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(FormatError):
        canonical(value, "x")


@given(TEXT, st.binary(max_size=100))
def test_the_encoding_before_signing(kind: str, content: bytes) -> None:
    from securesystemslib.dsse import Envelope

    made = dsse.pre_authentication_encoding(kind, content)
    if kind.isascii():
        # The other one counts characters where the protocol counts bytes.
        assert made == Envelope(content, kind, {}).pae() == pae(content, kind)
    assert made.split(b" ", 2)[1] == str(len(kind.encode())).encode()


@given(st.lists(st.tuples(st.sampled_from(["PUBLIC KEY", "CERTIFICATE"]), st.binary(max_size=200)), min_size=1, max_size=4))
def test_pem_round_trip(given_blocks: list[tuple[str, bytes]]) -> None:
    text = "\n".join(pem.written(label, data) for label, data in given_blocks)
    assert pem.blocks(text, "x") == given_blocks
    assert pem.blocks(text.replace("\n", "\r\n").encode(), "x") == given_blocks


PEM = pem.written("PUBLIC KEY", b"abc")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("x\n" + PEM, "text outside of a block"),
        (PEM + "x", "text outside of a block"),
        (PEM.replace("END PUBLIC", "END PRIVATE"), "has no end"),
        (PEM.partition("-----END")[0], "has no end"),
        (PEM.replace("YWJj", "Proc-Type: 4,ENCRYPTED\nYWJj"), "has headers"),
        (PEM.replace("YWJj", "YWJ"), "is not base64"),
        (PEM * 65, "more than 64 PEM blocks"),
        (b"\xff", "bytes outside of ASCII"),
    ],
)
def test_pem_that_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        pem.blocks(text, "x")


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints(size: int, root: bytes) -> None:
    log = Rekor()
    found = parse_checkpoint(log.checkpoint(size, root), "x", "")
    assert (found.origin, found.size, found.root) == (log.origin, size, root)
    assert found.text.endswith(b"\n") and b"\xe2\x80\x94" not in found.text
    assert [one.name for one in found.signatures] == [log.name]


GOOD = Rekor().checkpoint(3, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        GOOD.rstrip("\n"),
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("\n3\n", "\n03\n"),
        GOOD.replace("\n3\n", "\n-3\n"),
        GOOD.replace("\n3\n", "\n\n"),
        GOOD.replace("\n3\n", "\nthree\n"),
        GOOD.replace("AAAA=", "AAA="),
        GOOD.replace("\u2014 ", "- "),
        GOOD.replace("\u2014 log", "\u2014 lo g"),
        GOOD + "\u2014 x AAAA\n",
        GOOD + "\u2014 x ????????\n",
        GOOD + "\u2014 x AAAAAAAA\n" * 20,
        GOOD.replace("log", "l\tog"),
        GOOD.replace("log", "l\ud800og"),
        GOOD + "x" * 20_000,
    ],
)
def test_checkpoints_that_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_checkpoint(text, "x", "")


def test_a_checkpoint_with_more_lines_and_cosigners() -> None:
    text = "example.com/log\n7\n" + base64.b64encode(bytes(32)).decode() + "\nmore\n\n\u2014 a AAAAAAA=\n\u2014 b AAAAAAA=\n"
    found = parse_checkpoint(text, "x", "")
    assert [one.name for one in found.signatures] == ["a", "b"]


@given(st.integers(0, 2**63 - 1))
def test_integers_are_strings(value: int) -> None:
    assert Fields({"a": str(value)}, "x", "", ("a",)).int64("a") == value


@pytest.mark.parametrize(
    "value", ["", "-1", "+1", "01", " 1", "1_0", "1.0", "1e3", "٣", "9223372036854775808", "9" * 30, 1, True, []]
)
def test_integers_that_are_refused(value: Any) -> None:
    with pytest.raises(FormatError, match="x: a: "):
        Fields({"a": value}, "x", "", ("a",)).int64("a")


@given(st.dictionaries(TEXT, JSON, max_size=3), TEXT.filter(bool))
def test_statements(predicate: dict[str, Any], kind: str) -> None:
    digest = "sha512:" + "ab" * 64
    found = parse_statement(written(digest, kind, predicate), "x")
    assert (found.predicate_type, found.subjects) == (kind, (digest,))


def test_claims_by_name_and_number() -> None:
    for name, number in NAMES.items():
        assert claim_number(f"1.3.6.1.4.1.57264.1.{number}", "x", "") == number
        assert claim_number(name, "x", "") == claim_number(f"1.{number}", "x", "") == number
    for name in (
        "",
        "buildsigneruri",
        "1.8",
        "1.09",
        "1.",
        "2.9",
        "1.3.6.1.4.1.57264.1.8",
        "1.3.6.1.4.1.57264.1.09",
        "1.3.6.1.4.1.57264.1.",
        "9",
        "1.2.3",
    ):
        with pytest.raises(FormatError, match="is no claim"):
            claim_number(name, "x", "")


def test_periods_include_both_ends() -> None:
    period = Period(5, 7)
    assert [period.covers(when) for when in (4, 5, 7, 8)] == [False, True, True, False]


@pytest.mark.parametrize("time", ["2024-01-01", "2024-02-30T00:00:00Z", "2024-01-01T00:00:00", "x", "2024-01-01T24:00:00Z", ""])
def test_times_of_trusted_roots_that_are_refused(time: str) -> None:
    root = Deployment().trusted_root()
    root["certificateAuthorities"][0]["validFor"]["start"] = time
    with pytest.raises(FormatError, match=r"certificateAuthorities\[0\]\.validFor\.start"):
        parse_trusted_root(json.dumps(root).encode(), "x")


def test_a_fraction_of_a_second_is_read() -> None:
    root = Deployment().trusted_root()
    root["certificateAuthorities"][0]["validFor"]["start"] = "2024-01-01T00:00:00.123Z"
    assert parse_trusted_root(json.dumps(root).encode(), "x").authorities[0].period.start == 1704067200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"claims": {"nonsense": "x"}}, "keyless.claims.nonsense: is no claim: give 1.N"),
        ({"claims": {"1.8": "x"}}, 'keyless.claims."1.8": is no claim'),
        ({"issuer": {"regexp": "("}}, "keyless.issuer.regexp: is no regular expression"),
        ({"subject": {"otherName": "x", "email": "y"}}, "keyless.subject: email and otherName exclude each other"),
    ],
)
def test_keyless_policies_that_are_refused(change: dict[str, Any], reason: str) -> None:
    keyless = {"trustedRootPath": "/root.json", "issuer": "https://issuer.example", "subject": {"otherName": "a"}}
    requirement = {"type": "rktpy:sigstoreBundle", "keyless": keyless}
    document: dict[str, Any] = {"default": [requirement]}
    assert parse_policy(json.dumps(document).encode(), "p").default
    requirement["keyless"] = keyless | change
    with pytest.raises(FormatError) as error:
        parse_policy(json.dumps(document).encode(), "p")
    assert reason in str(error.value)
