"""What a trust policy of the Notary Project makes of a signature: stores, levels, scopes, identities and time stamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import END, START, YEAR, Issued, issue, new_key, tsa_chain
from tests.support.notation import (
    AUTHENTIC,
    COSE_TYPE,
    DIGEST,
    EXPIRY,
    IMAGE,
    NOW,
    SCHEME,
    TARGET,
    TIME,
    Tag,
    World,
    code_chain,
    cose,
    cose_headers,
    jws,
    protected_headers,
    world,
)
from tests.support.timestamps import make_token

CHAIN = code_chain()


@pytest.fixture
def trusting(tmp_path: Path) -> World:
    return world(tmp_path, CHAIN)


def _flip(member: str) -> Any:
    def change(envelope: dict[str, Any]) -> None:
        text = envelope[member]
        envelope[member] = ("A" if text[0] != "A" else "B") + text[1:]

    return change


def test_the_key_must_be_in_the_store_of_the_scheme(tmp_path: Path) -> None:
    trusting = World(tmp_path)
    stranger = issue("C=US,ST=WA,O=Example,CN=Root", key=new_key("P-256", 33))
    trusting.store("ca", "example", stranger)
    assert trusting.refusal(jws(CHAIN)) == "no certificate of the chain is in the trust store ca:example"
    trusting.store("ca", "example", stranger, CHAIN[1])
    assert trusting.judge(jws(CHAIN)).outcome == "accepts"
    # The same root in a store that the policy does not name, or of the other type, is none.
    trusting.store("ca", "example", stranger, stranger)
    trusting.store("ca", "other", CHAIN[-1])
    trusting.store("signingAuthority", "example", CHAIN[-1])
    assert "no certificate of the chain" in trusting.refusal(jws(CHAIN))
    trusting.policy(trustStores=["ca:example", "ca:other"])
    assert trusting.judge(jws(CHAIN)).outcome == "accepts"


def authority_headers(when: str = "2024-06-01T00:00:00Z") -> dict[str, Any]:
    return protected_headers(**{SCHEME: "notary.x509.signingAuthority", TIME: None, AUTHENTIC: when, "crit": [SCHEME, AUTHENTIC]})


def test_the_signing_authority_scheme_needs_a_store_of_its_own(trusting: World) -> None:
    envelope = jws(CHAIN, headers=authority_headers())
    assert "has no signingAuthority store, which the scheme notary.x509.signingAuthority needs" in trusting.refusal(envelope)
    trusting.store("signingAuthority", "example", CHAIN[-1])
    trusting.policy(trustStores=["signingAuthority:example"])
    assert trusting.judge(envelope).outcome == "accepts"
    # The time that the authority vouches for counts, not the clock.
    assert trusting.judge(envelope, now=END + YEAR).outcome == "accepts"
    assert "is not valid before" in trusting.refusal(jws(CHAIN, headers=authority_headers("2023-06-01T00:00:00Z")))
    assert "expired at" in trusting.refusal(jws(CHAIN, headers=authority_headers("2035-06-01T00:00:00Z")))
    assert "has no ca store" in trusting.refusal(jws(CHAIN))
    in_cose = cose_headers(
        **{SCHEME: "notary.x509.signingAuthority", TIME: None, AUTHENTIC: Tag(1, NOW), "crit": [SCHEME, AUTHENTIC]}
    )
    assert trusting.judge(cose(CHAIN, headers=in_cose), COSE_TYPE).outcome == "accepts"
    headers = authority_headers()
    headers["crit"] = [SCHEME]
    assert "does not list io.cncf.notary.authenticSigningTime" in trusting.refusal(jws(CHAIN, headers=headers))


def test_expiry_is_the_first_moment_that_is_too_late(trusting: World) -> None:
    headers = protected_headers(**{EXPIRY: "2025-01-01T02:00:00+02:00", "crit": [SCHEME, EXPIRY]})
    expiry = 1735689600
    envelope = jws(CHAIN, headers=headers)
    assert trusting.judge(envelope, now=expiry - 1).outcome == "accepts"
    assert trusting.refusal(envelope, now=expiry) == "the signature expired at 2025-01-01T00:00:00Z"
    in_cose = cose(CHAIN, headers=cose_headers(**{EXPIRY: Tag(1, expiry), "crit": [SCHEME, EXPIRY]}))
    assert trusting.refusal(in_cose, COSE_TYPE, now=expiry) == "the signature expired at 2025-01-01T00:00:00Z"


LEVELS = {
    "strict": ["rejects"] * 4,
    "permissive": ["rejects", "warns", "warns", "warns"],
    "audit": ["warns"] * 4,
}


@pytest.mark.parametrize("level", LEVELS)
def test_levels_enforce_or_log(trusting: World, level: str) -> None:
    trusting.policy(signatureVerification={"level": level})
    expired = jws(CHAIN, headers=protected_headers(**{EXPIRY: "2024-12-01T00:00:00Z", "crit": [SCHEME, EXPIRY]}))
    stranger = jws(code_chain()[:1] + [CHAIN[1], issue("C=US,ST=WA,O=Example,CN=Root", key=new_key("P-256", 30))])
    pointer = x509.AuthorityInformationAccess(
        [x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ocsp.example"))]
    )
    unknown = jws(code_chain(extra=[(pointer, False)]))
    cases: list[tuple[str, bytes, int]] = [
        ("authenticity", stranger, NOW),
        ("expiry", expired, NOW),
        ("authenticTimestamp", jws(CHAIN), END + 1),
        ("revocation", unknown, NOW),
    ]
    for (check, envelope, now), outcome in zip(cases, LEVELS[level], strict=True):
        step = trusting.judge(envelope, now=now)
        inner = {held.rule: held for held in step.steps}[check]
        assert inner.outcome == outcome, (check, step)
        assert step.outcome == ("rejects" if outcome == "rejects" else "accepts")
        if outcome == "warns":
            assert inner.reason.startswith("only logged: ")
            assert "with 1 failed check that it only logs" in step.reason
    # Integrity is enforced at every level.
    assert "is about a manifest" in trusting.refusal(jws(CHAIN, target={**TARGET, "size": 1}))
    assert "does not fit" in trusting.refusal(jws(CHAIN, change=_flip("signature")))


def test_overrides_change_single_checks(trusting: World) -> None:
    expired = jws(CHAIN, headers=protected_headers(**{EXPIRY: "2024-12-01T00:00:00Z", "crit": [SCHEME, EXPIRY]}))
    trusting.policy(signatureVerification={"level": "strict", "override": {"expiry": "log", "revocation": "skip"}})
    step = trusting.judge(expired)
    assert [held.outcome for held in step.steps] == ["accepts", "accepts", "warns", "accepts", "skipped"]
    trusting.policy(signatureVerification={"level": "audit", "override": {"expiry": "enforce"}})
    assert "the signature expired" in trusting.refusal(expired)


def test_scopes_are_whole_repositories(trusting: World) -> None:
    statement = {
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:example"],
        "trustedIdentities": ["*"],
    }
    trusting.policy(
        {"version": "1.0", "trustPolicies": [{"name": "app", "registryScopes": ["registry.example/team/app"], **statement}]}
    )
    envelope = jws(CHAIN)
    assert trusting.judge(envelope).outcome == "accepts"
    for name in (
        "registry.example/team/apple",
        "registry.example/team/app/x",
        "registry.example/team",
        "registry.example:5000/team/app",
    ):
        assert trusting.refusal(envelope, image=IMAGE.replace(name=f"docker://{name}:1.0")) == f"no trust policy is for {name}"
    by_digest = IMAGE.replace(name=f"docker://registry.example/team/app@{DIGEST}")
    assert trusting.judge(envelope, image=by_digest).outcome == "accepts"
    layout = IMAGE.replace(name="oci:/srv/layout:1.0")
    assert trusting.refusal(envelope, image=layout) == "no trust policy is for oci:/srv/layout:1.0"
    trusting.policy()
    assert trusting.judge(envelope, image=layout).outcome == "accepts"
    # The exact one comes before *, wherever it stands, and decides alone.
    both = [
        {"name": "all", "registryScopes": ["*"], **statement},
        {"name": "app", "registryScopes": ["registry.example/team/app"], **statement, "trustStores": ["ca:other"]},
    ]
    trusting.policy({"version": "1.0", "trustPolicies": both})
    assert "trust store ca:other cannot be read" in trusting.refusal(envelope)


def test_the_level_skip(trusting: World) -> None:
    from rktpy.trust import notation

    skipping = {"name": "open", "registryScopes": ["registry.example/team/app"], "signatureVerification": {"level": "skip"}}
    trusting.policy({"version": "1.0", "trustPolicies": [skipping]})
    assert trusting.judge(b"nonsense").outcome == "accepts"
    step = notation.without_signature(trusting.requirement, IMAGE)
    assert step is not None and step.outcome == "accepts" and "skips verification" in step.reason
    other = IMAGE.replace(name="docker://registry.example/team/other:1")
    assert notation.without_signature(trusting.requirement, other) is None
    trusting.policy()
    assert notation.without_signature(trusting.requirement, IMAGE) is None


@pytest.mark.parametrize(
    ("identities", "problem"),
    [
        (["x509.subject: C=US, ST=WA, O=Example"], ""),
        (["x509.subject: C=US,S=WA,O=Example,OU=Build,CN=signer"], ""),
        (["x509.subject: C=DE, ST=WA, O=Example", "x509.subject: C=US, ST=WA, O=Example, CN=signer"], ""),
        (["x509.subject: C=US, ST=WA, O=Exampl"], "the subject's O is 'Example'"),
        (["x509.subject: C=US, ST=WA, O=example"], "the subject's O is 'Example'"),
        (["x509.subject: C=US, ST=WA, O=Example, L=Seattle"], "the subject has no L"),
        (["x509.subject: C=US, ST=WA, O=Example, OU=Build\\, "], "the subject's OU is 'Build'"),
        (["x509.subject: C=US, ST=WA, O=Example, OU=Buil"], "the subject's OU is 'Build'"),
    ],
)
def test_identities(trusting: World, identities: list[str], problem: str) -> None:
    trusting.policy(trustedIdentities=identities)
    if problem:
        assert problem in trusting.refusal(jws(CHAIN))
    else:
        assert trusting.judge(jws(CHAIN)).outcome == "accepts"


def test_an_identity_cannot_be_smuggled_into_a_value(trusting: World) -> None:
    trusting.policy(trustedIdentities=["x509.subject: C=US, ST=WA, O=Example, CN=signer"])
    smuggled = code_chain(subject="C=US,ST=WA,O=Evil,CN=x\\,O=Example\\,CN=signer")
    assert "the subject's O is 'Evil'" in trusting.refusal(jws(smuggled))
    trusting.policy(trustedIdentities=["x509.subject: C=US, ST=WA, O=Example\\, Inc\\;"])
    assert trusting.judge(jws(code_chain(subject="C=US,ST=WA,O=Example\\, Inc;,CN=x"))).outcome == "accepts"
    assert "the subject's O is 'Example'" in trusting.refusal(jws(code_chain(subject="C=US,ST=WA,O=Example,CN=Inc;")))
    twice = code_chain(subject="C=US,ST=WA,O=Evil,O=Example\\, Inc;,CN=x")
    assert "the subject has O 2 times" in trusting.refusal(jws(twice))


def stamped(when: int, signer: Issued, middle: Issued, **settings: Any) -> Any:
    return lambda signature: make_token(signature, signer, [signer, middle], when=when, **settings)


def test_an_expired_chain_with_and_without_a_time_stamp(trusting: World) -> None:
    root, middle, signer = tsa_chain()
    chain = code_chain(end=START + YEAR)
    late = START + 2 * YEAR
    bare = jws(chain)
    good = jws(chain, timestamp=stamped(START + 100, signer, middle))
    reason = trusting.refusal(bare, now=late)
    assert "CN=signer" in reason and "expired at 2024-12-31T00:00:00Z (and no time stamp counts" in reason
    # A time stamp counts only where the policy names who may give it.
    assert "expired at" in trusting.refusal(good, now=late)
    trusting.store("tsa", "clock", root)
    trusting.policy(trustStores=["ca:example", "tsa:clock"])
    step = trusting.judge(good, now=late)
    assert step.outcome == "accepts"
    assert step.steps[3].reason == "the certificates were valid at 2024-01-01T00:01:40Z"
    in_cose = cose(chain, timestamp=stamped(START + 100, signer, middle))
    assert trusting.judge(in_cose, COSE_TYPE, now=late).outcome == "accepts"
    # With a tsa store a time stamp is due, also while the certificates are valid, unless the policy says otherwise.
    assert trusting.refusal(bare, now=START + 200) == "there is no time stamp"
    lenient = {"level": "strict", "verifyTimestamp": "afterCertExpiry"}
    trusting.policy(trustStores=["ca:example", "tsa:clock"], signatureVerification=lenient)
    assert trusting.judge(bare, now=START + 200).outcome == "accepts"
    assert trusting.refusal(bare, now=late) == "there is no time stamp"
    assert trusting.judge(good, now=late).outcome == "accepts"


def test_time_stamps_that_prove_nothing(trusting: World) -> None:
    root, middle, signer = tsa_chain()
    trusting.store("tsa", "clock", root)
    trusting.policy(trustStores=["ca:example", "tsa:clock"])
    chain = code_chain(end=START + YEAR)

    def refusal(timestamp: Any) -> str:
        return trusting.refusal(jws(chain, timestamp=timestamp))

    assert "is over other bytes" in refusal(lambda signature: stamped(NOW, signer, middle)(signature + b"."))
    assert "expired at 2024-12-31T00:00:00Z" in refusal(stamped(START + YEAR + 1, signer, middle))
    assert "is not valid before" in refusal(stamped(START - 5, *reversed(tsa_chain(start=START - YEAR)[1:])))
    no_purpose = tsa_chain(purposes=[])[2]
    assert "timeStamping as its only extended key usage" in refusal(stamped(START + 9, no_purpose, middle))
    foreign_root = issue("C=US,ST=WA,O=Time,CN=TSA Root", key=new_key("P-256", 50))
    foreign_middle = issue("C=US,ST=WA,O=Time,CN=TSA CA", foreign_root, key=new_key("P-256", 51), ca=True)
    foreign = issue(
        "C=US,ST=WA,O=Time,CN=TSA", foreign_middle, purposes=[ExtendedKeyUsageOID.TIME_STAMPING], purposes_critical=True
    )
    assert "is not signed by" in refusal(stamped(START + 9, foreign, foreign_middle))
    assert "time-stamp token: is cut off" in refusal(lambda signature: b"\x30\x05")


def test_a_time_stamp_whose_accuracy_reaches_beyond_the_certificate(trusting: World) -> None:
    from tests.support.timestamps import integer, sequence

    root, middle, signer = tsa_chain()
    trusting.store("tsa", "clock", root)
    trusting.policy(trustStores=["ca:example", "tsa:clock"])
    chain = code_chain(end=START + YEAR)
    exact = jws(chain, timestamp=stamped(START + YEAR, signer, middle))
    assert trusting.judge(exact, now=NOW + YEAR).outcome == "accepts"
    vague = jws(chain, timestamp=stamped(START + YEAR, signer, middle, accuracy=sequence(integer(1))))
    assert "expired at 2024-12-31T00:00:00Z" in trusting.refusal(vague, now=NOW + YEAR)


def test_trust_stores_on_disk(trusting: World, tmp_path: Path) -> None:
    envelope = jws(CHAIN)
    directory = tmp_path / "trust-store" / "x509" / "ca" / "example"
    (directory / "inner").mkdir()
    (directory / "inner" / "x.pem").write_bytes(b"no certificate")
    (directory / "README").write_bytes(b"other endings are passed over")
    assert trusting.judge(envelope).outcome == "accepts"
    (directory / "0.pem").unlink()
    (directory / "root.crt").write_bytes(CHAIN[-1].der)
    assert trusting.judge(envelope).outcome == "accepts"
    (directory / "root.crt").write_bytes(b"junk")
    assert "root.crt is not a certificate" in trusting.refusal(envelope)
    (directory / "root.crt").write_bytes(CHAIN[0].pem)
    assert "is neither a CA nor self-signed" in trusting.refusal(envelope)
    (directory / "root.crt").write_bytes(CHAIN[-1].key_pem)
    assert "holds no certificate" in trusting.refusal(envelope)
    (directory / "root.crt").unlink()
    assert "holds no certificate" in trusting.refusal(envelope)
    outside = tmp_path / "outside.pem"
    outside.write_bytes(CHAIN[-1].pem)
    (directory / "link.pem").symlink_to(outside)
    assert "holds a symbolic link, which is not allowed" in trusting.refusal(envelope)
    (directory / "link.pem").unlink()
    (directory / "good.pem").write_bytes(CHAIN[-1].pem)
    directory.rename(tmp_path / "elsewhere")
    assert "no such file" in trusting.refusal(envelope)
    directory.symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link, which is not allowed" in trusting.refusal(envelope)


def test_a_store_for_time_stamps_holds_roots(trusting: World) -> None:
    root, middle, signer = tsa_chain()
    trusting.store("tsa", "clock", middle)
    trusting.policy(trustStores=["ca:example", "tsa:clock"])
    envelope = jws(CHAIN, timestamp=stamped(NOW, signer, middle))
    assert "is not the certificate of a root CA" in trusting.refusal(envelope)
    trusting.store("tsa", "clock", root)
    assert trusting.judge(envelope).outcome == "accepts"
