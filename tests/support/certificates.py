"""Certificates for tests, made with ``cryptography``: every property can be made wrong."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

# 2024-01-01 to 2034-01-01, in seconds since the epoch.
START = 1704067200
END = 2019686400
YEAR = 365 * 86400

_NAMES = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
}
_keys: dict[str, list[Any]] = {}


def new_key(kind: str = "P-256", number: int = 0) -> Any:
    """A private key (``P-256``, ``P-384``, ``P-521``, ``P-224``, ``RSA-2048`` …). The same number gives the same key."""
    held = _keys.setdefault(kind, [])
    while len(held) <= number:
        if kind.startswith("RSA-"):
            held.append(rsa.generate_private_key(65537, int(kind[4:])))
        else:
            curves: dict[str, ec.EllipticCurve] = {
                "P-224": ec.SECP224R1(),
                "P-256": ec.SECP256R1(),
                "P-384": ec.SECP384R1(),
                "P-521": ec.SECP521R1(),
                "K-256": ec.SECP256K1(),
            }
            held.append(ec.generate_private_key(curves[kind]))
    return held[number]


def name(text: str) -> x509.Name:
    """``C=US,ST=WA,O=Example`` in that order; values with ``\\,`` keep the comma."""
    attributes: list[x509.NameAttribute] = []
    for part in text.replace("\\,", "\0").split(","):
        kind, _, value = part.partition("=")
        attributes.append(x509.NameAttribute(_NAMES[kind], value.replace("\0", ",")))
    return x509.Name(attributes)


@dataclass(frozen=True)
class Issued:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Any = field(repr=False)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def issue(
    subject: str,
    issuer: Issued | None = None,
    *,
    key: Any = None,
    ca: bool | None = None,
    path_length: int | None = None,
    usage: Sequence[str] | None = None,
    usage_critical: bool = True,
    constraints_critical: bool = True,
    purposes: Sequence[ObjectIdentifier] = (),
    purposes_critical: bool = False,
    start: int = START,
    end: int = END,
    digest: Any = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    identifiers: bool = True,
    issuer_name: str | None = None,
) -> Issued:
    """Issue a certificate; without ``issuer`` it signs itself. ``usage`` is the key usage (empty: no such extension)."""
    key = key if key is not None else new_key()
    if ca is None:
        ca = issuer is None
    if usage is None:
        usage = ("key_cert_sign", "crl_sign") if ca else ("digital_signature",)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer_name) if issuer_name else issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_date(start))
        .not_valid_after(_date(end))
    )
    builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), constraints_critical)
    if usage:
        builder = builder.add_extension(x509.KeyUsage(**{flag: flag in usage for flag in _USAGES}), usage_critical)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), purposes_critical)
    if identifiers:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(issuer.key if issuer else key, digest or hashes.SHA256())
    return Issued(certificate, key)


def _date(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def tsa_chain(*, kind: str = "P-256", **changes: Any) -> tuple[Issued, Issued, Issued]:
    """Root, intermediate and a signer for time stamps; ``changes`` are made to the signer."""
    root = issue("C=US,ST=WA,O=Time,CN=TSA Root", key=new_key("P-256", 10))
    middle = issue(
        "C=US,ST=WA,O=Time,CN=TSA CA", root, key=new_key("P-256", 11), ca=True, purposes=[ExtendedKeyUsageOID.TIME_STAMPING]
    )
    settings: dict[str, Any] = {
        "key": new_key(kind, 12),
        "purposes": [ExtendedKeyUsageOID.TIME_STAMPING],
        "purposes_critical": True,
    }
    return root, middle, issue("C=US,ST=WA,O=Time,CN=TSA", middle, **(settings | changes))
