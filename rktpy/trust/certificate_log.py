"""Signed certificate timestamps: proof that a certificate log saw the certificate before it was issued (RFC 6962 section 3.2).

A Fulcio certificate carries the timestamp inside itself. What the log signed is the certificate without it, together with the
hash of the issuer's key, so both are put together again here.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.certificate_transparency import LogEntryType, SignedCertificateTimestamp, Version

from rktpy.trust.log_proofs import Log, Unproven

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_V1 = b"\0"
_CERTIFICATE_TIMESTAMP = b"\0"
_PRECERT_ENTRY = b"\0\1"
MAX_TIMESTAMPS = 16


def check_certificate_logged(leaf: x509.Certificate, issuer: x509.Certificate, logs: Sequence[Log]) -> None:
    """Raise :class:`Unproven` unless a timestamp in ``leaf`` is by one of ``logs``, and none of theirs is wrong.

    ``issuer`` is the certificate that signed ``leaf``.
    """
    if not logs:
        raise Unproven("no certificate log is trusted, so it cannot be told whether the certificate was logged")
    try:
        timestamps = list(leaf.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value)
    except x509.ExtensionNotFound:
        raise Unproven("the certificate has no signed certificate timestamp") from None
    except ValueError:
        raise Unproven("the certificate's signed certificate timestamps cannot be read") from None
    if len(timestamps) > MAX_TIMESTAMPS:
        raise Unproven(f"the certificate has more than {MAX_TIMESTAMPS} signed certificate timestamps")
    found = 0
    for timestamp in timestamps:
        for log in logs:
            if log.id == timestamp.log_id:
                _check(timestamp, leaf, issuer, log)
                found += 1
    if not found:
        raise Unproven("the certificate's signed certificate timestamps are of no log that is trusted")


def _check(timestamp: SignedCertificateTimestamp, leaf: x509.Certificate, issuer: x509.Certificate, log: Log) -> None:
    if timestamp.version != Version.v1 or timestamp.entry_type != LogEntryType.PRE_CERTIFICATE:
        raise Unproven("the signed certificate timestamp is not of a certificate that carries it")
    if not isinstance(timestamp.signature_hash_algorithm, hashes.SHA256):
        raise Unproven("the signed certificate timestamp is not made with SHA-256")
    when = timestamp.timestamp.replace(tzinfo=UTC) - _EPOCH
    milliseconds = when // timedelta(milliseconds=1)
    signed = _signed(leaf, issuer, milliseconds, timestamp.extension_bytes)
    if log.key.problem(timestamp.signature, signed):
        raise Unproven("the signed certificate timestamp is not signed by its log")
    if not log.period.covers(milliseconds // 1000):
        raise Unproven("the certificate log's key was not valid at the time of the signed certificate timestamp")


def _signed(leaf: x509.Certificate, issuer: x509.Certificate, milliseconds: int, extensions: bytes) -> bytes:
    try:
        body = leaf.tbs_precertificate_bytes
    except ValueError:
        raise Unproven("the certificate cannot be what its signed certificate timestamp is of") from None
    issuer_key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"".join(
        (
            _V1,
            _CERTIFICATE_TIMESTAMP,
            milliseconds.to_bytes(8, "big"),
            _PRECERT_ENTRY,
            hashlib.sha256(issuer_key).digest(),
            len(body).to_bytes(3, "big"),
            body,
            len(extensions).to_bytes(2, "big"),
            extensions,
        )
    )
