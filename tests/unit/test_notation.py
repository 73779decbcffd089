"""Notary Project signatures: what is accepted, and a table of attacks, each refused with its own reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import END, START, Issued, issue, new_key
from tests.support.notation import (
    ALGORITHMS,
    AUTHENTIC,
    COSE_TYPE,
    DIGEST,
    EXPIRY,
    SCHEME,
    SIZE,
    TARGET,
    TIME,
    Tag,
    World,
    b64url,
    code_chain,
    cose,
    cose_headers,
    jws,
    openssl_signature,
    protected_headers,
    raw_signature,
    world,
)

CHAIN = code_chain()


@pytest.fixture
def trusting(tmp_path: Path) -> World:
    return world(tmp_path, CHAIN)


@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("form", ["jws", "cose"])
def test_what_openssl_signed_is_accepted(tmp_path: Path, kind: str, form: str) -> None:
    chain = code_chain(kind=kind)
    trusting = world(tmp_path, chain)
    algorithm = ALGORITHMS[kind]
    if form == "jws":
        step = trusting.judge(jws(chain, algorithm=algorithm, sign=openssl_signature))
    else:
        step = trusting.judge(cose(chain, algorithm=algorithm, sign=openssl_signature), COSE_TYPE)
    assert step.outcome == "accepts"
    assert step.rule == "notation signature by 'CN=signer,OU=Build,O=Example,ST=WA,C=US'"
    checks = [(inner.rule, inner.outcome) for inner in step.steps]
    names = ("integrity", "authenticity", "expiry", "authenticTimestamp", "revocation")
    assert checks == [(name, "accepts") for name in names]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"alg": "ES384"}, "the algorithm is ES384, but the signer's key is for ES256"),
        ({"alg": "PS256"}, "the algorithm is PS256, but the signer's key is for ES256"),
        ({"alg": "none"}, "alg: is 'none', which is not allowed"),
        ({"alg": "HS256"}, "alg: is 'HS256', which is not allowed"),
        ({"alg": None}, "alg: is missing"),
        ({"cty": "application/json"}, "cty: must be"),
        ({"crit": None}, "crit: must be a list"),
        ({"crit": []}, "crit: must be a list"),
        ({"crit": [SCHEME, "exp"], "exp": 1}, "critical attribute 'exp', which is not understood"),
        ({"crit": [SCHEME, SCHEME]}, "names an attribute twice"),
        ({"crit": [SCHEME, EXPIRY]}, "names 'io.cncf.notary.expiry', which is not there"),
        ({"crit": ["io.cncf.notary.expiry"], EXPIRY: "2030-01-01T00:00:00Z"}, "crit: does not list io.cncf.notary.signingScheme"),
        ({EXPIRY: "2030-01-01T00:00:00Z"}, "crit: does not list io.cncf.notary.expiry"),
        ({SCHEME: "notary.x509.other"}, "is the unknown scheme"),
        ({SCHEME: None, "crit": [EXPIRY], EXPIRY: "2030-01-01T00:00:00Z"}, "signingScheme: is missing"),
        ({TIME: None}, "signingTime: is missing"),
        ({TIME: "yesterday"}, "signingTime: is not an RFC 3339 time"),
        ({AUTHENTIC: "2024-06-01T00:00:00Z"}, "has no place in the signing scheme notary.x509"),
        ({"io.cncf.notary.verificationPlugin": "x"}, "asks for the verification plugin 'x', and rktpy runs none"),
        ({"crit": [SCHEME, "io.cncf.notary.verificationPlugin"]}, "verificationPlugin"),
        ({"b64": False}, "b64: has no place"),
    ],
)
def test_a_wrong_protected_header_is_refused(trusting: World, changes: dict[str, Any], reason: str) -> None:
    assert reason in trusting.refusal(jws(CHAIN, headers=protected_headers(**changes)))


def test_attributes_that_are_not_critical_are_passed_over(trusting: World) -> None:
    envelope = jws(CHAIN, headers=protected_headers(**{"com.example.build": "12"}), header={"com.example.note": 1})
    assert trusting.judge(envelope).outcome == "accepts"


def _flip(member: str) -> Any:
    def change(envelope: dict[str, Any]) -> None:
        text = envelope[member]
        envelope[member] = ("A" if text[0] != "A" else "B") + text[1:]

    return change


def _without(member: str) -> Any:
    return lambda envelope: envelope.pop(member)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"sign": lambda issued, _, data: issued.key.sign(data, ec.ECDSA(hashes.SHA256()))},
            "r and s of 32 bytes each, and it looks like DER",
        ),
        ({"sign": lambda issued, name, data: raw_signature(issued.key, name, data)[:-1]}, "and it has 63 bytes"),
        ({"sign": lambda issued, name, data: raw_signature(new_key("P-256", 5), name, data)}, "does not fit the signed bytes"),
        ({"sign": lambda issued, name, data: bytes(64)}, "does not fit the signed bytes"),
        ({"sign": lambda issued, name, data: b"\xff" * 64}, "does not fit the signed bytes"),
        ({"change": _flip("signature")}, "does not fit the signed bytes"),
        (
            {
                "change": lambda envelope: envelope.update(
                    payload=b64url(json.dumps({"targetArtifact": {**TARGET, "size": 1}}).encode())
                )
            },
            "does not fit the signed bytes",
        ),
        (
            {"change": lambda envelope: envelope.update(protected=b64url(json.dumps(protected_headers(x="y")).encode()))},
            "does not fit the signed bytes",
        ),
        ({"change": _without("header")}, "header: is missing"),
        ({"change": _without("payload")}, "payload: is missing"),
        ({"change": lambda envelope: envelope.update(signatures=[])}, "signatures: is unknown"),
        ({"change": lambda envelope: envelope.update(payload=envelope["payload"] + "=")}, "payload: is not base64url"),
        ({"change": lambda envelope: envelope.update(payload=envelope["payload"] + "\n")}, "payload: is not base64url"),
        ({"change": lambda envelope: envelope.update(signature="!" + envelope["signature"])}, "signature: is not base64url"),
        ({"header": {"alg": "ES256"}}, "'alg' belongs into the protected header"),
        ({"header": {SCHEME: "notary.x509"}}, "belongs into the protected header"),
        ({"header": {"x5c": []}}, "must hold 1 to 10 certificates, not 0"),
        ({"header": {"x5c": "x"}}, "must be a list of certificates"),
        ({"header": {"x5c": ["AAAA"]}}, "certificate 0 of the chain is not a certificate that can be read"),
        ({"header": {"x5c": ["A A="]}}, "is not base64"),
        ({"header": {"x5c": [base64.b64encode(CHAIN[0].der).decode()] * 11}}, "must hold 1 to 10 certificates, not 11"),
        ({"header": {"io.cncf.notary.timestampSignature": "?"}}, "timestampSignature: is not base64"),
        ({"payload": b"{}"}, "targetArtifact: is missing"),
        ({"payload": b'{"targetArtifact":{},"x":1}'}, "x: is unknown"),
        ({"payload": b"[]"}, "payload: must be an object"),
        ({"target": {**TARGET, "urls": ["https://example.com"]}}, "targetArtifact.urls: is unknown"),
        ({"target": {**TARGET, "size": "7"}}, "targetArtifact.size: must be a size in bytes"),
        ({"target": {**TARGET, "size": True}}, "targetArtifact.size: must be a size in bytes"),
        ({"target": {**TARGET, "digest": "md5:00"}}, "targetArtifact.digest"),
        ({"payload": b'{"targetArtifact":{"size":1,"size":2}}'}, "duplicate member 'size'"),
        ({"protected": json.dumps(protected_headers()).encode()[:-1] + b',"alg":"ES256"}'}, "duplicate member 'alg'"),
        ({"target": {**TARGET, "digest": "sha256:" + "0" * 64}}, f"is about sha256:{'0' * 64}, not about {DIGEST}"),
        ({"target": {**TARGET, "size": SIZE + 1}}, "is about a manifest of 7683 bytes, not 7682"),
        ({"target": {**TARGET, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}}, "is about the media type"),
        (
            {"target": {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + "1" * 64, "size": 9}},
            "is about the image index",
        ),
    ],
)
def test_an_attack_on_a_jws_envelope_is_refused(trusting: World, settings: dict[str, Any], reason: str) -> None:
    assert reason in trusting.refusal(jws(CHAIN, **settings))


def test_duplicate_members_and_oversized_envelopes(trusting: World) -> None:
    envelope = jws(CHAIN)
    doubled = envelope[:-1] + b',"payload":"e30"}'
    assert "duplicate member 'payload'" in trusting.refusal(doubled)
    assert "is larger than 1048576 bytes" in trusting.refusal(envelope + b" " * (1 << 20))
    assert "is larger than 1048576 bytes" in trusting.refusal(b"\0" * ((1 << 20) + 1), COSE_TYPE)
    assert "is neither" in trusting.refusal(envelope, "application/json")


def test_pss_with_another_salt_is_refused(tmp_path: Path) -> None:
    chain = code_chain(kind="RSA-2048")
    trusting = world(tmp_path, chain)
    for salt in (0, 20, 222):
        envelope = jws(
            chain, algorithm="PS256", sign=lambda issued, name, data, salt=salt: raw_signature(issued.key, name, data, salt=salt)
        )
        assert "does not fit the signed bytes" in trusting.refusal(envelope)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"headers": cose_headers(alg=-47)}, "alg: is -47, which is not allowed"),
        ({"headers": cose_headers(alg=5)}, "alg: is 5, which is not allowed"),
        ({"headers": cose_headers(alg=None)}, "alg: is missing"),
        ({"headers": cose_headers(alg=-35)}, "the algorithm is ES384, but the signer's key is for ES256"),
        ({"headers": cose_headers(cty="text/plain")}, "content type: must be"),
        ({"headers": cose_headers(crit=None)}, "crit: must be a list"),
        ({"headers": cose_headers(crit=[SCHEME, 7])}, "critical attribute 7, which is not understood"),
        ({"headers": cose_headers(crit=[SCHEME, "x"], x=1)}, "critical attribute 'x', which is not understood"),
        ({"headers": cose_headers(**{EXPIRY: Tag(1, END)})}, "crit: does not list io.cncf.notary.expiry"),
        ({"headers": cose_headers(**{TIME: START})}, "must be an epoch-based time"),
        ({"headers": cose_headers(**{TIME: Tag(1, -1)})}, "is not a time of this epoch"),
        ({"headers": cose_headers(**{"io.cncf.notary.verificationPlugin": "x"})}, "verification plugin 'x'"),
        ({"unprotected": {1: -7}}, "1 belongs into the protected header"),
        ({"unprotected": {SCHEME: "notary.x509"}}, "belongs into the protected header"),
        ({"unprotected": {33: "x"}}, "x5chain: must be a list"),
        ({"unprotected": {33: [b""]}}, "x5chain[0]: must be a DER certificate"),
        ({"unprotected": {"io.cncf.notary.timestampSignature": "x"}}, "must be a byte string"),
        ({"tag": 98}, "has the tag 98, which is not understood"),
        ({"tag": 1}, "is not a tagged COSE_Sign1 message"),
        ({"parts": lambda held: held[:3]}, "must have four parts"),
        ({"parts": lambda held: [*held[:2], b"", held[3]]}, "payload: must be a byte string that is not empty"),
        ({"parts": lambda held: [held[0], {}, *held[2:]]}, "x5chain: must be a list"),
        ({"parts": lambda held: [held[0], [], *held[2:]]}, "has a header that is not a map"),
        ({"parts": lambda held: [*held[:3], held[3][:-1] + bytes((held[3][-1] ^ 1,))]}, "does not fit the signed bytes"),
        ({"parts": lambda held: [held[0], held[1], held[2].replace(b"7682", b"7681"), held[3]]}, "does not fit the signed bytes"),
        ({"sign": lambda issued, _, data: issued.key.sign(data, ec.ECDSA(hashes.SHA256()))}, "it looks like DER"),
        ({"target": {**TARGET, "size": 1}}, "is about a manifest of 1 bytes"),
    ],
)
def test_an_attack_on_a_cose_envelope_is_refused(trusting: World, settings: dict[str, Any], reason: str) -> None:
    assert reason in trusting.refusal(cose(CHAIN, **settings), COSE_TYPE)


def test_forms_of_cose_that_are_right(trusting: World) -> None:
    lone = issue("C=US,ST=WA,O=Example,CN=lone", ca=False)
    trusting.store("ca", "example", CHAIN[-1], lone)
    assert trusting.judge(cose([lone], unprotected={33: lone.der}), COSE_TYPE).outcome == "accepts"
    inside = cose_headers() | {33: [certificate.der for certificate in CHAIN]}
    moved = cose(CHAIN, headers=inside, parts=lambda held: [held[0], {}, *held[2:]])
    assert trusting.judge(moved, COSE_TYPE).outcome == "accepts"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ca": True, "usage": ["key_cert_sign", "digital_signature"]}, "is that of a CA, which may not sign artifacts"),
        ({"usage": []}, "has no key usage"),
        ({"usage_critical": False}, "is not critical"),
        ({"usage": ["content_commitment"]}, "lacks digitalSignature"),
        ({"usage": ["digital_signature", "key_encipherment"]}, "must not have keyEncipherment"),
        ({"usage": ["digital_signature", "data_encipherment"]}, "must not have dataEncipherment"),
        ({"usage": ["digital_signature", "key_agreement"]}, "must not have keyAgreement"),
        ({"usage": ["digital_signature", "key_cert_sign"]}, "must not have keyCertSign"),
        ({"usage": ["digital_signature", "crl_sign"]}, "must not have cRLSign"),
        ({"purposes": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]}, "must not have anyExtendedKeyUsage"),
        ({"purposes": [ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH]}, "must not have serverAuth"),
        ({"purposes": [ExtendedKeyUsageOID.CLIENT_AUTH]}, "must not have clientAuth"),
        ({"purposes": [ExtendedKeyUsageOID.EMAIL_PROTECTION]}, "must not have emailProtection"),
        ({"purposes": [ExtendedKeyUsageOID.TIME_STAMPING]}, "must not have timeStamping"),
        ({"digest": hashes.SHA224()}, "is signed with sha224, which is too weak"),
        ({"key": new_key("P-224")}, "is none of RSA 2048, 3072, 4096, P-256, P-384 and P-521"),
        ({"key": new_key("K-256")}, "is none of RSA 2048"),
    ],
)
def test_a_leaf_that_may_not_sign_is_refused(trusting: World, changes: dict[str, Any], reason: str) -> None:
    chain = code_chain(**changes)
    assert reason in trusting.refusal(jws(chain, sign=lambda issued, name, data: bytes(64)))


def test_what_the_profile_allows_of_a_leaf(trusting: World) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")
    for changes in (
        {"purposes": [ExtendedKeyUsageOID.CODE_SIGNING], "purposes_critical": True},
        {"usage": ["digital_signature", "content_commitment"]},
        # The specification wants other extensions passed over, even critical ones.
        {"extra": [(unknown, True)]},
    ):
        settings: dict[str, Any] = changes
        assert trusting.judge(jws(code_chain(**settings))).outcome == "accepts"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ca": False, "usage": ["key_cert_sign"]}, "is not a CA"),
        ({"constraints_critical": False}, "the basic constraints of certificate"),
        ({"usage": ["crl_sign"]}, "may not sign certificates"),
        ({"usage": []}, "has no key usage"),
        ({"usage_critical": False}, "is not critical"),
        ({"key": new_key("P-224", 7)}, "has a key on the weak curve"),
    ],
)
def test_an_intermediate_that_may_not_issue_is_refused(trusting: World, changes: dict[str, Any], reason: str) -> None:
    middle = issue("C=US,ST=WA,O=Example,CN=CA", CHAIN[-1], **({"key": new_key("P-256", 31), "ca": True} | changes))
    chain = [issue("C=US,ST=WA,O=Example,CN=signer", middle), middle, CHAIN[-1]]
    assert reason in trusting.refusal(jws(chain))


def test_chains_that_are_not_whole_or_not_in_order(trusting: World, tmp_path: Path) -> None:
    leaf, middle, root = CHAIN
    unrelated = issue("C=US,ST=WA,O=Other,CN=Root", key=new_key("P-256", 6))
    assert "is not followed by its issuer" in trusting.refusal(jws([leaf, root]))
    assert "is not a root (a chain must be complete)" in trusting.refusal(jws([leaf, middle]))
    assert "is not a root (a chain must be complete)" in trusting.refusal(jws([leaf]))
    assert "is self-signed but not the last" in trusting.refusal(jws([leaf, middle, root, unrelated]))
    assert "is not followed by its issuer" in trusting.refusal(jws([leaf, unrelated, middle, root]))
    other = code_chain()
    swapped = jws(CHAIN, header={"x5c": [base64.b64encode(held.der).decode() for held in (leaf, root, middle)]})
    assert "the chain is out of order" in trusting.refusal(swapped)
    # Another CA of the same name did not issue it.
    namesake = issue("C=US,ST=WA,O=Example,CN=CA", root, key=new_key("P-256", 40), ca=True)
    assert "is not signed by" in trusting.refusal(jws([leaf, namesake, root]))
    short = issue("C=US,ST=WA,O=Example,CN=Root", key=new_key("P-256", 30), path_length=0)
    assert "allows only 0 CAs below itself" in trusting.refusal(jws([*other[:2], short]))


def test_a_lone_root_follows_the_rules_for_leaves(tmp_path: Path) -> None:
    lone = issue("C=US,ST=WA,O=Example,CN=lone", ca=False)
    authority = issue("C=US,ST=WA,O=Example,CN=lone", ca=True, usage=["digital_signature", "key_cert_sign"])
    trusting = world(tmp_path, [lone])
    assert trusting.judge(jws([lone])).outcome == "accepts"
    assert "is that of a CA" in trusting.refusal(jws([authority]))
    forged = Issued(
        issue("C=US,ST=WA,O=Example,CN=lone", CHAIN[-1], ca=False, issuer_name="C=US,ST=WA,O=Example,CN=lone").certificate,
        new_key(),
    )
    assert "is not signed by" in trusting.refusal(jws([forged]))
