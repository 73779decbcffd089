"""Sigstore bundles signed with keys: envelopes and messages, and attacks with their reasons."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.support.sigstore import (
    b64,
    bundle,
    envelope,
    message,
    pae,
    sign,
    spki,
    spki_pem,
    statement,
)
from tests.support.sigstore_policy import (
    DIGEST,
    KEY,
    MANIFEST,
    OTHER,
    PEM,
    SLSA,
    STRANGER,
    bundle_by_keys,
    bundled,
    raw_signature,
    why,
)


def hint(key: Any = KEY) -> dict[str, Any]:
    return {"publicKey": {"hint": b64(hashlib.sha256(spki(key)).digest())}}


def signed_bundle(content: bytes | None = None, key: Any = KEY, material: dict[str, Any] | None = None, **changes: Any) -> Any:
    content = statement(DIGEST) if content is None else content
    return bundled(bundle(material or hint(), dsseEnvelope=envelope(content, sign(key, pae(content)), **changes)))


def signed_message(artifact: bytes = MANIFEST, key: Any = KEY, **changes: Any) -> Any:
    return bundled(bundle(hint(), messageSignature=message(artifact, sign(key, artifact)) | changes))


def test_bundles_of_each_version_and_content() -> None:
    assert why(bundle_by_keys(PEM), signed_bundle()) == ""
    assert why(bundle_by_keys(PEM), signed_message()) == ""
    for version in ("0.1", "0.2", "0.3"):
        document = json.loads(signed_bundle()[1])
        document["mediaType"] = f"application/vnd.dev.sigstore.bundle+json;version={version}"
        assert why(bundle_by_keys(PEM), bundled(document)) == ""


def test_either_alphabet_of_base64_in_an_envelope() -> None:
    content = statement(DIGEST, predicate={"text": "\u00ff\u00ff\u00ff>>>???"})
    document = json.loads(signed_bundle(content)[1])
    inner = document["dsseEnvelope"]
    for one, member in ((inner, "payload"), (inner["signatures"][0], "sig")):
        one[member] = base64.urlsafe_b64encode(base64.b64decode(one[member])).decode().rstrip("=")
    assert why(bundle_by_keys(PEM), bundled(document)) == ""


def test_statements_of_the_older_version() -> None:
    assert why(bundle_by_keys(PEM), signed_bundle(statement(DIGEST, _type="https://in-toto.io/Statement/v0.1"))) == ""


CONTENT = statement(DIGEST)
TWO = envelope(CONTENT, sign(KEY, pae(CONTENT)))
TWO["signatures"] = [*TWO["signatures"], {"sig": b64(sign(STRANGER, pae(CONTENT)))}]
BAD_BUNDLES = [
    ("wrong key, named", signed_bundle(key=STRANGER, material=hint(STRANGER)), "which is not one of the policy"),
    ("wrong key, unnamed", signed_bundle(key=STRANGER), "does not fit what it should sign"),
    (
        "two signatures",
        bundled(bundle(hint(), dsseEnvelope=TWO)),
        "dsseEnvelope.signatures: must hold exactly one signature, not 2",
    ),
    ("swapped subject", signed_bundle(statement(OTHER)), f"it is about {OTHER}"),
    (
        "tampered payload",
        bundled(bundle(hint(), dsseEnvelope=envelope(CONTENT + b" ", sign(KEY, pae(CONTENT))))),
        "does not fit what it should sign",
    ),
    (
        "another payload type",
        bundled(bundle(hint(), dsseEnvelope=envelope(CONTENT, sign(KEY, pae(CONTENT, "text/plain")), "text/plain"))),
        "the envelope holds 'text/plain', not an in-toto statement",
    ),
    (
        "payload type changed after signing",
        bundled(bundle(hint(), dsseEnvelope=envelope(CONTENT, sign(KEY, pae(CONTENT, "text/plain"))))),
        "does not fit what it should sign",
    ),
    (
        "hint and keyid disagree",
        signed_bundle(signatures=[{"sig": b64(sign(KEY, pae(CONTENT))), "keyid": "other"}]),
        "is not the hint of verificationMaterial.publicKey",
    ),
    ("an attestation", signed_bundle(statement(DIGEST, SLSA)), f"it is an attestation ({SLSA}), not a signature of the image"),
    ("message of another image", signed_message(b"other"), "it is about sha256:"),
    (
        "digest of the message swapped",
        signed_message(messageDigest={"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(b"x").digest())}),
        "does not fit what it should sign",
    ),
    (
        "message over SHA-512",
        signed_message(messageDigest={"algorithm": "SHA2_512", "digest": b64(hashlib.sha512(MANIFEST).digest())}),
        "a signature over sha512 is not made with a key of the kind ecdsa-p256",
    ),
    (
        "raw ECDSA",
        signed_message(signature=b64(raw_signature(MANIFEST))),
        "r and s side by side, where ASN.1 DER is due",
    ),
    ("signed with a certificate", signed_bundle(material={"certificate": {"rawBytes": "AAAA"}}), "but a key is wanted"),
    ("duplicate members", bundled(b'{"mediaType": "a", "mediaType": "b"}'), "bundle: duplicate member 'mediaType'"),
    ("unknown version", bundled(bundle(hint(), media_type="application/vnd.dev.sigstore.bundle.v0.4+json")), "version of bundle"),
    ("unknown member", bundled(bundle(hint(), more=1)), "bundle: more: is not known here"),
    ("snake case", bundled({"media_type": "x"}), "media_type: is not known here"),
    (
        "two contents",
        bundled(bundle(hint(), dsseEnvelope=envelope(CONTENT, b"x"), messageSignature=message(b"", b"x"))),
        "must hold either messageSignature or dsseEnvelope",
    ),
    ("no content", bundled(bundle(hint())), "must hold either messageSignature or dsseEnvelope"),
    ("no material", bundled(bundle({}, dsseEnvelope=envelope(CONTENT, b"x"))), "must hold exactly one of publicKey"),
    ("oversized", bundled(b" " * (8 << 20) + b"{}"), "bundle: is larger than 8388608 bytes"),
    (
        "hundreds of entries",
        bundled(bundle({**hint(), "tlogEntries": [{}] * 300}, dsseEnvelope=envelope(CONTENT, b"x"))),
        "tlogEntries: has more than 32 entries",
    ),
    (
        "many subjects",
        signed_bundle(statement(DIGEST, subject=[{"digest": {"sha256": "0" * 64}}] * 1025)),
        "subject: has more than 1024 entries",
    ),
    ("no subjects", signed_bundle(statement(DIGEST, subject=[])), "subject: must be a list that is not empty"),
    ("odd digest", signed_bundle(statement(DIGEST, subject=[{"digest": {"sha256": "AB"}}])), "subject[0].digest.sha256: must be"),
    (
        "digest of no use",
        signed_bundle(statement(DIGEST, subject=[{"digest": {"sha1": "ab"}}])),
        "it is about nothing with a sha256 or sha512 digest",
    ),
    ("another statement", signed_bundle(statement(DIGEST, _type="x")), "in-toto statement: _type: must be"),
]


@pytest.mark.parametrize(("found", "reason"), [case[1:] for case in BAD_BUNDLES], ids=[case[0] for case in BAD_BUNDLES])
def test_attacks_on_bundles(found: Any, reason: str) -> None:
    assert reason in why(bundle_by_keys(PEM), found)


def test_a_signature_is_no_attestation_that_was_asked_for() -> None:
    wanted = bundle_by_keys(PEM, predicate=SLSA)
    assert why(wanted, signed_bundle(statement(DIGEST, SLSA))) == ""
    for found in (signed_bundle(), signed_message()):
        assert f"it is a signature, not an attestation of the type {SLSA}" in why(wanted, found)


def test_ed25519_cannot_sign_by_digest() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    found = bundled(bundle({"publicKey": {}}, messageSignature=message(MANIFEST, sign(key, MANIFEST))))
    assert "its digest is not enough to check it" in why(bundle_by_keys(spki_pem(key)), found)
