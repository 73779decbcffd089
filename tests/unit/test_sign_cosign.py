"""Making cosign's signatures: openssl and the verifiers accept them; keys in each form of file, and what is wrong with others."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import ConfigError, FormatError
from rktpy.trust.sign_cosign import (
    attest_bundle,
    attest_image,
    load_key,
    sign_bundle,
    sign_image,
    sign_message_bundle,
)
from tests.conftest import need_tool
from tests.support.sigstore import b64, pae
from tests.support.sigstore_policy import DIGEST, DSSE, MANIFEST, SLSA, bundle_by_keys, bundled, by_keys, cosign, why

KINDS: dict[str, list[str]] = {
    "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ed25519": ["-algorithm", "ed25519"],
}


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run([need_tool("openssl"), *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    """Private and public PEM of each kind, by openssl."""
    made: dict[str, tuple[bytes, bytes]] = {}
    for kind, arguments in KINDS.items():
        private = openssl("genpkey", *arguments)
        made[kind] = private, openssl("pkey", "-pubout", stdin=private)
    return made


def verify_with_openssl(tmp_path: Path, kind: str, public: bytes, signature: bytes, data: bytes, digest: str) -> None:
    for name, content in (("key", public), ("signature", signature), ("data", data)):
        (tmp_path / name).write_bytes(content)
    if kind == "ed25519":
        arguments = ["pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin", "-sigfile", "signature", "-in", "data"]
    else:
        arguments = ["dgst", f"-{digest}", "-verify", "key", "-signature", "signature", "data"]
    done = subprocess.run([need_tool("openssl"), *arguments], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_and_signature(keys: dict[str, tuple[bytes, bytes]], tmp_path: Path, kind: str) -> None:
    private, public = keys[kind]
    key = load_key(private)
    payload, annotations = sign_image(key, DIGEST, "registry.example/app")
    assert why(by_keys(public), cosign(payload, dict(annotations))) == ""
    signature = base64.b64decode(dict(annotations)["dev.cosignproject.cosign/signature"])
    verify_with_openssl(tmp_path, kind, public, signature, payload, "sha256")
    assert json.loads(payload) == {
        "critical": {
            "identity": {"docker-reference": "registry.example/app"},
            "image": {"docker-manifest-digest": DIGEST},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    data, annotations = sign_bundle(key, DIGEST)
    assert why(bundle_by_keys(public), bundled(data)) == ""
    assert annotations == (
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", "https://sigstore.dev/cosign/sign/v1"),
    )
    envelope = json.loads(data)["dsseEnvelope"]
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    digest = {"p384": "sha384", "p521": "sha512"}.get(kind, "sha256")
    verify_with_openssl(tmp_path, kind, public, signature, pae(base64.b64decode(envelope["payload"])), digest)


def test_the_form_of_a_bundle(keys: dict[str, tuple[bytes, bytes]]) -> None:
    private, public = keys["p256"]
    document = json.loads(sign_bundle(load_key(private), DIGEST)[0])
    der = openssl("pkey", "-pubin", "-outform", "DER", stdin=public)
    hint = b64(hashlib.sha256(der).digest())
    assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert document["verificationMaterial"] == {"publicKey": {"hint": hint}}
    assert document["dsseEnvelope"]["signatures"][0]["keyid"] == hint
    assert json.loads(base64.b64decode(document["dsseEnvelope"]["payload"])) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": DIGEST.removeprefix("sha256:")}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }


def test_attestations(keys: dict[str, tuple[bytes, bytes]]) -> None:
    private, public = keys["p256"]
    key = load_key(private)
    data, annotations = attest_bundle(key, DIGEST, SLSA, {"buildType": "x"})
    assert dict(annotations)["dev.sigstore.bundle.predicateType"] == SLSA
    assert why(bundle_by_keys(public, predicate=SLSA), bundled(data)) == ""
    layer, annotations = attest_image(key, DIGEST, SLSA, {"buildType": "x"})
    assert dict(annotations)["predicateType"] == SLSA
    assert why(bundle_by_keys(public, predicate=SLSA), cosign(layer, dict(annotations), DSSE)) == ""


def test_signatures_of_messages(keys: dict[str, tuple[bytes, bytes]]) -> None:
    for kind in ("p256", "rsa"):
        private, public = keys[kind]
        data, annotations = sign_message_bundle(load_key(private), MANIFEST)
        assert annotations == (("dev.sigstore.bundle.content", "message-signature"),)
        assert why(bundle_by_keys(public), bundled(data)) == ""
    for kind in ("p384", "p521", "ed25519"):
        with pytest.raises(ConfigError, match="does not sign a SHA-256; sign an envelope instead"):
            sign_message_bundle(load_key(keys[kind][0]), MANIFEST)


def test_digests_are_checked(keys: dict[str, tuple[bytes, bytes]]) -> None:
    key = load_key(keys["p256"][0])
    for digest in ("", "sha256:AB", "md5:00"):
        with pytest.raises(FormatError, match="digest to sign"):
            sign_image(key, digest, "registry.example/app")
        with pytest.raises(FormatError, match="digest to sign"):
            sign_bundle(key, digest)


def test_forms_of_key_files(keys: dict[str, tuple[bytes, bytes]]) -> None:
    private, public = keys["p256"]
    fingerprint = load_key(private).public.fingerprint
    sec1 = openssl("ec", stdin=private)
    assert b"BEGIN EC PRIVATE KEY" in sec1
    assert load_key(sec1).public.fingerprint == fingerprint
    parameters = openssl("ecparam", "-name", "prime256v1")
    assert load_key(parameters + sec1).public.fingerprint == fingerprint
    locked = openssl("pkcs8", "-topk8", "-passout", "pass:secret", stdin=private)
    assert load_key(locked, b"secret").public.fingerprint == fingerprint
    with pytest.raises(ConfigError, match="is encrypted, and no passphrase was given"):
        load_key(locked)
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        load_key(locked, b"other")
    rsa = openssl("rsa", "-traditional", stdin=keys["rsa"][0])
    assert b"BEGIN RSA PRIVATE KEY" in rsa
    assert load_key(rsa).public.kind == "rsa-2048"
    with pytest.raises(ConfigError, match="is a PEM block 'PUBLIC KEY', not a private key"):
        load_key(public)
    with pytest.raises(ConfigError, match="must hold one PEM block with a private key, not 2"):
        load_key(private + private)
    with pytest.raises(ConfigError, match="is not a supported key"):
        load_key(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"))
    with pytest.raises(ConfigError, match="is not a supported key"):
        load_key(openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"))
    for garbage in (b"", b"\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(ConfigError, match="signing key"):
            load_key(garbage)


def boxed(private: bytes, password: bytes, label: str = "ENCRYPTED SIGSTORE PRIVATE KEY", **changes: Any) -> bytes:
    """A key in cosign's form, put together from the description of it."""
    from nacl.secret import SecretBox

    der = openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", stdin=private)
    salt, nonce = b"s" * 32, b"n" * 24
    n = changes.pop("n", 32768)
    secret = hashlib.scrypt(password, salt=salt, n=32768, r=8, p=1, maxmem=1 << 28, dklen=32)
    document = {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": b64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": b64(nonce)},
        "ciphertext": b64(SecretBox(secret).encrypt(der, nonce).ciphertext),
    } | changes
    text = base64.encodebytes(json.dumps(document).encode()).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


def test_cosigns_own_form_of_key(keys: dict[str, tuple[bytes, bytes]]) -> None:
    private, public = keys["p256"]
    for label in ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"):
        key = load_key(boxed(private, b"secret", label), b"secret")
        assert why(bundle_by_keys(public), bundled(sign_bundle(key, DIGEST)[0])) == ""
    assert load_key(boxed(private, b""), b"").public.fingerprint == key.public.fingerprint
    cases: list[tuple[bytes, bytes | None, str]] = [
        (boxed(private, b"secret"), b"other", "the passphrase is wrong"),
        (boxed(private, b"secret"), None, "is encrypted, and no passphrase was given"),
        (boxed(private, b"secret", n=1 << 30), b"secret", "kdf.params: are no parameters of scrypt, or want too much memory"),
        (boxed(private, b"secret", n=3), b"secret", "kdf.params: are no parameters of scrypt"),
        (boxed(private, b"secret", cipher={"name": "x", "nonce": "AAAA"}), b"secret", "cipher.name: 'x' is not supported"),
        (boxed(private, b"secret", cipher={"name": "nacl/secretbox", "nonce": "AAAA"}), b"secret", "nonce: must be 24 bytes"),
        (boxed(private, b"secret", more=1), b"secret", "more: is not known here"),
    ]
    for data, password, reason in cases:
        with pytest.raises(ConfigError) as error:
            load_key(data, password)
        assert reason in str(error.value)
        assert "secret" not in str(error.value).replace("nacl/secretbox", "")
