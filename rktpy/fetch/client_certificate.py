"""The client certificate of a registry, examined before it is used.

TLS libraries answer a wrong pair with a line that names neither file; who keeps certificates in certs.d wants to know which one
has expired or does not fit. Cold-path module.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from rktpy.errors import ConfigError


def check_pair(certificate_path: str, key_path: str) -> None:
    """Check that the PEM files are a certificate that is valid now and its unencrypted private key. Raises ConfigError."""
    certificate = _certificate(certificate_path)
    now = datetime.now(UTC)
    after = certificate.not_valid_after_utc
    before = certificate.not_valid_before_utc
    if now > after:
        raise ConfigError(f"client certificate {certificate_path} has expired on {after:%Y-%m-%d}")
    if now < before:
        raise ConfigError(f"client certificate {certificate_path} is not valid before {before:%Y-%m-%d}")
    try:
        key = load_pem_private_key(_read(key_path), None)
    except TypeError:
        raise ConfigError(f"client key {key_path} is encrypted") from None
    except ValueError as error:
        raise ConfigError(f"client key {key_path} is not a private key in PEM form") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise ConfigError(f"client key {key_path} does not belong to the certificate {certificate_path}")


def _certificate(path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise ConfigError(f"client certificate {path} is not a certificate in PEM form") from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise ConfigError("cannot read a client certificate") from error
