"""Make what cosign makes with a private key: signatures of the old scheme, sigstore bundles, attestations.

cosign ``specs/SIGNATURE_SPEC.md``, ``ATTESTATION_SPEC.md``, ``BUNDLE_SPEC.md``; protobuf-specs ``sigstore_bundle.proto``.
Nothing is sent to a transparency log. No I/O: bytes come in and go out, with the annotations that belong to them.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from rktpy.errors import ConfigError
from rktpy.formats import jsondoc
from rktpy.formats.oci.artifacts import COSIGN_SIGN
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.trust import base64_strict, cosign_annotations, cosign_payload, dsse, intoto, sigstore_bundle
from rktpy.formats.trust.dsse import Envelope
from rktpy.trust.cosign_private_key import load_private_key
from rktpy.trust.public_keys import PublicKey

#: Annotations of the manifest that refers to an image with a bundle.
CONTENT = "dev.sigstore.bundle.content"
PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"
#: The annotation of a layer in cosign's ``.att`` tag.
LAYER_PREDICATE_TYPE = "predicateType"

Annotations = tuple[tuple[str, str], ...]

_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_OF_CURVE = {"secp256r1": "sha256", "secp384r1": "sha384", "secp521r1": "sha512"}


class SigningKey:
    """A private key that signs. ``public`` is its public half, ``hint`` the name that cosign gives it in bundles."""

    def __init__(self, key: Any) -> None:
        self._key = key
        self.public = PublicKey(key.public_key(), "signing key")
        self.hint = base64_strict.encode(hashlib.sha256(self.public.der).digest())

    @property
    def hash(self) -> str:
        """The hash that belongs to the key (``sha256``…), empty for Ed25519, which has none."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            return _OF_CURVE[self._key.curve.name]
        return "sha256" if isinstance(self._key, rsa.RSAPrivateKey) else ""

    def sign(self, message: bytes, algorithm: str) -> bytes:
        """The signature over ``message``; ``algorithm`` is the hash, and of no account for Ed25519."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            signature: bytes = self._key.sign(message, ec.ECDSA(_HASHES[algorithm]))
        elif isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(message, padding.PKCS1v15(), _HASHES[algorithm])
        else:
            signature = self._key.sign(message)
        return signature


def load_key(data: bytes, password: bytes | None = None) -> SigningKey:
    """The key of a PEM file, which may be in cosign's encrypted form. Raises :class:`ConfigError`."""
    return SigningKey(load_private_key(data, password))


def sign_image(key: SigningKey, digest: str, repository: str) -> tuple[bytes, Annotations]:
    """A signature of the old scheme: the payload of a layer of the tag ``.sig``, and the layer's annotations.

    ``digest`` is that of the manifest, ``repository`` the name without a tag (``registry.example/app``). The hash is SHA-256 for
    every kind of key: verifiers of the old scheme know no other. Raises :class:`FormatError` for a bad digest.
    """
    parse_digest(digest, "digest to sign", "")
    payload = cosign_payload.written(digest, repository)
    signature = key.sign(payload, "sha256")
    return payload, ((cosign_annotations.SIGNATURE, base64_strict.encode(signature)),)


def sign_bundle(key: SigningKey, digest: str) -> tuple[bytes, Annotations]:
    """A bundle that signs the image as cosign 3 does, and the annotations of the manifest that refers with it to the image.

    ``digest`` is that of the image's manifest. Raises :class:`FormatError` for a bad digest.
    """
    return attest_bundle(key, digest, COSIGN_SIGN, {})


def attest_bundle(key: SigningKey, digest: str, predicate_type: str, predicate: dict[str, Any]) -> tuple[bytes, Annotations]:
    """Like :func:`sign_bundle`, for an attestation: ``predicate`` is what is attested, of the type ``predicate_type``."""
    content = {"dsseEnvelope": _attested(key, digest, predicate_type, predicate, key.hint).to_dict()}
    bundle = jsondoc.dump(sigstore_bundle.with_key(content, key.hint))
    return bundle, ((CONTENT, "dsse-envelope"), (PREDICATE_TYPE, predicate_type))


def attest_image(key: SigningKey, digest: str, predicate_type: str, predicate: dict[str, Any]) -> tuple[bytes, Annotations]:
    """An attestation of the old scheme: the envelope of a layer of the tag ``.att``, and the layer's annotations."""
    envelope = _attested(key, digest, predicate_type, predicate, "")
    # The old scheme's readers want the member to be there even when it says nothing.
    document = envelope.to_dict()
    document["signatures"][0].setdefault("keyid", "")
    return jsondoc.dump(document), ((cosign_annotations.SIGNATURE, ""), (LAYER_PREDICATE_TYPE, predicate_type))


def sign_message_bundle(key: SigningKey, message: bytes) -> tuple[bytes, Annotations]:
    """A bundle that signs ``message`` itself: the bytes of the image's manifest.

    Whoever verifies an image has the SHA-256 of its manifest at hand, so the signature must be over that. Raises
    :class:`ConfigError` for keys with which it is not.
    """
    if key.hash != "sha256":
        raise ConfigError(f"signing key: a key of the kind {key.public.kind} does not sign a SHA-256; sign an envelope instead")
    digest = hashlib.sha256(message).digest()
    content = {
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": base64_strict.encode(digest)},
            "signature": base64_strict.encode(key.sign(message, key.hash)),
        }
    }
    return jsondoc.dump(sigstore_bundle.with_key(content, key.hint)), ((CONTENT, "message-signature"),)


def _attested(key: SigningKey, digest: str, predicate_type: str, predicate: dict[str, Any], key_id: str) -> Envelope:
    parse_digest(digest, "digest to sign", "")
    statement = intoto.written(digest, predicate_type, predicate)
    signature = key.sign(dsse.pre_authentication_encoding(dsse.IN_TOTO, statement), key.hash)
    return Envelope(dsse.IN_TOTO, statement, signature, key_id)
