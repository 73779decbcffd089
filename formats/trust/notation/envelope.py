"""Notary Project signature envelopes: what a JWS and a COSE envelope have in common.

notaryproject/specifications ``signature-specification.md`` (payload, signed and unsigned attributes) and ``signing-scheme.md``.
Strict: what is signed must hold exactly what the specification names; an unknown critical attribute fails, an unknown attribute
that is not critical is passed over, as the specification asks. Nothing is verified here.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.trust.members import Members, shown
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

JWS_TYPE = "application/jose+json"
COSE_TYPE = "application/cose"
ARTIFACT_TYPE = "application/vnd.cncf.notary.signature"
PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
X509 = "notary.x509"
SIGNING_AUTHORITY = "notary.x509.signingAuthority"

#: Larger envelopes are not read, in bytes. One with a chain of three certificates and a time stamp has about 12 KiB.
MAX_SIZE = 1 << 20
#: Most certificates in a chain, and the largest certificate in bytes.
MAX_CERTIFICATES = 10
MAX_CERTIFICATE = 16 << 10

_PREFIX = "io.cncf.notary."
SCHEME_NAME = _PREFIX + "signingScheme"
TIME_NAME = _PREFIX + "signingTime"
AUTHENTIC_TIME_NAME = _PREFIX + "authenticSigningTime"
EXPIRY_NAME = _PREFIX + "expiry"
TIMESTAMP_NAME = _PREFIX + "timestampSignature"
AGENT_NAME = _PREFIX + "signingAgent"
PLUGIN_NAMES = (_PREFIX + "verificationPlugin", _PREFIX + "verificationPluginMinVersion")
_CRITICAL = (SCHEME_NAME, AUTHENTIC_TIME_NAME, EXPIRY_NAME)


class Target(Record):
    """The artifact that was signed: its manifest's media type, digest and size in bytes; and the signer's annotations."""

    media_type: str
    digest: str
    size: int
    annotations: tuple[tuple[str, str], ...] = ()


class Envelope(Record):
    """A signature envelope.

    ``algorithm`` is the JWS name (``ES256``) that the envelope states. ``signed_at`` is the signing time, to be believed in the
    scheme ``notary.x509.signingAuthority`` only, ``expiry`` the end of its use (0 for none); both in seconds since the epoch.
    ``certificates`` are DER, leaf first. ``timestamp`` is an RFC 3161 token over ``signature``, or empty. ``signed`` are the
    bytes that ``signature`` is over.
    """

    algorithm: str
    scheme: str
    signed_at: int
    expiry: int
    certificates: tuple[bytes, ...]
    timestamp: bytes
    agent: str
    signed: bytes
    signature: bytes
    target: Target


class Signed(Record):
    """The signed attributes that both envelopes share."""

    scheme: str
    signed_at: int
    expiry: int


def read_signed(headers: Mapping[Any, Any], critical: Sequence[Any], time: Callable[[Any, str], int], what: str) -> Signed:
    """Read the notary attributes of a protected header.

    ``critical`` is its list of critical attributes, ``time`` reads a time (value, path) in the envelope's own form. Raises
    :class:`FormatError`.
    """
    for name in critical:
        if name in PLUGIN_NAMES:
            break
        if name not in _CRITICAL:
            raise FormatError(what, "crit", f"has the critical attribute {_shown(name)}, which is not understood")
        if name not in headers:
            raise FormatError(what, "crit", f"names {_shown(name)}, which is not there")
    for name in PLUGIN_NAMES:
        if name in headers or name in critical:
            plugin = headers.get(name)
            raise FormatError(what, name, f"asks for the verification plugin {_shown(plugin)}, and rktpy runs none")
    if len(set(critical)) != len(critical):
        raise FormatError(what, "crit", "names an attribute twice")
    scheme = headers.get(SCHEME_NAME)
    if scheme not in (X509, SIGNING_AUTHORITY):
        raise FormatError(what, SCHEME_NAME, "is missing" if scheme is None else f"is the unknown scheme {_shown(scheme)}")
    due, foreign = (TIME_NAME, AUTHENTIC_TIME_NAME) if scheme == X509 else (AUTHENTIC_TIME_NAME, TIME_NAME)
    if foreign in headers:
        raise FormatError(what, foreign, f"has no place in the signing scheme {scheme}")
    if due not in headers:
        raise FormatError(what, due, "is missing")
    for name in _CRITICAL:
        if name in headers and name not in critical:
            raise FormatError(what, "crit", f"does not list {name}")
    expiry = time(headers[EXPIRY_NAME], EXPIRY_NAME) if EXPIRY_NAME in headers else 0
    return Signed(scheme, time(headers[due], due), expiry)


def read_payload(data: bytes, what: str) -> Target:
    """Read the payload, a JSON object with the one member ``targetArtifact``. Raises :class:`FormatError`."""
    doc = Members(jsondoc.parse_object(data, what), what, "")
    target = doc.inner("targetArtifact")
    doc.end()
    media_type = target.text("mediaType")
    digest = target.text("digest")
    parse_digest(digest, what, "targetArtifact.digest")
    size = target.take("size")
    if type(size) is not int or not 0 <= size < 1 << 63:
        target.fail("size", "must be a size in bytes")
    annotations: list[tuple[str, str]] = []
    if target.has("annotations"):
        held: Any = target.take("annotations")
        if type(held) is not dict:
            target.fail("annotations", "must be an object")
        pairs: list[tuple[str, Any]] = list(held.items())  # pyright: ignore[reportUnknownArgumentType]
        for name, value in pairs:
            if type(value) is not str:
                target.fail("annotations", "must hold strings")
            annotations.append((name, value))
    target.end()
    return Target(media_type, digest, size, tuple(annotations))


def check_certificates(certificates: Sequence[Any], what: str, path: str) -> tuple[bytes, ...]:
    """The certificates of a chain, which must be some and not too many. Raises :class:`FormatError`."""
    if not 1 <= len(certificates) <= MAX_CERTIFICATES:
        raise FormatError(what, path, f"must hold 1 to {MAX_CERTIFICATES} certificates, not {len(certificates)}")
    for number, certificate in enumerate(certificates):
        if type(certificate) is not bytes or not certificate or len(certificate) > MAX_CERTIFICATE:
            raise FormatError(what, f"{path}[{number}]", f"must be a DER certificate of at most {MAX_CERTIFICATE} bytes")
    return tuple(certificates)


def _shown(value: Any) -> str:
    return repr(shown(value)) if isinstance(value, str) else shown(repr(value))
