"""A miniature sigstore: a Fulcio, a log of certificates, a Rekor and a time-stamping authority, all in one object.

Everything is put together here from the specifications, without the code under test, and every part can be made wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from tests.support.certificates import Issued, _date, issue, new_key, tsa_chain
from tests.support.timestamps import integer, make_token, sequence, tlv

#: When everything is signed, in seconds since the epoch: 2025-06-01.
SIGNED = 1748736000
ISSUER = "https://accounts.example.com"
EMAIL = "alice@example.com"
FULCIO = "1.3.6.1.4.1.57264.1."
ORIGIN = "log.example.com"
IN_TOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spki(key: Any) -> bytes:
    """The public half of a private key, in DER."""
    public: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public


def spki_pem(key: Any) -> bytes:
    public: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public


def fingerprint(key: Any) -> str:
    return "sha256:" + hashlib.sha256(spki(key)).hexdigest()


def sign(key: Any, data: bytes, digest: Any = None) -> bytes:
    signature: bytes = (
        key.sign(data) if isinstance(key, ed25519.Ed25519PrivateKey) else key.sign(data, ec.ECDSA(digest or hashes.SHA256()))
    )
    return signature


def pae(payload: bytes, kind: str = IN_TOTO) -> bytes:
    return b"DSSEv1 " + b" ".join([str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def statement(
    digest: str, predicate_type: str = "https://sigstore.dev/cosign/sign/v1", predicate: Any = None, **changes: Any
) -> bytes:
    algorithm, _, value = digest.partition(":")
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {algorithm: value}}],
        "predicateType": predicate_type,
        "predicate": predicate or {},
    }
    return json.dumps(document | changes).encode()


def payload(digest: str, reference: str = "registry.example/app", **changes: Any) -> bytes:
    """What a signature of the old scheme signs."""
    document = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    return json.dumps(document | changes).encode()


def canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is defined."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def _path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1, as it is defined."""
    if len(leaves) == 1:
        return []
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if index < half:
        return [*_path(index, leaves[:half]), _root(leaves[half:])]
    return [*_path(index - half, leaves[half:]), _root(leaves[:half])]


tree_root, tree_path = _root, _path


@dataclass
class Rekor:
    """A transparency log. Entries stand in a tree among others."""

    key: Any = field(default_factory=lambda: new_key("P-256", 20))
    others: int = 5
    origin: str = f"{ORIGIN} - 1234"
    name: str = ORIGIN

    @property
    def log_id(self) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self._note_id()
        return hashlib.sha256(spki(self.key)).digest()

    def _note_id(self) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            raw = self.key.public_key().public_bytes_raw()
            return hashlib.sha256(self.name.encode() + b"\n\x01" + raw).digest()
        return hashlib.sha256(spki(self.key)).digest()

    def checkpoint(self, size: int, root: bytes, key: Any = None) -> str:
        text = f"{self.origin}\n{size}\n{b64(root)}\n"
        signature = self._note_id()[:4] + sign(key or self.key, text.encode())
        return f"{text}\n\u2014 {self.name} {b64(signature)}\n"

    def promise(self, body: bytes, index: int, when: int, *, ordered: bool = True) -> bytes:
        document = {"logIndex": index, "body": b64(body), "integratedTime": when, "logID": self.log_id.hex()}
        return sign(self.key, canonical(document) if ordered else json.dumps(document, separators=(",", ":")).encode())

    def entry(
        self,
        body: dict[str, Any],
        *,
        when: int = SIGNED,
        promise: bool = True,
        proof: bool = True,
        checkpoint_key: Any = None,
        ordered: bool = True,
    ) -> dict[str, Any]:
        """The JSON form of an entry in a bundle."""
        data = canonical(body)
        leaves = [b"other %d" % number for number in range(self.others)]
        index = self.others // 2
        leaves.insert(index, data)
        root = _root(leaves)
        document: dict[str, Any] = {
            "logIndex": str(100 + index),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
            "integratedTime": str(when),
            "canonicalizedBody": b64(data),
        }
        if promise:
            document["inclusionPromise"] = {"signedEntryTimestamp": b64(self.promise(data, 100 + index, when, ordered=ordered))}
        if proof:
            document["inclusionProof"] = {
                "logIndex": str(index),
                "rootHash": b64(root),
                "treeSize": str(len(leaves)),
                "hashes": [b64(one) for one in _path(index, leaves)],
                "checkpoint": {"envelope": self.checkpoint(len(leaves), root, checkpoint_key)},
            }
        return document

    def annotation(self, body: dict[str, Any], *, when: int = SIGNED, ordered: bool = True) -> str:
        """The JSON form of an entry in an annotation of the old scheme."""
        data = canonical(body)
        document = {"body": b64(data), "integratedTime": when, "logIndex": 7, "logID": self.log_id.hex()}
        return json.dumps({"SignedEntryTimestamp": b64(self.promise(data, 7, when, ordered=ordered)), "Payload": document})


def hashedrekord(signature: bytes, verifier: bytes, artifact: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(artifact).hexdigest()}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(verifier)}},
        },
    }


def hashedrekord_2(signature: bytes, artifact: bytes, *, certificate: bytes = b"", key: bytes = b"") -> dict[str, Any]:
    verifier = {"x509Certificate": {"rawBytes": b64(certificate)}} if certificate else {"publicKey": {"rawBytes": b64(key)}}
    record = {
        "data": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(artifact).digest())},
        "signature": {"content": b64(signature), "verifier": {**verifier, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}},
    }
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}}


def dsse_entry(signature: bytes, verifier: bytes, content: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": "00" * 32},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()},
            "signatures": [{"signature": b64(signature), "verifier": b64(verifier)}],
        },
    }


def intoto_entry(signature: bytes, verifier: bytes, content: bytes) -> dict[str, Any]:
    one = {"publicKey": b64(verifier), "sig": b64(b64(signature).encode())}
    inner = {
        "envelope": {"payloadType": IN_TOTO, "signatures": [one]},
        "hash": {"algorithm": "sha256", "value": "00" * 32},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()},
    }
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": inner}}


def intoto_entry_1(verifier: bytes, data: bytes) -> dict[str, Any]:
    """An entry of the older kind, over the bytes of an envelope."""
    digest = {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}
    return {"apiVersion": "0.0.1", "kind": "intoto", "spec": {"content": {"hash": digest}, "publicKey": b64(verifier)}}


def envelope(content: bytes, signature: bytes, kind: str = IN_TOTO, **changes: Any) -> dict[str, Any]:
    return {"payload": b64(content), "payloadType": kind, "signatures": [{"sig": b64(signature)}]} | changes


def message(artifact: bytes, signature: bytes) -> dict[str, Any]:
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(artifact).digest())}
    return {"messageDigest": digest, "signature": b64(signature)}


def bundle(material: dict[str, Any], *, media_type: str = BUNDLE, **content: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "verificationMaterial": material, **content}


class Deployment:
    """One of each service, and its ``trusted_root.json``."""

    def __init__(self) -> None:
        extra = [(x509.AuthorityKeyIdentifier.from_issuer_public_key(new_key("P-256", 30).public_key()), False)]
        code = [ExtendedKeyUsageOID.CODE_SIGNING]
        self.root = issue("O=sigstore,CN=root", key=new_key("P-256", 30), extra=extra)
        self.middle = issue(
            "O=sigstore,CN=intermediate",
            self.root,
            key=new_key("P-256", 31),
            ca=True,
            path_length=0,
            purposes=code,
            extra=extra,
        )
        self.certificate_log = new_key("P-256", 32)
        self.rekor = Rekor()
        self.tsa_root, self.tsa_middle, self.tsa = tsa_chain()

    def leaf(
        self,
        key: Any,
        *,
        email: str = EMAIL,
        uri: str = "",
        other_name: str = "",
        issuer: str = ISSUER,
        old_issuer: str = "",
        claims: dict[int, str] | None = None,
        start: int = SIGNED - 60,
        end: int = SIGNED + 600,
        by: Issued | None = None,
        purposes: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
        usage: bool = True,
        ca: bool | None = None,
        extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
        log_key: Any = None,
        log_id: bytes = b"",
        logged: str = "yes",
    ) -> Issued:
        """A certificate as Fulcio issues them. ``logged`` is ``yes``, ``no``, ``other`` (of another certificate) or ``twice``."""
        by = by or self.middle
        names: list[x509.GeneralName] = []
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        elif other_name:
            names.append(x509.OtherName(ObjectIdentifier(FULCIO + "7"), tlv(0x0C, other_name.encode())))
        else:
            names.append(x509.RFC822Name(email))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(by.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_date(start))
            .not_valid_after(_date(end))
            .add_extension(x509.SubjectAlternativeName(names), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        if usage:
            flags = dict.fromkeys(
                (
                    "content_commitment",
                    "key_encipherment",
                    "data_encipherment",
                    "key_agreement",
                    "key_cert_sign",
                    "crl_sign",
                    "encipher_only",
                    "decipher_only",
                ),
                False,
            )
            builder = builder.add_extension(x509.KeyUsage(digital_signature=True, **flags), True)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
        texts: dict[int, bytes] = {number: tlv(0x0C, text.encode()) for number, text in (claims or {}).items()}
        if issuer:
            texts[8] = tlv(0x0C, issuer.encode())
        if old_issuer:
            texts[1] = old_issuer.encode()
        for number, value in texts.items():
            builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier(f"{FULCIO}{number}"), value), False)
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        if logged != "no":
            body = builder.sign(by.key, hashes.SHA256()).tbs_certificate_bytes
            if logged == "other":
                body = body[:-1] + bytes([body[-1] ^ 1])
            stamp = self._timestamp(body, by, log_key or self.certificate_log, log_id, start)
            listed = stamp * (2 if logged == "twice" else 1)
            value = tlv(4, len(listed).to_bytes(2, "big") + listed)
            builder = builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, value), False)
        return Issued(builder.sign(by.key, hashes.SHA256()), key)

    def _timestamp(self, body: bytes, by: Issued, key: Any, log_id: bytes, when: int) -> bytes:
        """RFC 6962 sections 3.2 and 3.3, one timestamp with its length."""
        time = (when * 1000 + 123).to_bytes(8, "big")
        issuer_hash = hashlib.sha256(spki(by.key)).digest()
        signed = b"\0\0" + time + b"\0\1" + issuer_hash + len(body).to_bytes(3, "big") + body + b"\0\0"
        signature = sign(key, signed)
        log_id = log_id or hashlib.sha256(spki(self.certificate_log)).digest()
        stamp = b"\0" + log_id + time + b"\0\0" + b"\4\3" + len(signature).to_bytes(2, "big") + signature
        return len(stamp).to_bytes(2, "big") + stamp

    def stamp(self, signature: bytes, when: int = SIGNED, **changes: Any) -> bytes:
        """A time-stamp response over a signature."""
        token = make_token(signature, self.tsa, [self.tsa, self.tsa_middle], when=when, **changes)
        return sequence(sequence(integer(0)), token)

    def trusted_root(self, **changes: Any) -> dict[str, Any]:
        valid = {"start": "2024-01-01T00:00:00Z"}
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log_instance(self.rekor.key, self.rekor.log_id)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "sigstore", "commonName": "root"},
                    "uri": "https://fulcio.example.com",
                    "certChain": {"certificates": [{"rawBytes": b64(one.der)} for one in (self.middle, self.root)]},
                    "validFor": valid,
                }
            ],
            "ctlogs": [log_instance(self.certificate_log, hashlib.sha256(spki(self.certificate_log)).digest())],
            "timestampAuthorities": [
                {
                    "subject": {"organization": "sigstore", "commonName": "tsa"},
                    "certChain": {
                        "certificates": [{"rawBytes": b64(one.der)} for one in (self.tsa, self.tsa_middle, self.tsa_root)]
                    },
                    "validFor": valid,
                }
            ],
        }
        return document | changes


def log_instance(key: Any, log_id: bytes, **valid: str) -> dict[str, Any]:
    details = "PKIX_ED25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "PKIX_ECDSA_P256_SHA_256"
    return {
        "baseUrl": f"https://{ORIGIN}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": b64(spki(key)), "keyDetails": details, "validFor": {"start": "2024-01-01T00:00:00Z"} | valid},
        "logId": {"keyId": b64(log_id)},
    }
