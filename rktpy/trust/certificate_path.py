"""Certification paths to given roots at a given time (RFC 5280 section 6, with the choices below).

Roots are trust anchors, but what they say of themselves counts: a root that has expired, or is no CA, leads nowhere. Refused:
critical extensions that nobody here understands (name constraints and policy constraints among them), signatures with SHA-1 or
MD5, RSA keys below 2048 bits and elliptic curves below 256. Revocation is not looked at.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtensionOID

from rktpy.formats.rfc3339 import text_of

MAX_LENGTH = 8
#: How many signatures are checked before a search is given up: certificates can be arranged so that paths multiply.
MAX_CHECKS = 64
_ANY_PURPOSE = "2.5.29.37.0"
_UNDERSTOOD = frozenset(
    oid.dotted_string
    for oid in (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    )
)

#: What ``cryptography`` raises for bytes that it cannot read.
UNREADABLE = (
    ValueError,
    KeyError,  # for kinds of strings that do not exist, up to version 43
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class PathProblem(Exception):
    """Why a certificate leads to no root. The text is one line in lower case."""


def load(der: bytes, what: str) -> Certificate:
    """Read a DER certificate with all its extensions. Raises :class:`PathProblem`."""
    try:
        with warnings.catch_warnings():
            # About serial numbers that RFC 5280 disallows, countries of three letters: nothing that a user could change.
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(der)
            certificate.extensions  # noqa: B018  (parsed on first use, and then it may raise)
            certificate.issuer.public_bytes()
            certificate.subject.public_bytes()
            certificate.public_key()
    except UNREADABLE as error:
        raise PathProblem(f"{what} is not a certificate that can be read: {_printable(str(error))}") from None
    return certificate


def find_path(
    leaf: Certificate, intermediates: Sequence[Certificate], roots: Sequence[Certificate], window: tuple[int, int], purpose: str
) -> tuple[Certificate, ...]:
    """The certificates from ``leaf`` to one of ``roots``, both included.

    All must be valid during the whole ``window`` (first and last second since the epoch). ``purpose`` is the OID of an extended
    key usage that no certificate on the way may exclude; what the leaf itself must have is the caller's to check. Raises
    :class:`PathProblem`.
    """
    check_certificate(leaf, window)
    return _Search(intermediates, roots, window, purpose).run(leaf)


class _Search:
    def __init__(
        self, intermediates: Sequence[Certificate], roots: Sequence[Certificate], window: tuple[int, int], purpose: str
    ) -> None:
        self._intermediates = intermediates
        self._roots = roots
        self._window = window
        self._purpose = purpose
        self._checks = 0
        self._problem = ""

    def run(self, leaf: Certificate) -> tuple[Certificate, ...]:
        path = self._extend((leaf,))
        if path is None:
            raise PathProblem(self._problem or f"no trusted root issued certificate {name_of(leaf)}")
        return path

    def _extend(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        for issuer, is_root in self._candidates(path[-1]):
            if issuer in path:
                continue
            self._checks += 1
            if self._checks > MAX_CHECKS or len(path) >= MAX_LENGTH:
                self._problem = f"gave up the search for the issuer of certificate {name_of(path[0])}"
                return None
            try:
                check_issued(path[-1], issuer)
                check_authority(issuer, _below(path), self._purpose)
                check_certificate(issuer, self._window)
            except PathProblem as problem:
                self._problem = str(problem)
                continue
            found = (*path, issuer) if is_root else self._extend((*path, issuer))
            if found is not None:
                return found
        return None

    def _candidates(self, certificate: Certificate) -> Iterator[tuple[Certificate, bool]]:
        for held, is_root in ((self._roots, True), (self._intermediates, False)):
            for candidate in held:
                if candidate.subject == certificate.issuer:
                    yield candidate, is_root


def _below(path: tuple[Certificate, ...]) -> int:
    """How many intermediate certificates that are not self-issued lie below the next one (RFC 5280 section 4.2.1.9)."""
    return sum(certificate.subject != certificate.issuer for certificate in path[1:])


def check_issued(certificate: Certificate, issuer: Certificate) -> None:
    """Raise :class:`PathProblem` unless ``issuer`` signed ``certificate`` with a hash that still counts."""
    try:
        digest = certificate.signature_hash_algorithm
        if digest is not None and not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
            raise PathProblem(f"certificate {name_of(certificate)} is signed with {digest.name}, which is too weak")
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        raise PathProblem(f"certificate {name_of(certificate)} is not signed by {name_of(issuer)}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PathProblem(f"certificate {name_of(certificate)} cannot have been issued by {name_of(issuer)}") from None


def check_authority(certificate: Certificate, below: int, purpose: str) -> None:
    """Raise :class:`PathProblem` unless this is a CA that may have ``below`` others under it, and be used for ``purpose``."""
    name = name_of(certificate)
    extensions = certificate.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise PathProblem(f"certificate {name} is not a CA") from None
    if not constraints.ca:
        raise PathProblem(f"certificate {name} is not a CA")
    if constraints.path_length is not None and constraints.path_length < below:
        raise PathProblem(f"certificate {name} allows only {constraints.path_length} CAs below itself")
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise PathProblem(f"certificate {name} has no key usage, so it may not sign certificates") from None
    if not usage.key_cert_sign:
        raise PathProblem(f"certificate {name} may not sign certificates")
    purposes = extended_purposes(certificate)
    if purposes and purpose not in purposes and _ANY_PURPOSE not in purposes:
        raise PathProblem(f"certificate {name} is not for this purpose")


def check_certificate(certificate: Certificate, window: tuple[int, int]) -> None:
    """Raise :class:`PathProblem` unless valid during the window, with a strong key and no critical extension that is unknown."""
    name = name_of(certificate)
    starts, ends = validity(certificate)
    if window[0] < starts:
        raise PathProblem(f"certificate {name} is not valid before {text_of(starts)}")
    if window[1] > ends:
        raise PathProblem(f"certificate {name} expired at {text_of(ends)}")
    for extension in certificate.extensions:
        if extension.critical and extension.oid.dotted_string not in _UNDERSTOOD:
            raise PathProblem(
                f"certificate {name} has the critical extension {extension.oid.dotted_string}, which is not understood"
            )
    if problem := weak_key(certificate):
        raise PathProblem(f"certificate {name} {problem}")


def weak_key(certificate: Certificate) -> str:
    """What is wrong with the certificate's key (``has …``); empty if nothing."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"has an RSA key of {key.key_size} bits, which is too weak" if key.key_size < 2048 else ""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"has a key on the weak curve {key.curve.name}" if key.curve.key_size < 256 else ""
    return "" if isinstance(key, ed25519.Ed25519PublicKey) else "has a key of an unknown kind"


def extended_purposes(certificate: Certificate) -> tuple[str, ...]:
    """The OIDs of the extended key usage, none when the extension is absent."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return ()
    return tuple(purpose.dotted_string for purpose in usage.value)


def validity(certificate: Certificate) -> tuple[int, int]:
    """The first and the last second, since the epoch, at which the certificate is valid."""
    return int(certificate.not_valid_before_utc.timestamp()), int(certificate.not_valid_after_utc.timestamp())


def name_of(certificate: Certificate) -> str:
    """The subject in the form of RFC 4514, safe to print."""
    return repr(_printable(certificate.subject.rfc4514_string()))


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
