"""Making Notary Project signatures: read back by the verifier, and by openssl(1)."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import utils

from rktpy.errors import ConfigError
from rktpy.formats.oci.parse import parse_manifest_document
from rktpy.formats.trust import timestamp_token
from rktpy.formats.trust.notation.envelope import SIGNING_AUTHORITY, Target
from rktpy.trust.sign_notation import Signature, load_signer, referrer_manifest, sign
from tests.support.certificates import END, START, Issued, issue, new_key, tsa_chain
from tests.support.notation import (
    ALGORITHMS,
    COSE_TYPE,
    DIGEST,
    EXPIRY,
    JWS_TYPE,
    MANIFEST_TYPE,
    NOW,
    SIZE,
    World,
    code_chain,
    world,
)
from tests.support.timestamps import openssl_response

CHAIN = code_chain()
TARGET = Target(MANIFEST_TYPE, DIGEST, SIZE)
KINDS = ["P-256", "P-384", "P-521", "RSA-2048"]


def pem(chain: list[Issued]) -> bytes:
    return b"".join(held.pem for held in chain)


@pytest.fixture
def trusting(tmp_path: Path) -> World:
    return world(tmp_path, CHAIN)


@pytest.mark.parametrize("media_type", [JWS_TYPE, COSE_TYPE])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_is_accepted(tmp_path: Path, kind: str, media_type: str) -> None:
    chain = code_chain(kind=kind)
    trusting = world(tmp_path, chain)
    signer = load_signer(chain[0].key_pem, pem(chain), NOW)
    assert signer.algorithm == ALGORITHMS[kind]
    made = sign(TARGET, signer, NOW, media_type=media_type, expiry=NOW + 60)
    assert trusting.judge(made.envelope, made.media_type, now=NOW + 59).outcome == "accepts"
    assert "the signature expired" in trusting.refusal(made.envelope, made.media_type, now=NOW + 60)


@pytest.mark.parametrize("kind", ["P-256", "P-521", "RSA-2048"])
def test_openssl_verifies_what_is_made(tmp_path: Path, kind: str) -> None:
    chain = code_chain(kind=kind)
    envelope = json.loads(sign(TARGET, load_signer(chain[0].key_pem, pem(chain), NOW), NOW).envelope)
    algorithm = ALGORITHMS[kind]
    signature = base64.urlsafe_b64decode(envelope["signature"] + "==")
    if algorithm.startswith("ES"):
        half = len(signature) // 2
        signature = utils.encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    certificate = x509.load_der_x509_certificate(base64.b64decode(envelope["header"]["x5c"][0]))
    key = certificate.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "data").write_bytes(f"{envelope['protected']}.{envelope['payload']}".encode())
    command = ["openssl", "dgst", f"-sha{algorithm[2:]}", "-verify", "key.pem", "-signature", "signature"]
    if algorithm.startswith("PS"):
        command += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    subprocess.run([*command, "data"], cwd=tmp_path, check=True, timeout=60, capture_output=True)
    payload = json.loads(base64.urlsafe_b64decode(envelope["payload"] + "=="))
    assert payload == {"targetArtifact": {"mediaType": MANIFEST_TYPE, "digest": DIGEST, "size": SIZE}}


def test_annotations_and_a_time_stamp_by_openssl(trusting: World, tmp_path: Path) -> None:
    root, middle, tsa = tsa_chain()
    trusting.store("tsa", "clock", root)
    trusting.policy(trustStores=["ca:example", "tsa:clock"])
    signer = load_signer(CHAIN[0].key_pem, pem(CHAIN), NOW)

    def stamp(signature: bytes) -> bytes:
        return timestamp_token.token_of_response(openssl_response(tmp_path / "ts", signature, tsa, [middle]))

    target = TARGET.replace(annotations=(("build", "12"),))
    for media_type in (JWS_TYPE, COSE_TYPE):
        made = sign(target, signer, NOW, media_type=media_type, timestamp=stamp)
        assert trusting.judge(made.envelope, media_type, now=END + 1).outcome == "accepts"


def test_the_request_for_a_time_stamp_is_one_that_openssl_answers(tmp_path: Path) -> None:
    digest = hashlib.sha384(b"signature").digest()
    (tmp_path / "query").write_bytes(timestamp_token.request("sha384", digest))
    text = subprocess.run(
        ["openssl", "ts", "-query", "-in", "query", "-text"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert "Hash Algorithm: sha384" in text and "Certificate required: yes" in text
    assert digest.hex()[:8] in text.replace(" ", "")


def test_the_signing_authority_scheme(trusting: World) -> None:
    trusting.store("signingAuthority", "sa", CHAIN[-1])
    trusting.policy(trustStores=["signingAuthority:sa"])
    signer = load_signer(CHAIN[0].key_pem, pem(CHAIN), NOW)
    for media_type in (JWS_TYPE, COSE_TYPE):
        made = sign(TARGET, signer, NOW, media_type=media_type, scheme=SIGNING_AUTHORITY)
        assert trusting.judge(made.envelope, media_type, now=END + 1).outcome == "accepts"


def test_the_manifest_that_refers_to_the_image() -> None:
    made = sign(TARGET, load_signer(CHAIN[0].key_pem, pem(CHAIN), NOW), NOW)
    data, blobs = referrer_manifest(TARGET, made)
    manifest = parse_manifest_document(data, None, "manifest")
    doc = json.loads(data)
    assert doc["artifactType"] == "application/vnd.cncf.notary.signature"
    assert doc["subject"] == {"mediaType": MANIFEST_TYPE, "digest": DIGEST, "size": SIZE}
    assert doc["config"]["digest"] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert [layer["mediaType"] for layer in doc["layers"]] == [JWS_TYPE]
    assert {"sha256:" + hashlib.sha256(data).hexdigest() for _, data in blobs} == {
        doc["config"]["digest"],
        doc["layers"][0]["digest"],
    }
    prints = json.loads(doc["annotations"]["io.cncf.notary.x509chain.thumbprint#S256"])
    assert prints == [hashlib.sha256(held.der).hexdigest() for held in CHAIN]
    assert doc["annotations"]["org.opencontainers.image.created"] == "2024-12-31T00:00:00Z"
    assert manifest.to_dict()["subject"] == doc["subject"]


def test_signers_that_would_be_refused() -> None:
    leaf, middle, root = CHAIN
    with pytest.raises(ConfigError, match="cannot read the signing key"):
        load_signer(b"junk", pem(CHAIN), NOW)
    with pytest.raises(ConfigError, match="is not PEM"):
        load_signer(leaf.key_pem, b"junk", NOW)
    with pytest.raises(ConfigError, match="there is no certificate"):
        load_signer(leaf.key_pem, leaf.key_pem, NOW)
    with pytest.raises(ConfigError, match="is not that of certificate"):
        load_signer(middle.key_pem, pem(CHAIN), NOW)
    with pytest.raises(ConfigError, match="is not of the kind of its certificate"):
        load_signer(issue("CN=x", key=new_key("RSA-2048")).key_pem, pem(CHAIN), NOW)
    with pytest.raises(ConfigError, match="a chain must be complete"):
        load_signer(leaf.key_pem, pem([leaf, middle]), NOW)
    with pytest.raises(ConfigError, match="out of order"):
        load_signer(leaf.key_pem, pem([leaf, root, middle]), NOW)
    with pytest.raises(ConfigError, match="is that of a CA"):
        load_signer(root.key_pem, root.pem, NOW)
    with pytest.raises(ConfigError, match="is not valid now"):
        load_signer(leaf.key_pem, pem(CHAIN), START - 1)
    signer = load_signer(leaf.key_pem, pem(CHAIN), NOW)
    with pytest.raises(ConfigError, match="would have expired"):
        sign(TARGET, signer, NOW, expiry=NOW)
    with pytest.raises(ConfigError, match="is neither"):
        sign(TARGET, signer, NOW, media_type="application/json")


def test_an_encrypted_key() -> None:
    best = serialization.BestAvailableEncryption(b"secret")
    key = CHAIN[0].key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, best)
    assert load_signer(key, pem(CHAIN), NOW, b"secret").algorithm == "ES256"
    for password in (None, b"wrong"):
        with pytest.raises(ConfigError, match="cannot read the signing key"):
            load_signer(key, pem(CHAIN), NOW, password)


def test_the_secret_is_not_shown() -> None:
    signer = load_signer(CHAIN[0].key_pem, pem(CHAIN), NOW)
    assert "PRIVATE" not in repr(signer)
    made: Signature = sign(TARGET, signer, NOW)
    assert EXPIRY.encode() not in made.envelope
