"""Public keys and the signatures that cosign, Rekor and the logs of certificates make with them.

The kind of key decides the algorithm, nothing in a signed document does: ECDSA (ASN.1 DER) with the hash that belongs to the
curve, or with SHA-256 as cosign made them before its third version; RSA PKCS #1 v1.5 with SHA-256; Ed25519 over the message
itself (algorithm registry of sigstore/architecture-docs; cosign ``SIGNATURE_SPEC.md``).

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from rktpy.errors import FormatError
from rktpy.formats.trust import pem

_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
#: Per curve: its name, and the hashes that are accepted with it.
_CURVES = {
    "secp256r1": ("ecdsa-p256", ("sha256",)),
    "secp384r1": ("ecdsa-p384", ("sha384", "sha256")),
    "secp521r1": ("ecdsa-p521", ("sha512", "sha256")),
}
_MIN_RSA, _MAX_RSA = 2048, 8192


class PublicKey:
    """A key that checks signatures.

    ``der`` is its SubjectPublicKeyInfo, ``fingerprint`` the SHA-256 of that (``sha256:<hex>``), ``kind`` its name in lower case.
    """

    def __init__(self, key: object, what: str) -> None:
        """Take a key of ``cryptography``. Raises :class:`FormatError` for kinds and sizes that are not supported."""
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
            self.kind, self._hashes = _CURVES[key.curve.name]
        elif isinstance(key, rsa.RSAPublicKey) and _MIN_RSA <= key.key_size <= _MAX_RSA:
            self.kind, self._hashes = f"rsa-{key.key_size}", ("sha256",)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            self.kind, self._hashes = "ed25519", ()
        else:
            raise FormatError(
                what, "", "is not a supported key (ECDSA P-256, P-384 or P-521, RSA of 2048 to 8192 bits, Ed25519 are)"
            )
        self._key = key
        self.der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint = "sha256:" + hashlib.sha256(self.der).hexdigest()

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key, nothing for others."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            return self._key.public_bytes_raw()
        return b""

    def problem(self, signature: bytes, message: bytes) -> str:
        """What is wrong with ``signature`` over ``message``; empty if it is good."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            if len(signature) != 64:
                return "an Ed25519 signature has 64 bytes"
            try:
                self._key.verify(signature, message)
            except InvalidSignature:
                return "the signature does not fit what it should sign"
            return ""
        malformed = self._form(signature)
        if malformed:
            return malformed
        for name in self._hashes:
            if self._verifies(signature, hashlib.new(name, message).digest(), name):
                return ""
        return "the signature does not fit what it should sign"

    def problem_with_digest(self, signature: bytes, digest: str) -> str:
        """Like :meth:`problem`, for a message of which only the ``digest`` (``sha256:…``) is known."""
        algorithm, _, encoded = digest.partition(":")
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            return "an Ed25519 signature is over the message, so its digest is not enough to check it"
        if algorithm not in self._hashes:
            return f"a signature over {algorithm} is not made with a key of the kind {self.kind}"
        malformed = self._form(signature)
        if malformed:
            return malformed
        return (
            ""
            if self._verifies(signature, bytes.fromhex(encoded), algorithm)
            else "the signature does not fit what it should sign"
        )

    def _form(self, signature: bytes) -> str:
        if not isinstance(self._key, ec.EllipticCurvePublicKey):
            return ""
        try:
            utils.decode_dss_signature(signature)
        except ValueError:
            if len(signature) == 2 * ((self._key.curve.key_size + 7) // 8):
                return "the ECDSA signature is r and s side by side, where ASN.1 DER is due"
            return "the ECDSA signature is not ASN.1 DER"
        return ""

    def _verifies(self, signature: bytes, digest: bytes, algorithm: str) -> bool:
        prehashed = utils.Prehashed(_HASHES[algorithm])
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, digest, ec.ECDSA(prehashed))
            elif isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, digest, padding.PKCS1v15(), prehashed)
            else:
                return False
        except InvalidSignature:
            return False
        return True


def from_pem(data: bytes, what: str) -> PublicKey:
    """Read the one key of a PEM file; ``what`` names the file. Raises :class:`FormatError`."""
    label, der = pem.blocks(data, what)[0]
    pem.one_block(data, ("PUBLIC KEY", "RSA PUBLIC KEY"), what)
    return from_der(der, what, pkcs1=label == "RSA PUBLIC KEY")


def from_der(der: bytes, what: str, *, pkcs1: bool = False) -> PublicKey:
    """Read a SubjectPublicKeyInfo, or with ``pkcs1`` an RSAPublicKey of RFC 8017. Raises :class:`FormatError`."""
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise FormatError(what, "", "is not a public key that can be read") from None
    loaded = PublicKey(key, what)
    if not pkcs1 and loaded.der != der:
        raise FormatError(what, "", "is not a public key in its only DER form")
    return loaded
