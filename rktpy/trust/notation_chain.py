"""The chain of certificates in a Notary Project signature: its order, and what each certificate must be.

notaryproject/specifications ``signature-specification.md``, "Certificate Requirements". Only basic constraints, key usage and
extended key usage are looked at; the specification wants all other extensions passed over. Validity periods are judged elsewhere,
for they depend on the clock.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate

from rktpy.trust.certificate_path import PathProblem, check_issued, extended_purposes, name_of, weak_key

_FORBIDDEN_USES = {
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}
_FORBIDDEN_PURPOSES = {
    "2.5.29.37.0": "anyExtendedKeyUsage",
    "1.3.6.1.5.5.7.3.1": "serverAuth",
    "1.3.6.1.5.5.7.3.2": "clientAuth",
    "1.3.6.1.5.5.7.3.4": "emailProtection",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
}
_RSA = {2048: "PS256", 3072: "PS384", 4096: "PS512"}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def check_chain(chain: Sequence[Certificate]) -> None:
    """Raise :class:`PathProblem` unless this is a whole chain, leaf first and root last, that may sign code."""
    _check_leaf(chain[0])
    if len(chain) == 1:
        _check_root(chain[0], "the only certificate of the chain")
        return
    for number, certificate in enumerate(chain):
        name = name_of(certificate)
        last = number == len(chain) - 1
        if number:
            _check_authority(certificate, number - 1)
        if last:
            _check_root(certificate, "the last certificate of the chain")
            break
        if certificate.subject == certificate.issuer:
            raise PathProblem(f"certificate {name} is self-signed but not the last of the chain")
        issuer = chain[number + 1]
        if issuer.subject != certificate.issuer:
            raise PathProblem(f"the chain is out of order: certificate {name} is not followed by its issuer")
        check_issued(certificate, issuer)


def algorithm_of(leaf: Certificate) -> str:
    """The signature algorithm that the leaf's key decides, by its JWS name. Raises :class:`PathProblem`."""
    key = leaf.public_key()
    name = ""
    if isinstance(key, rsa.RSAPublicKey):
        name = _RSA.get(key.key_size, "")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        name = _CURVES.get(key.curve.name, "")
    if not name:
        raise PathProblem(f"the key of certificate {name_of(leaf)} is none of RSA 2048, 3072, 4096, P-256, P-384 and P-521")
    return name


def check_anchor(certificate: Certificate, kind: str) -> str:
    """Why a certificate must not stand in a trust store of this type; empty if it may."""
    ca = _is_authority(certificate)
    if kind == "tsa" and not (ca and _is_self_signed(certificate)):
        return "is not the certificate of a root CA"
    if not ca and not _is_self_signed(certificate):
        return "is neither a CA nor self-signed"
    return ""


def _is_self_signed(certificate: Certificate) -> bool:
    try:
        check_issued(certificate, certificate)
    except PathProblem:
        return False
    return True


def _is_authority(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_root(certificate: Certificate, what: str) -> None:
    if certificate.subject != certificate.issuer:
        raise PathProblem(f"{what}, {name_of(certificate)}, is not a root (a chain must be complete)")
    check_issued(certificate, certificate)


def _check_authority(certificate: Certificate, below: int) -> None:
    name = name_of(certificate)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        raise PathProblem(f"certificate {name} is not a CA") from None
    if not constraints.value.ca:
        raise PathProblem(f"certificate {name} is not a CA")
    if not constraints.critical:
        raise PathProblem(f"the basic constraints of certificate {name} are not critical")
    if constraints.value.path_length is not None and constraints.value.path_length < below:
        raise PathProblem(f"certificate {name} allows only {constraints.value.path_length} CAs below itself")
    if not _usage(certificate).key_cert_sign:
        raise PathProblem(f"certificate {name} may not sign certificates")
    _check_key(certificate)


def _check_leaf(certificate: Certificate) -> None:
    name = name_of(certificate)
    if _is_authority(certificate):
        raise PathProblem(f"certificate {name} is that of a CA, which may not sign artifacts")
    usage = _usage(certificate)
    if not usage.digital_signature:
        raise PathProblem(f"the key usage of certificate {name} lacks digitalSignature")
    for attribute, use in _FORBIDDEN_USES.items():
        if getattr(usage, attribute):
            raise PathProblem(f"the key usage of certificate {name} must not have {use}")
    for purpose in extended_purposes(certificate):
        if purpose in _FORBIDDEN_PURPOSES:
            raise PathProblem(f"the extended key usage of certificate {name} must not have {_FORBIDDEN_PURPOSES[purpose]}")
    _check_key(certificate)


def _usage(certificate: Certificate) -> x509.KeyUsage:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        raise PathProblem(f"certificate {name_of(certificate)} has no key usage") from None
    if not usage.critical:
        raise PathProblem(f"the key usage of certificate {name_of(certificate)} is not critical")
    return usage.value


def _check_key(certificate: Certificate) -> None:
    if problem := weak_key(certificate):
        raise PathProblem(f"certificate {name_of(certificate)} {problem}")
