"""RFC 3161 time stamps: was this there at that time, by an authority that is trusted for it?

What is checked of a token (RFC 3161 section 2.4.2 and 2.3, RFC 5652 section 5.6, RFC 5816):

- its message imprint is the SHA-256, SHA-384 or SHA-512 of the bytes in question;
- the signed attributes are there (contentType, messageDigest over the TSTInfo, signingCertificateV2) and name the certificate
  that made the signature, which is right;
- that certificate has a critical extended key usage with timeStamping and nothing else, and leads to a root of one of the
  authorities, all certificates on the way being valid at the time of the token within its accuracy.

Cold path: imports ``cryptography``. The result depends on the arguments only, never on the clock, so it may be remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import Certificate

from rktpy.errors import FormatError
from rktpy.formats.rfc3339 import text_of
from rktpy.formats.trust import timestamp_token
from rktpy.formats.trust.timestamp_token import Token
from rktpy.record import Record
from rktpy.trust.certificate_path import PathProblem, extended_purposes, find_path, load, name_of

_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
#: Signature algorithms and the hash that they fix; None leaves it to ``digestAlgorithm``.
_RSA = {
    "1.2.840.113549.1.1.1": None,
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
}
_RSA_PSS = "1.2.840.113549.1.1.10"
_ECDSA = {
    "1.2.840.10045.2.1": None,
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
_ED25519 = "1.3.101.112"
#: RFC 3628 section 5.2: tokens under the baseline policy are accurate to one second, also when they do not say so.
_BASELINE_POLICY = "0.4.0.2023.1.1"
_TOO_FAR = 1 << 62


class Authority(Record):
    """A time-stamping authority that is trusted: DER certificates, and from when to when (seconds since the epoch, inclusive).

    ``roots`` are the anchors, ``intermediates`` help to find a way to them and may hold the signer's certificate for tokens that
    carry none. ``signer``, when given, is the only certificate that may have signed.
    """

    roots: tuple[bytes, ...]
    intermediates: tuple[bytes, ...] = ()
    signer: bytes = b""
    starts: int = 0
    ends: int = _TOO_FAR

    @classmethod
    def from_chain(cls, chain: Sequence[bytes], starts: int = 0, ends: int = _TOO_FAR) -> Authority:
        """An authority by its chain, leaf first, root last, as a sigstore trusted root has it."""
        return cls(tuple(chain[-1:]), tuple(chain[1:-1]), chain[0] if len(chain) > 1 else b"", starts, ends)


def verify_token(token: bytes, message: bytes, authorities: Sequence[Authority]) -> dict[str, Any]:
    """What the time-stamp token proves of ``message`` (the stamped bytes; for a signature, the signature's bytes).

    ``token`` is a DER ContentInfo (see :func:`rktpy.formats.trust.timestamp_token.token_of_response` for a TimeStampResp).
    Returns a fact of JSON values: for a good token ``time`` (seconds since the epoch, rounded down), ``earliest`` and ``latest``
    (the same with the token's accuracy taken off and added, rounded outwards), ``tsa`` (the signer's subject as RFC 4514 text),
    ``certificate`` (SHA-256 of the signer's certificate, hex) and ``root`` (that of the root). Otherwise only ``problem``: one
    line in lower case that says what is wrong. Nothing is raised for bad tokens, nor for bad certificates of authorities.
    """
    return verify_token_with_path(token, message, authorities)[0]


def verify_token_with_path(
    token: bytes, message: bytes, authorities: Sequence[Authority]
) -> tuple[dict[str, Any], tuple[Certificate, ...]]:
    """Like :func:`verify_token`, and the certificates from the signer to the root (none for a token that proves nothing)."""
    try:
        return _verify(timestamp_token.parse(token), message, authorities)
    except FormatError as error:
        return {"problem": str(error)}, ()
    except PathProblem as problem:
        return {"problem": f"time-stamp token: {problem}"}, ()


def _verify(token: Token, message: bytes, authorities: Sequence[Authority]) -> tuple[dict[str, Any], tuple[Certificate, ...]]:
    if hashlib.new(token.imprint_hash, message).digest() != token.imprint:
        raise PathProblem("is over other bytes (the message imprint does not match)")
    if hashlib.new(token.digest_hash, token.info).digest() != token.digest:
        raise PathProblem("the message digest does not match the content")
    if not authorities:
        raise PathProblem("no time-stamping authority is trusted")
    signer_der = _signer(token, authorities)
    signer = load(signer_der, "the signer's certificate")
    _check_signer(token, signer)
    _check_signature(token, signer)
    accuracy = token.accuracy
    if not token.accuracy_stated and token.policy == _BASELINE_POLICY:
        accuracy = 1_000_000
    earliest = token.seconds + (token.microseconds - accuracy) // 1_000_000
    latest = token.seconds - (-token.microseconds - accuracy) // 1_000_000
    path = _trusted_path(token, signer, signer_der, authorities, (earliest, latest))
    fact = {
        "time": token.seconds,
        "earliest": earliest,
        "latest": latest,
        "tsa": signer.subject.rfc4514_string(),
        "certificate": hashlib.sha256(signer_der).hexdigest(),
        "root": path[-1].fingerprint(hashes.SHA256()).hex(),
    }
    return fact, path


def _signer(token: Token, authorities: Sequence[Authority]) -> bytes:
    """The certificate that the signed attributes name by its digest."""
    held = [*token.certificates]
    for authority in authorities:
        held += [*((authority.signer,) if authority.signer else ()), *authority.intermediates]
    for der in held:
        if hashlib.new(token.certificate_hash, der).digest() == token.certificate_digest:
            return der
    raise PathProblem("the signer's certificate (signingCertificateV2) is not there")


def _check_signer(token: Token, signer: Certificate) -> None:
    issuer_serial = (signer.serial_number, signer.issuer.public_bytes())
    if token.certificate_issuer is not None and token.certificate_issuer != issuer_serial:
        raise PathProblem("signingCertificateV2 names another issuer or serial number than the signer's certificate has")
    if token.serial_issuer is not None:
        if token.serial_issuer != issuer_serial:
            raise PathProblem("the signer is not the one that signingCertificateV2 names")
    else:
        try:
            held = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        except x509.ExtensionNotFound:
            held = b""
        if not held or held != token.key_identifier:
            raise PathProblem("the signer is not the one that signingCertificateV2 names")
    name = name_of(signer)
    if extended_purposes(signer) != (_TIME_STAMPING,):
        raise PathProblem(f"certificate {name} does not have timeStamping as its only extended key usage")
    if not signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).critical:
        raise PathProblem(f"the extended key usage of certificate {name} is not critical")
    try:
        usage = signer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.content_commitment):
        raise PathProblem(f"the key usage of certificate {name} does not allow signatures")


def _check_signature(token: Token, signer: Certificate) -> None:
    key = signer.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey) and token.algorithm in _RSA:
            digest = _hash(token, _RSA[token.algorithm])
            key.verify(token.signature, token.signed, padding.PKCS1v15(), digest)
        elif isinstance(key, rsa.RSAPublicKey) and token.algorithm == _RSA_PSS and token.pss is not None:
            digest = _hash(token, token.pss.hash)
            scheme = padding.PSS(padding.MGF1(_HASHES[token.pss.mgf_hash]), token.pss.salt)
            key.verify(token.signature, token.signed, scheme, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and token.algorithm in _ECDSA:
            key.verify(token.signature, token.signed, ec.ECDSA(_hash(token, _ECDSA[token.algorithm])))
        elif isinstance(key, ed25519.Ed25519PublicKey) and token.algorithm == _ED25519:
            key.verify(token.signature, token.signed)
        else:
            raise PathProblem(f"the signature algorithm {token.algorithm} does not fit the signer's key")
    except InvalidSignature:
        raise PathProblem("the signature is wrong") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PathProblem(f"the signature cannot be checked: {error}") from None


def _hash(token: Token, fixed: str | None) -> hashes.HashAlgorithm:
    if fixed is not None and fixed != token.digest_hash:
        raise PathProblem(f"the digest is {token.digest_hash} but the signature is made with {fixed}")
    return _HASHES[token.digest_hash]


def _trusted_path(
    token: Token, signer: Certificate, signer_der: bytes, authorities: Sequence[Authority], window: tuple[int, int]
) -> tuple[Certificate, ...]:
    """The way from the signer to a root. The last problem is told when there is none."""
    sent = [load(der, f"certificate {number} of the token") for number, der in enumerate(token.certificates)]
    problem = PathProblem("")
    for authority in authorities:
        try:
            if authority.signer and authority.signer != signer_der:
                raise PathProblem(f"certificate {name_of(signer)} is not that of the trusted authority")
            if not authority.starts <= window[0] or not window[1] <= authority.ends:
                raise PathProblem(f"the authority was not trusted at {text_of(token.seconds)}")
            roots = [load(der, "a trusted root") for der in authority.roots]
            others = [load(der, "a certificate of the trusted authority") for der in authority.intermediates]
            return find_path(signer, [*others, *sent], roots, window, _TIME_STAMPING)
        except PathProblem as found:
            problem = found
    raise problem
