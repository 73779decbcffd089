"""Keyless signatures against a miniature sigstore: certificates, times, certificate logs, identities, and attacks on each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from rktpy.errors import ConfigError
from rktpy.formats.trust.requirements import TextMatch
from tests.support.certificates import Issued, issue, new_key
from tests.support.sigstore import (
    EMAIL,
    ISSUER,
    SIGNED,
    Deployment,
    Rekor,
    b64,
    bundle,
    dsse_entry,
    envelope,
    hashedrekord,
    hashedrekord_2,
    intoto_entry_1,
    log_instance,
    message,
    pae,
    payload,
    sign,
    statement,
)
from tests.support.sigstore_policy import DIGEST, DSSE, MANIFEST, OTHER, SLSA, ask, bundled, cosign, keyless, why

KEY = new_key("P-256", 50)
HOUR = 3600


@pytest.fixture(scope="module")
def sigstore() -> Deployment:
    return Deployment()


def made(
    sigstore: Deployment,
    leaf: Issued,
    *,
    content: bytes | None = None,
    when: int = SIGNED,
    promise: bool = True,
    stamps: tuple[bytes, ...] | None = None,
    stamped: bool = False,
    log: Rekor | None = None,
    key: Any = KEY,
    entry: dict[str, Any] | None = None,
    certificates: tuple[bytes, ...] = (),
) -> Any:
    """A bundle with an envelope: in the log, and stamped if that is asked for."""
    content = statement(DIGEST) if content is None else content
    signature = sign(key, pae(content))
    log = log or sigstore.rekor
    if entry is None:
        entry = log.entry(dsse_entry(signature, leaf.pem, content), when=when, promise=promise)
    material: dict[str, Any] = {"certificate": {"rawBytes": b64(leaf.der)}, "tlogEntries": [entry] if entry else []}
    if certificates:
        material.pop("certificate")
        material["x509CertificateChain"] = {"certificates": [{"rawBytes": b64(one)} for one in (leaf.der, *certificates)]}
    if stamped:
        stamps = (sigstore.stamp(signature, when),)
    if stamps:
        material["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(one)} for one in stamps]}
    document = bundle(material, dsseEnvelope=envelope(content, signature))
    if certificates:
        document["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    return bundled(document)


def test_a_promise_proves_the_time(sigstore: Deployment) -> None:
    found = made(sigstore, sigstore.leaf(KEY))
    for log in ("none", "promise", "inclusion", "any"):
        step = ask(keyless(sigstore.trusted_root(), log=log), found)
        assert step.outcome == "accepts", step
    assert [one.rule for one in step.steps] == ["signature", "image", "predicate", "signer", "transparency log"]
    assert step.steps[3].reason == f"the certificate is that of {EMAIL} (identity from {ISSUER})"


def test_a_time_stamp_proves_the_time(sigstore: Deployment) -> None:
    leaf = sigstore.leaf(KEY)
    assert why(keyless(sigstore.trusted_root()), made(sigstore, leaf, promise=False, stamped=True)) == ""
    assert why(keyless(sigstore.trusted_root()), made(sigstore, leaf, entry={}, stamped=True)) == ""
    assert why(keyless(sigstore.trusted_root()), made(sigstore, leaf, stamped=True)) == ""


def test_messages_and_rekor_2(sigstore: Deployment) -> None:
    leaf = sigstore.leaf(KEY)
    signature = sign(KEY, MANIFEST)
    for body, promise in (
        (hashedrekord(signature, leaf.pem, MANIFEST), True),
        (hashedrekord_2(signature, MANIFEST, certificate=leaf.der), False),
    ):
        material = {
            "certificate": {"rawBytes": b64(leaf.der)},
            "tlogEntries": [sigstore.rekor.entry(body, promise=promise)],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": b64(sigstore.stamp(signature))}]},
        }
        found = bundled(bundle(material, messageSignature=message(MANIFEST, signature)))
        assert why(keyless(sigstore.trusted_root(), log="inclusion"), found) == ""


def test_attestations(sigstore: Deployment) -> None:
    found = made(sigstore, sigstore.leaf(KEY), content=statement(DIGEST, SLSA))
    assert why(keyless(sigstore.trusted_root(), predicate=SLSA), found) == ""
    assert "not a signature of the image" in why(keyless(sigstore.trusted_root()), found)


def test_the_old_scheme(sigstore: Deployment) -> None:
    leaf = sigstore.leaf(KEY)
    data = payload(DIGEST)
    signature = sign(KEY, data)
    annotations = {"dev.cosignproject.cosign/signature": b64(signature), "dev.sigstore.cosign/certificate": leaf.pem.decode()}
    logged = {"dev.sigstore.cosign/bundle": sigstore.rekor.annotation(hashedrekord(signature, leaf.pem, data))}
    stamped = {"dev.sigstore.cosign/rfc3161timestamp": json.dumps({"SignedRFC3161Timestamp": b64(sigstore.stamp(signature))})}
    wanted = keyless(sigstore.trusted_root())
    for more in (logged, stamped, logged | stamped):
        assert why(wanted, cosign(data, annotations | more)) == ""
    assert "the time of the signature is not proven" in why(wanted, cosign(data, annotations))
    assert "the annotation dev.sigstore.cosign/certificate is missing" in why(
        wanted, cosign(data, {"dev.cosignproject.cosign/signature": b64(signature)})
    )
    two = annotations | logged | {"dev.sigstore.cosign/certificate": leaf.pem.decode() * 2}
    assert "must hold one PEM block, not 2" in why(wanted, cosign(data, two))
    other = logged | {"dev.cosignproject.cosign/signature": b64(signature)}
    stranger = sigstore.leaf(new_key("P-256", 51))
    assert "does not fit" in why(wanted, cosign(data, other | {"dev.sigstore.cosign/certificate": stranger.pem.decode()}))


def test_attestations_of_the_old_scheme(sigstore: Deployment) -> None:
    """Their time stamps are over the envelope, since the signature stands inside of it."""
    leaf = sigstore.leaf(KEY)
    content = statement(DIGEST, SLSA)
    signature = sign(KEY, pae(content))
    data = json.dumps(envelope(content, signature)).encode()
    certificate = {"dev.sigstore.cosign/certificate": leaf.pem.decode()}

    def stamped(over: bytes) -> dict[str, str]:
        return {"dev.sigstore.cosign/rfc3161timestamp": json.dumps({"SignedRFC3161Timestamp": b64(sigstore.stamp(over))})}

    wanted = keyless(sigstore.trusted_root(), predicate=SLSA)
    assert why(wanted, cosign(data, certificate | stamped(data), DSSE)) == ""
    assert "is over other bytes" in why(wanted, cosign(data, certificate | stamped(signature), DSSE))
    for body in (dsse_entry(signature, leaf.pem, content), intoto_entry_1(leaf.pem, data)):
        logged = {"dev.sigstore.cosign/bundle": sigstore.rekor.annotation(body)}
        assert why(wanted, cosign(data, certificate | logged, DSSE)) == ""


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (SIGNED - 61, "is not valid before"),
        (SIGNED - 60, ""),
        (SIGNED + 600, ""),
        (SIGNED + 601, "expired at"),
    ],
)
@pytest.mark.parametrize("source", ["promise", "stamp"])
def test_the_certificate_must_have_been_valid(sigstore: Deployment, when: int, reason: str, source: str) -> None:
    leaf = sigstore.leaf(KEY)
    found = made(sigstore, leaf, when=when) if source == "promise" else made(sigstore, leaf, when=when, entry={}, stamped=True)
    told = why(keyless(sigstore.trusted_root()), found)
    assert reason in told
    assert bool(told) == bool(reason)


def test_each_source_of_time_must_pass(sigstore: Deployment) -> None:
    leaf = sigstore.leaf(KEY)
    signature = sign(KEY, pae(statement(DIGEST)))
    late = made(sigstore, leaf, stamps=(sigstore.stamp(signature, SIGNED + HOUR),))
    assert "time stamp" in why(keyless(sigstore.trusted_root()), late)
    content = statement(DIGEST)
    for change, reason in (
        (sigstore.stamp(b"another signature"), "is over other bytes"),
        (sigstore.stamp(signature, change_signature=lambda data: data[:-1] + bytes([data[-1] ^ 1])), "signature"),
        (b"garbage", "time stamp 1: time-stamp response"),
    ):
        material = {
            "certificate": {"rawBytes": b64(leaf.der)},
            "tlogEntries": [sigstore.rekor.entry(dsse_entry(signature, leaf.pem, content))],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": b64(change)}]},
        }
        found = bundled(bundle(material, dsseEnvelope=envelope(content, signature)))
        assert reason in why(keyless(sigstore.trusted_root()), found)


def test_the_time_must_be_proven(sigstore: Deployment) -> None:
    leaf = sigstore.leaf(KEY)
    wanted = keyless(sigstore.trusted_root())
    reason = "the time of the signature is not proven"
    assert reason in why(wanted, made(sigstore, leaf, promise=False))
    assert reason in why(wanted, made(sigstore, leaf, entry={}))
    stranger = Rekor(key=new_key("P-256", 60))
    assert reason in why(wanted, made(sigstore, leaf, log=stranger))


def test_authorities_and_logs_are_trusted_for_a_time(sigstore: Deployment) -> None:
    found = made(sigstore, sigstore.leaf(KEY))
    root = sigstore.trusted_root()
    past = {"start": "2024-01-01T00:00:00Z", "end": "2025-05-31T23:59:59Z"}
    root["certificateAuthorities"][0]["validFor"] = past
    assert "no certificate authority is trusted at that time" in why(keyless(root), found)
    root = sigstore.trusted_root()
    root["tlogs"][0]["publicKey"]["validFor"] = past
    assert "the log's key was not valid at the time of the promise" in why(keyless(root), found)
    root = sigstore.trusted_root()
    # The certificate was logged a minute before it signed.
    root["ctlogs"][0]["publicKey"]["validFor"] = {**past, "end": "2025-05-31T23:58:59Z"}
    assert "the certificate log's key was not valid at the time" in why(keyless(root), found)
    root = sigstore.trusted_root()
    root["timestampAuthorities"][0]["validFor"] = past
    stamped = made(sigstore, sigstore.leaf(KEY), entry={}, stamped=True)
    assert "the authority was not trusted at" in why(keyless(root), stamped)
    # Both ends of a period belong to it.
    root = sigstore.trusted_root()
    root["tlogs"][0]["publicKey"]["validFor"] = {"start": "2025-06-01T00:00:00Z", "end": "2025-06-01T00:00:00Z"}
    assert why(keyless(root), found) == ""


def test_attacks_on_the_certificate(sigstore: Deployment) -> None:
    wanted = keyless(sigstore.trusted_root())
    other_root = issue("O=sigstore,CN=root", key=new_key("P-256", 70))
    other_middle = issue("O=sigstore,CN=intermediate", other_root, key=new_key("P-256", 71), ca=True)
    critical = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    cases = [
        (sigstore.leaf(KEY, logged="no"), "the certificate has no signed certificate timestamp"),
        (sigstore.leaf(KEY, logged="other"), "the signed certificate timestamp is not signed by its log"),
        (sigstore.leaf(KEY, log_key=new_key("P-256", 72)), "the signed certificate timestamp is not signed by its log"),
        (sigstore.leaf(KEY, log_id=bytes(32)), "are of no log that is trusted"),
        (sigstore.leaf(KEY, purposes=[ExtendedKeyUsageOID.CLIENT_AUTH]), "is not for code signing"),
        (sigstore.leaf(KEY, purposes=[]), "is not for code signing"),
        (sigstore.leaf(KEY, usage=False), "has no key usage"),
        (sigstore.leaf(KEY, ca=True), "is that of a CA"),
        (sigstore.leaf(KEY, extra=[(critical, True)]), "critical extension 1.2.3.4.5"),
        (sigstore.leaf(KEY, by=other_middle), "is not signed by"),
        (sigstore.leaf(KEY, issuer="https://a.example", old_issuer="https://b.example"), "names two different issuers"),
        (sigstore.leaf(KEY, issuer=""), "does not name the issuer of the identity"),
    ]
    for leaf, reason in cases:
        assert reason in why(wanted, made(sigstore, leaf)), reason
    assert why(wanted, made(sigstore, sigstore.leaf(KEY, logged="twice"))) == ""
    assert why(wanted, made(sigstore, sigstore.leaf(KEY, ca=False))) == ""
    assert why(wanted, made(sigstore, sigstore.leaf(KEY, issuer="", old_issuer=ISSUER))) == ""
    assert why(wanted, made(sigstore, sigstore.leaf(KEY, issuer=ISSUER, old_issuer=ISSUER))) == ""


def test_certificates_in_a_bundle_lead_nowhere(sigstore: Deployment) -> None:
    """An attacker's CA is not believed because it is sent along."""
    root = issue("O=evil,CN=root", key=new_key("P-256", 73))
    middle = issue("O=evil,CN=intermediate", root, key=new_key("P-256", 74), ca=True)
    leaf = sigstore.leaf(KEY, by=middle)
    found = made(sigstore, leaf, certificates=(middle.der, root.der))
    assert "no trusted root issued certificate" in why(keyless(sigstore.trusted_root()), found)
    good = made(sigstore, sigstore.leaf(KEY), certificates=(sigstore.middle.der, sigstore.root.der))
    assert why(keyless(sigstore.trusted_root()), good) == ""


def test_a_trusted_root_without_certificate_logs(sigstore: Deployment) -> None:
    found = made(sigstore, sigstore.leaf(KEY))
    assert "no certificate log is trusted" in why(keyless(sigstore.trusted_root(ctlogs=[])), found)


def test_attacks_on_signature_and_entry(sigstore: Deployment) -> None:
    leaf, wanted = sigstore.leaf(KEY), keyless(sigstore.trusted_root())
    content = statement(DIGEST)
    signature = sign(KEY, pae(content))
    other_leaf = sigstore.leaf(KEY)
    cases = [
        (made(sigstore, leaf, key=new_key("P-256", 75)), "does not fit what it should sign"),
        (made(sigstore, leaf, content=statement(OTHER)), f"it is about {OTHER}"),
        (
            made(sigstore, leaf, entry=sigstore.rekor.entry(dsse_entry(signature, other_leaf.pem, content))),
            "is of another signature",
        ),
    ]
    for found, reason in cases:
        assert reason in why(wanted, found)
    for body, reason in (
        (dsse_entry(signature, other_leaf.pem, content), "is of another certificate"),
        (dsse_entry(signature, leaf.pem, b"x"), "is of another artifact"),
        (hashedrekord_2(signature, pae(content), key=b"x"), "is of another certificate"),
    ):
        entry = sigstore.rekor.entry(body, promise=body["apiVersion"] == "0.0.1")
        material = {"certificate": {"rawBytes": b64(leaf.der)}, "tlogEntries": [entry]}
        assert reason in why(wanted, bundled(bundle(material, dsseEnvelope=envelope(content, signature))))
    hinted = bundled(bundle({"publicKey": {"hint": "x"}}, dsseEnvelope=envelope(content, signature)))
    assert "the bundle is signed with a key, but a certificate is wanted" in why(wanted, hinted)
    broken = bundled(bundle({"certificate": {"rawBytes": b64(b"x")}}, dsseEnvelope=envelope(content, signature)))
    assert "is not a certificate that can be read" in why(wanted, broken)


URI = "https://github.example/org/app/.github/workflows/release.yml@refs/heads/main"
IDENTITIES = [
    ({}, {}, ""),
    ({}, {"subject": TextMatch("exact", "bob@example.com")}, f"the certificate is that of '{EMAIL}', not of 'bob@example.com'"),
    ({}, {"subject": TextMatch("exact", "ALICE@example.com")}, "not of 'ALICE@example.com'"),
    ({}, {"subject": TextMatch("prefix", "alice@")}, ""),
    ({}, {"subject": TextMatch("prefix", "lice@")}, "not of one that begins with 'lice@'"),
    ({}, {"subject": TextMatch("regexp", r".*@example\.com")}, ""),
    ({}, {"subject": TextMatch("regexp", r"example\.com")}, "not of one that fits"),
    ({}, {"subject": TextMatch("regexp", r"alice@example")}, "not of one that fits"),
    ({}, {"subject": TextMatch("regexp", "(")}, "not of one that fits '('"),
    ({"uri": URI + "\n"}, {"kind": "uri", "subject": TextMatch("regexp", "https://.*main")}, "not of one that fits"),
    ({}, {"issuer": TextMatch("exact", "https://other.example")}, f"the identity comes from '{ISSUER}', not from"),
    ({}, {"issuer": TextMatch("prefix", "https://accounts.")}, ""),
    ({"issuer": ISSUER + "/"}, {}, f"the identity comes from '{ISSUER}/', not from '{ISSUER}'"),
    ({"uri": URI}, {}, "the certificate has no name of the kind email (it has uri)"),
    ({"uri": URI}, {"kind": "uri", "subject": TextMatch("exact", URI)}, ""),
    ({"uri": URI}, {"kind": "uri", "subject": TextMatch("prefix", "https://github.example/org/")}, ""),
    ({"uri": URI}, {"kind": "uri", "subject": TextMatch("prefix", "https://github.example/evil/")}, "not of one that begins"),
    ({"email": URI.replace("https://", "")}, {"kind": "uri", "subject": TextMatch("regexp", ".*")}, "no name of the kind uri"),
    ({"other_name": "alice"}, {}, "the certificate has no name of the kind email (it has otherName)"),
    ({"other_name": "alice"}, {"kind": "otherName", "subject": TextMatch("exact", "alice")}, ""),
    ({"claims": {9: "a"}}, {"claims": (("buildSignerURI", TextMatch("exact", "a")),)}, ""),
    ({"claims": {9: "a"}}, {"claims": (("1.3.6.1.4.1.57264.1.9", TextMatch("exact", "a")),)}, ""),
    ({"claims": {9: "a"}}, {"claims": (("buildSignerURI", TextMatch("exact", "b")),)}, "claim buildSignerURI is 'a', not 'b'"),
    (
        {"claims": {9: "a"}},
        {"claims": (("runnerEnvironment", TextMatch("exact", "a")),)},
        "does not have the claim runnerEnvironment",
    ),
    ({"claims": {14: "refs/tags/v1"}}, {"claims": (("sourceRepositoryRef", TextMatch("prefix", "refs/tags/")),)}, ""),
    ({}, {"claims": (("nonsense", TextMatch("exact", "a")),)}, "'nonsense' is no claim that a certificate could have"),
    ({}, {"claims": (("1.3.6.1.4.1.57264.1.8", TextMatch("exact", ISSUER)),)}, "is no claim that a certificate could have"),
]


@pytest.mark.parametrize(("certificate", "wanted", "reason"), IDENTITIES)
def test_identities(sigstore: Deployment, certificate: dict[str, Any], wanted: dict[str, Any], reason: str) -> None:
    told = why(keyless(sigstore.trusted_root(), **wanted), made(sigstore, sigstore.leaf(KEY, **certificate)))
    assert reason in told
    assert bool(told) == bool(reason)


def test_broken_trusted_roots_are_the_policys_fault(sigstore: Deployment) -> None:
    found = made(sigstore, sigstore.leaf(KEY))
    good = sigstore.trusted_root()
    wrong_key = json.loads(json.dumps(good))
    wrong_key["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ED25519"
    cases = [
        ({**good, "mediaType": "x"}, "mediaType: 'x' is not supported"),
        ({**good, "more": 1}, "more: is not known here"),
        ({**good, "tlogs": [{}]}, "tlogs[0].hashAlgorithm: is missing"),
        (wrong_key, "is ecdsa-p256, not PKIX_ED25519"),
    ]
    for root, reason in cases:
        with pytest.raises(ConfigError) as error:
            why(keyless(root), found)
        assert reason in str(error.value)
        assert "trusted root in the policy" in str(error.value)


def test_authorities_that_cannot_be_read_are_passed_over(sigstore: Deployment) -> None:
    root = sigstore.trusted_root()
    broken = json.loads(json.dumps(root["certificateAuthorities"][0]))
    broken["certChain"]["certificates"][0]["rawBytes"] = b64(b"garbage")
    found = made(sigstore, sigstore.leaf(KEY))
    for authorities in ([broken, *root["certificateAuthorities"]], [*root["certificateAuthorities"], broken]):
        assert why(keyless({**root, "certificateAuthorities": authorities}), found) == ""
    assert "is not a certificate that can be read" in why(keyless({**root, "certificateAuthorities": [broken]}), found)


def test_logs_of_unknown_kinds_are_passed_over(sigstore: Deployment) -> None:
    root = sigstore.trusted_root()
    future = log_instance(sigstore.rekor.key, bytes(32))
    future["publicKey"]["keyDetails"] = "ML_DSA_65"
    root["tlogs"].insert(0, future)
    assert why(keyless(root), made(sigstore, sigstore.leaf(KEY))) == ""


def test_media_types_of_trusted_roots(sigstore: Deployment) -> None:
    found = made(sigstore, sigstore.leaf(KEY))
    for media_type in (
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    ):
        assert why(keyless(sigstore.trusted_root(mediaType=media_type)), found) == ""
