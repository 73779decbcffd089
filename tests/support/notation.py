"""Notary Project signatures for tests, put together without the code under test, so that every part can be made wrong."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from rktpy.formats.trust.requirements import KeySource, Notation
from rktpy.trust import notation, notation_facts
from rktpy.trust.decision import Image, Step
from rktpy.trust.evidence import NOTATION, Evidence
from tests.support.certificates import START, YEAR, Issued, issue, new_key

JWS_TYPE = "application/jose+json"
COSE_TYPE = "application/cose"
PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
REPOSITORY = "registry.example/team/app"
DIGEST = "sha256:" + hashlib.sha256(b"manifest").hexdigest()
SIZE = 7682
IMAGE = Image("sha256-x", "oci", f"docker://{REPOSITORY}:1.0", DIGEST, MANIFEST_TYPE, SIZE)
TARGET = {"mediaType": MANIFEST_TYPE, "digest": DIGEST, "size": SIZE}
NOW = START + YEAR
SCHEME = "io.cncf.notary.signingScheme"
TIME = "io.cncf.notary.signingTime"
AUTHENTIC = "io.cncf.notary.authenticSigningTime"
EXPIRY = "io.cncf.notary.expiry"
SUBJECT = "C=US,ST=WA,O=Example,OU=Build,CN=signer"
ALGORITHMS = {
    "P-256": "ES256",
    "P-384": "ES384",
    "P-521": "ES512",
    "RSA-2048": "PS256",
    "RSA-3072": "PS384",
    "RSA-4096": "PS512",
}
_HASHES: dict[str, Any] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def code_chain(*, kind: str = "P-256", subject: str = SUBJECT, **changes: Any) -> list[Issued]:
    """Leaf, intermediate and root for signing code; ``changes`` are made to the leaf."""
    root, middle = _authorities()
    return [issue(subject, middle, **({"key": new_key(kind, 32)} | changes)), middle, root]


@functools.cache
def _authorities() -> tuple[Issued, Issued]:
    root = issue("C=US,ST=WA,O=Example,CN=Root", key=new_key("P-256", 30))
    return root, issue("C=US,ST=WA,O=Example,CN=CA", root, key=new_key("P-256", 31), ca=True)


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_signature(key: Any, algorithm: str, data: bytes, *, salt: int | None = None) -> bytes:
    digest = _HASHES[algorithm[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        length = digest.digest_size if salt is None else salt
        return key.sign(data, padding.PSS(padding.MGF1(digest), length), digest)
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def openssl_signature(issued: Issued, algorithm: str, data: bytes) -> bytes:
    """The same by openssl(1)."""
    with tempfile.TemporaryDirectory() as directory:
        key = Path(directory) / "key.pem"
        key.write_bytes(issued.key_pem)
        command = ["openssl", "dgst", f"-sha{algorithm[2:]}", "-sign", str(key)]
        if algorithm.startswith("PS"):
            command += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
        made = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout
    if algorithm.startswith("PS"):
        return made
    size = {"ES256": 32, "ES384": 48, "ES512": 66}[algorithm]
    r, s = utils.decode_dss_signature(made)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def protected_headers(algorithm: str = "ES256", **changes: Any) -> dict[str, Any]:
    """A protected header of the scheme notary.x509; a change to None takes the member away."""
    headers: dict[str, Any] = {
        "alg": algorithm,
        "cty": PAYLOAD_TYPE,
        "crit": [SCHEME],
        SCHEME: "notary.x509",
        TIME: "2024-06-01T00:00:00Z",
    }
    headers.update(changes)
    return {name: value for name, value in headers.items() if value is not None}


def jws(
    chain: Sequence[Issued],
    *,
    target: Any = None,
    payload: bytes | None = None,
    headers: dict[str, Any] | None = None,
    protected: bytes | None = None,
    header: dict[str, Any] | None = None,
    sign: Callable[[Issued, str, bytes], bytes] | None = None,
    timestamp: Callable[[bytes], bytes] | None = None,
    change: Callable[[dict[str, Any]], None] | None = None,
    algorithm: str = "ES256",
) -> bytes:
    """A JWS envelope signed by the first of ``chain``."""
    if payload is None:
        payload = json.dumps({"targetArtifact": TARGET if target is None else target}).encode()
    if protected is None:
        protected = json.dumps(headers if headers is not None else protected_headers(algorithm)).encode()
    signed = f"{b64url(protected)}.{b64url(payload)}".encode()
    signature = sign(chain[0], algorithm, signed) if sign else raw_signature(chain[0].key, algorithm, signed)
    unprotected: dict[str, Any] = {
        "x5c": [base64.b64encode(certificate.der).decode() for certificate in chain],
        "io.cncf.notary.signingAgent": "test/1",
    }
    if timestamp is not None:
        unprotected["io.cncf.notary.timestampSignature"] = base64.b64encode(timestamp(signature)).decode()
    unprotected.update(header or {})
    envelope: dict[str, Any] = {
        "payload": b64url(payload),
        "protected": b64url(protected),
        "header": unprotected,
        "signature": b64url(signature),
    }
    if change is not None:
        change(envelope)
    return json.dumps(envelope).encode()


def cbor_head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes((kind << 5 | number,))
    for short, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes((kind << 5 | short,)) + number.to_bytes(size, "big")
    raise ValueError(number)


class Tag:
    def __init__(self, number: int, value: Any) -> None:
        self.number, self.value = number, value


def cbor(value: Any) -> bytes:
    """CBOR, encoded independently of the code under test; maps keep their order."""
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(cbor(item) for item in value)
    if isinstance(value, dict):
        return cbor_head(5, len(value)) + b"".join(cbor(key) + cbor(item) for key, item in value.items())
    assert isinstance(value, Tag)
    return cbor_head(6, value.number) + cbor(value.value)


COSE_LABELS = {"PS256": -37, "PS384": -38, "PS512": -39, "ES256": -7, "ES384": -35, "ES512": -36}


def cose_headers(algorithm: str = "ES256", **changes: Any) -> dict[Any, Any]:
    headers: dict[Any, Any] = {
        1: COSE_LABELS[algorithm],
        2: [SCHEME],
        3: PAYLOAD_TYPE,
        SCHEME: "notary.x509",
        TIME: Tag(1, START + YEAR // 2),
    }
    names = {"alg": 1, "crit": 2, "cty": 3}
    headers.update({names.get(name, name): value for name, value in changes.items()})
    return {name: value for name, value in headers.items() if value is not None}


def cose(
    chain: Sequence[Issued],
    *,
    target: Any = None,
    headers: dict[Any, Any] | None = None,
    unprotected: dict[Any, Any] | None = None,
    sign: Callable[[Issued, str, bytes], bytes] | None = None,
    timestamp: Callable[[bytes], bytes] | None = None,
    algorithm: str = "ES256",
    tag: int = 18,
    parts: Callable[[list[Any]], list[Any]] | None = None,
) -> bytes:
    """A COSE_Sign1 envelope signed by the first of ``chain``."""
    payload = json.dumps({"targetArtifact": TARGET if target is None else target}).encode()
    protected = cbor(headers if headers is not None else cose_headers(algorithm))
    signed = cbor(["Signature1", protected, b"", payload])
    signature = sign(chain[0], algorithm, signed) if sign else raw_signature(chain[0].key, algorithm, signed)
    outside: dict[Any, Any] = {33: [certificate.der for certificate in chain]}
    if timestamp is not None:
        outside["io.cncf.notary.timestampSignature"] = timestamp(signature)
    outside.update(unprotected or {})
    held = [protected, outside, payload, signature]
    return cbor(Tag(tag, parts(held) if parts else held))


class World:
    """A trust policy and trust stores on disk, and the judging of envelopes under them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requirement = Notation(
            'transports.docker.""[0]', str(directory / "trustpolicy.oci.json"), str(directory / "trust-store")
        )
        self.policy()

    def store(self, kind: str, name: str, *certificates: Issued) -> Path:
        """Fill a trust store."""
        directory = self.directory / "trust-store" / "x509" / kind / name
        directory.mkdir(parents=True, exist_ok=True)
        for number, certificate in enumerate(certificates):
            (directory / f"{number}.pem").write_bytes(certificate.pem)
        return directory

    def policy(self, document: Any = None, **changes: Any) -> None:
        """Write a trust policy; without a document one strict statement for everything, with changes to it."""
        if document is None:
            statement: dict[str, Any] = {
                "name": "all",
                "registryScopes": ["*"],
                "signatureVerification": {"level": "strict"},
                "trustStores": ["ca:example"],
                "trustedIdentities": ["*"],
            }
            statement.update(changes)
            document = {"version": "1.0", "trustPolicies": [statement]}
        text = document if isinstance(document, str) else json.dumps(document)
        (self.directory / "trustpolicy.oci.json").write_text(text)

    def evidence(self, envelope: bytes, media_type: str = JWS_TYPE, **blobs: bytes) -> tuple[Evidence, dict[str, bytes]]:
        held = {"envelope": envelope, **{role.replace("_", "-"): data for role, data in blobs.items()}}
        digests = {role: "sha256:" + hashlib.sha256(data).hexdigest() for role, data in held.items()}
        found = Evidence(NOTATION, "registry.example", media_type, tuple(digests.items()))
        return found, {digests[role]: data for role, data in held.items()}

    def fact(self, envelope: bytes, media_type: str = JWS_TYPE, **blobs: bytes) -> dict[str, Any]:
        evidence, held = self.evidence(envelope, media_type, **blobs)
        assert notation.concerns(self.requirement, evidence)
        read: list[str] = []

        def file(source: KeySource) -> bytes:
            read.append(source.path)
            return Path(source.path).read_bytes()

        fact = notation_facts.examine(self.requirement, evidence, held.__getitem__, file)
        # What is remembered under the digests of the material must depend on nothing else.
        assert set(read) <= {source.path for source in notation.material(self.requirement)}
        assert json.loads(json.dumps(fact)) == fact
        return fact

    def judge(self, envelope: bytes, media_type: str = JWS_TYPE, *, now: int = NOW, image: Image = IMAGE, **blobs: bytes) -> Step:
        return notation.judge(self.requirement, image, self.fact(envelope, media_type, **blobs), now)

    def refusal(self, envelope: bytes, media_type: str = JWS_TYPE, **settings: Any) -> str:
        step = self.judge(envelope, media_type, **settings)
        assert step.outcome == "rejects", step
        assert step.reason.isprintable() and "\n" not in step.reason
        return step.reason


def world(directory: Path, chain: Sequence[Issued]) -> World:
    """A world that trusts the root of ``chain``."""
    made = World(directory)
    made.store("ca", "example", chain[-1])
    return made
