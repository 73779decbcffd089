"""Simple-signing signatures made by the real gpg: what is accepted, and a table of attacks with the reason of each refusal."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ConfigError, FormatError, TrustUndecided
from rktpy.formats import openpgp_message
from rktpy.formats.openpgp_message import check_signed_message
from rktpy.formats.trust.evidence import SIMPLE_SIGNING, Evidence
from rktpy.formats.trust.requirements import Identity, KeySource, SignedBy
from rktpy.formats.trust.simple_signing import Claims, parse_claims
from rktpy.trust import simple_signing, simple_signing_facts
from rktpy.trust.decision import Image, Step
from rktpy.trust.families import FAMILIES
from tests.conftest import need_tool
from tests.support.gpg import Gpg

DIGEST = "sha256:" + "ab" * 32
INDEX = "sha256:" + "cd" * 32
OTHER = "sha256:" + "ef" * 32
NAME = "registry.example/team/app"
IMAGE = Image("sha256-" + "ab" * 32, "oci", f"docker://{NAME}:v1", DIGEST, "", 0, INDEX)
EVIDENCE = Evidence(SIMPLE_SIGNING, "file:///look/signature-1", "", (("signature", "sha256:" + "00" * 32),))
DAY = 86400


def claims(digest: str = DIGEST, reference: str = f"{NAME}:v1", **more: Any) -> dict[str, Any]:
    return {
        "critical": {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": reference},
            **more,
        },
        "optional": {"creator": "a test", "timestamp": 1500000000, "anything": ["goes"]},
    }


class Signer:
    """Keys, and messages signed by them."""

    def __init__(self, gpg: Gpg) -> None:
        self.gpg = gpg
        self.alice = gpg.export("alice")

    def sign(self, document: dict[str, Any] | bytes, *who: str, how: str = "--sign", options: tuple[str, ...] = ()) -> bytes:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        users = [word for name in who or ("alice",) for word in ("--local-user", f"{name}@example.com")]
        return self.gpg(*options, *users, "--output", "-", how, stdin=data)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    need_tool("gpg")
    keys = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    keys.key("alice")
    keys.key("bob", algorithm="rsa2048")
    yield Signer(keys)
    keys.close()


def examine(message: bytes, *keys: bytes) -> dict[str, Any]:
    requirement = SignedBy("here", tuple(KeySource(data=key) for key in keys))
    fact = simple_signing_facts.examine(requirement, EVIDENCE, lambda _digest: message, lambda source: source.data)
    # What is remembered is JSON.
    assert json.loads(json.dumps(fact)) == fact
    return fact


def judge(fact: dict[str, Any], identity: Identity | None = None, image: Image = IMAGE, now: int = 0) -> Step:
    requirement = SignedBy("here", (), identity or Identity())
    return simple_signing.judge(requirement, image, fact, now or fact.get("created", 0) + 1)


def verdict(message: bytes, *keys: bytes, **how: Any) -> tuple[str, str]:
    step = judge(examine(message, *keys), **how)
    assert step.reason.isprintable()
    return step.outcome, step.reason


def test_the_version_of_the_facts_is_that_of_the_table() -> None:
    assert FAMILIES["SignedBy"].version == simple_signing_facts.FACT_VERSION


def test_a_good_signature(signer: Signer) -> None:
    fact = examine(signer.sign(claims()), signer.alice)
    assert fact["signer"] == signer.gpg.fingerprint("alice")
    assert judge(fact).outcome == "accepts"
    assert "alice <alice@example.com>" in judge(fact).reason
    assert fact["digest"] == DIGEST
    assert fact["reference"] == f"{NAME}:v1"


@pytest.mark.parametrize("options", [("--compress-algo", name) for name in ("none", "zip", "zlib", "bzip2")])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_every_way_to_compress(signer: Signer, who: str, options: tuple[str, ...]) -> None:
    message = signer.sign(claims(), who, options=options)
    assert verdict(message, signer.gpg.export("bob"), signer.alice)[0] == "accepts"


def test_key_files_as_distributions_ship_them(signer: Signer) -> None:
    text = (
        b"The following keys sign the images of example.com\n\n" + signer.alice + b"\nand this one:\n" + signer.gpg.export("bob")
    )
    for key in (text, signer.gpg.export("alice", armor=False)):
        assert verdict(signer.sign(claims()), key)[0] == "accepts"


def test_a_key_file_that_holds_something_else(signer: Signer) -> None:
    secret = signer.gpg("--armor", "--export-secret-keys", "alice@example.com")
    for data in (b"", b"no key", secret, signer.alice[: len(signer.alice) // 2]):
        with pytest.raises(ConfigError, match="cannot use the keys in keyData"):
            examine(signer.sign(claims()), data)


def test_without_gpg_nothing_is_decided(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    message = signer.sign(claims())
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TrustUndecided, match="cannot run gpg"):
        examine(message, signer.alice)


# --- attacks


def test_another_key(signer: Signer) -> None:
    outcome, reason = verdict(signer.sign(claims(), "bob"), signer.alice)
    assert outcome == "rejects"
    assert signer.gpg.fingerprint("bob")[-16:].upper() in reason
    assert "none of the policy's keys" in reason


CLAIMS = [
    (claims(digest=OTHER), f"the signature is for the manifest {OTHER}, not for {DIGEST}"),
    (claims(digest=INDEX), f"the signature is for the index {INDEX}, not for the manifest of this platform"),
    (claims(reference=f"{NAME}:v2"), f"the signature is for {NAME}:v2, not for {NAME}:v1"),
    (claims(reference="registry.example/other/app:v1"), "the signature is for registry.example/other/app:v1"),
    (claims(reference="registry.example/team/app2:v1"), "the signature is for registry.example/team/app2:v1"),
    (claims(reference="evil.example/team/app:v1"), "the signature is for evil.example/team/app:v1"),
    (claims(reference=NAME), f"the signature names {NAME} without a tag or digest"),
    (claims(reference="\x1b[2J\nx"), r"the signature names '\x1b[2J\nx'"),
    (claims(expires=1), "claims: critical.expires: is unknown"),
    ({**claims(), "more": 1}, "claims: more: is unknown"),
    ({"critical": claims()["critical"]}, "claims: optional: is missing"),
    ({**claims(), "optional": None}, "claims: optional: must be an object"),
    ({**claims(), "optional": {"timestamp": "now"}}, "claims: optional.timestamp: must be a 64-bit integer"),
    ({**claims(), "optional": {"timestamp": 1 << 63}}, "claims: optional.timestamp: must be a 64-bit integer"),
    ({**claims(), "optional": {"creator": 1}}, "claims: optional.creator: must be a string"),
    (claims(type="cosign container image signature"), "claims: critical.type: must be 'atomic container signature'"),
    (claims(image={"docker-manifest-digest": DIGEST, "x": 1}), "claims: critical.image.x: is unknown"),
    (claims(image={}), 'claims: critical.image."docker-manifest-digest": is missing'),
    (claims(digest="sha256:AB"), "claims: critical.image.docker-manifest-digest: must be sha256: and 64 lower-case"),
    (claims(identity={"docker-reference": f"{NAME}:v1", "x": 1}), "claims: critical.identity.x: is unknown"),
    (b"[]", "claims: must be an object"),
    (b"not json", "claims: not JSON"),
    (
        json.dumps(claims()).replace('"type"', f'"image":{{"docker-manifest-digest":"{OTHER}"}},"type"').encode(),
        "claims: critical: duplicate member 'image'",
    ),
    (b" " * (64 << 10) + json.dumps(claims()).encode(), "claims: is larger than 65536 bytes"),
]


@pytest.mark.parametrize(("document", "reason"), CLAIMS, ids=[reason for _document, reason in CLAIMS])
def test_claims_that_will_not_do(signer: Signer, document: Any, reason: str) -> None:
    outcome, found = verdict(signer.sign(document), signer.alice)
    assert outcome == "rejects"
    assert found.startswith(reason)


def replaced(message: bytes, old: bytes, new: bytes) -> bytes:
    assert old in message
    assert len(old) == len(new)
    return message.replace(old, new)


def test_changed_payload(signer: Signer) -> None:
    message = signer.sign(claims(), options=("--compress-algo", "none"))
    changed = replaced(message, DIGEST.encode(), OTHER.encode())
    assert verdict(changed, signer.alice) == ("rejects", "the signature does not fit what was signed: one of the two was changed")


def test_messages_that_are_no_single_signed_message(signer: Signer) -> None:
    detached = signer.sign(claims(), how="--detach-sign")
    plain = ("--compress-algo", "none")
    table = {
        "is a cleartext signature, not a signed message": signer.sign(claims(), how="--clear-sign"),
        "is a detached signature, not a signed message": detached,
        "is armored, not a binary signed message": signer.sign(claims(), options=("--armor",)),
        "has 2 signatures, one is wanted": signer.sign(claims(), "alice", "bob"),
        "has 2 signatures, one is wanted ": signer.sign(claims(), options=plain) + detached,
        "has 2 signatures, one is wanted  ": signer.sign(claims(), options=plain) * 2,
        "is not a signed message (OpenPGP packets 8, 8)": b"\xc8\x01\x00\xc8\x01\x00",
        "is not a signed message (OpenPGP packets 11)": b"\xcb\x0bb\0\0\0\0\0hello",
        "is not a signed message (OpenPGP packets none)": b"",
        "not an OpenPGP packet at byte 0": json.dumps(claims()).encode(),
        "truncated packet": signer.sign(claims(), options=plain)[:-1],
        "is larger than 1048576 bytes": b"\0" * (1 << 20 | 1),
        "is compressed by an unknown method (9)": b"\xc8\x02\x09\x00",
        "is compressed wrongly": b"\xc8\x03\x02\x00\x00",
    }
    for reason, message in table.items():
        assert verdict(message, signer.alice, signer.gpg.export("bob")) == ("rejects", reason.strip())


def test_a_message_that_unpacks_to_too_much() -> None:
    body = b"\x02" + zlib.compress(b"\0" * (4 << 20), 9)
    message = b"\xc8\xff" + len(body).to_bytes(4, "big") + body
    with pytest.raises(FormatError, match="unpacks to more than"):
        check_signed_message(message, "m")


def test_a_signature_that_has_expired(signer: Signer) -> None:
    message = signer.sign(claims(), options=("--default-sig-expire", "1d"))
    fact = examine(message, signer.alice)
    assert judge(fact).outcome == "accepts"
    assert judge(fact, now=fact["created"] + DAY).reason == "the signature has expired"


def test_facts_do_not_depend_on_the_clock(signer: Signer) -> None:
    """What had expired when it was examined gives the fact that it would have given before."""
    old = ("--faked-system-time", "20200101T000000")
    signer.gpg(*old, "--quick-generate-key", "old <old@example.com>", "ed25519", "sign", "1y")
    message = signer.sign(claims(), "old", options=(*old, "--default-sig-expire", "1d"))
    fact = examine(message, signer.gpg.export("old"))
    assert fact["problem"] == ""
    assert judge(fact).outcome == "accepts"
    assert judge(fact, now=fact["created"] + 2 * DAY).reason == "the signature has expired"
    unlimited = examine(signer.sign(claims(), "old", options=old), signer.gpg.export("old"))
    assert judge(unlimited, now=unlimited["created"] + 366 * DAY).reason == "the signing key has expired"
    assert judge(unlimited, now=unlimited["created"] - DAY).reason == "the signature was made in the future"


def test_a_revoked_key(tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("carol")
        message = own("--local-user", "carol@example.com", "--output", "-", "--sign", stdin=json.dumps(claims()).encode())
        assert verdict(message, own.export("carol"))[0] == "accepts"
        revocation = (own.home / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        own("--import", stdin=revocation[revocation.index(":-----BEGIN") + 1 :].encode())
        assert verdict(message, own.export("carol")) == ("rejects", "the signing key was revoked")
    finally:
        own.close()


def test_signatures_by_subkeys(tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("dora")
        own("--quick-add-key", fingerprint, "ed25519", "sign", "30d")
        message = own("--local-user", "dora@example.com", "--output", "-", "--sign", stdin=json.dumps(claims()).encode())
        fact = examine(message, own.export("dora"))
        assert fact["signer"] == fingerprint
        assert fact["key"] != fingerprint
        assert judge(fact).outcome == "accepts"
        assert judge(fact, now=fact["created"] + 31 * DAY).reason == "the signing key has expired"
    finally:
        own.close()


def test_what_gpg_says_of_a_user_id_is_one_line(tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        own("--quick-generate-key", "eve\u2028[GNUPG:] GOODSIG <eve@example.com>", "ed25519", "sign")
        message = own("--local-user", "eve@example.com", "--output", "-", "--sign", stdin=json.dumps(claims()).encode())
        outcome, reason = verdict(message, own.export("eve"))
        assert outcome == "accepts"
        assert reason.isprintable()
    finally:
        own.close()


# --- parsers


def test_claims_are_written_as_they_are_read() -> None:
    written = Claims(DIGEST, f"{NAME}:v1", "rktpy", 1700000000)
    assert parse_claims(written.to_bytes(), "c") == written
    assert parse_claims(Claims(DIGEST, NAME).to_bytes(), "c") == Claims(DIGEST, NAME)


@given(st.binary(max_size=400))
def test_any_message_is_refused_or_read(data: bytes) -> None:
    for prefix in (b"", b"\xa3\x01", b"\xc8\xff\x00\x00\x01\x00\x02", b"\x90\x0d\x03", b"\xcb\xe1"):
        try:
            assert len(check_signed_message(prefix + data, "m")) <= openpgp_message.MAX_SIZE
        except FormatError:
            pass


@given(st.binary(max_size=200), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=3))
def test_any_claims_are_refused_or_read(data: bytes, value: object) -> None:
    for document in (data, json.dumps(value).encode(), json.dumps({**claims(), "optional": value}).encode()):
        try:
            assert parse_claims(document, "c").digest == DIGEST
        except FormatError as error:
            assert "\n" not in str(error)
