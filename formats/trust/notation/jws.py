"""The JWS envelope of a Notary Project signature: flattened JSON serialization (RFC 7515 section 7.2.2).

notaryproject/specifications ``specs/signature-envelope-jws.md``.
"""

from __future__ import annotations

import binascii

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.rfc3339 import seconds_of
from rktpy.formats.trust import base64_strict
from rktpy.formats.trust.members import Members, shown
from rktpy.formats.trust.notation.envelope import (
    AGENT_NAME,
    MAX_CERTIFICATE,
    MAX_CERTIFICATES,
    MAX_SIZE,
    PAYLOAD_TYPE,
    TIMESTAMP_NAME,
    Envelope,
    check_certificates,
    read_payload,
    read_signed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The algorithms that the specification allows.
ALGORITHMS = ("PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_TO_STANDARD = str.maketrans("-_", "+/")
_URL_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def parse(data: bytes, what: str = "JWS envelope") -> Envelope:
    """Read an envelope. Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    doc = Members(jsondoc.parse_object(data, what), what, "")
    payload, protected, signature = (doc.text(name) for name in ("payload", "protected", "signature"))
    unprotected = _object(doc.take("header"), what)
    doc.end()
    where = f"{what}: protected"
    headers = jsondoc.parse_object(decode_url(protected, what, "protected"), where)
    for name in unprotected:
        # RFC 7515 section 7.2.1: the two are disjoint. What only counts when it is signed must not stand outside either.
        if name in headers or name in ("alg", "cty", "crit", "b64"):
            raise FormatError(what, "header", f"{shown(name)!r} belongs into the protected header")
    algorithm = headers.get("alg")
    if algorithm not in ALGORITHMS:
        raise FormatError(where, "alg", "is missing" if algorithm is None else f"is {_shown(algorithm)}, which is not allowed")
    if "b64" in headers:
        raise FormatError(where, "b64", "has no place in a Notary Project signature")
    if headers.get("cty") != PAYLOAD_TYPE:
        raise FormatError(where, "cty", f"must be {PAYLOAD_TYPE!r}")
    critical = _list(headers.get("crit"))
    if not critical or not all(type(name) is str for name in critical):
        raise FormatError(where, "crit", "must be a list of names")
    signed = read_signed(headers, critical, lambda value, path: _time(value, where, path), where)
    return Envelope(
        algorithm,
        signed.scheme,
        signed.signed_at,
        signed.expiry,
        _chain(unprotected, what),
        _timestamp(unprotected, what),
        _agent(unprotected, what),
        f"{protected}.{payload}".encode("ascii"),
        decode_url(signature, what, "signature"),
        read_payload(decode_url(payload, what, "payload"), f"{what}: payload"),
    )


def _chain(header: dict[str, Any], what: str) -> tuple[bytes, ...]:
    texts = _list(header.get("x5c"))
    if texts is None:
        raise FormatError(what, "header.x5c", "must be a list of certificates")
    found = [
        base64_strict.decode(text, what, f"header.x5c[{number}]", MAX_CERTIFICATE)
        for number, text in enumerate(texts[: MAX_CERTIFICATES + 1])
    ]
    return check_certificates(found, what, "header.x5c")


def _list(value: Any) -> list[Any] | None:
    return value if type(value) is list else None  # pyright: ignore[reportUnknownVariableType]


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise FormatError(what, "header", "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _timestamp(header: dict[str, Any], what: str) -> bytes:
    if TIMESTAMP_NAME not in header:
        return b""
    return base64_strict.decode(header[TIMESTAMP_NAME], what, f"header.{TIMESTAMP_NAME}", MAX_SIZE)


def _agent(header: dict[str, Any], what: str) -> str:
    agent = header.get(AGENT_NAME, "")
    if type(agent) is not str:
        raise FormatError(what, f"header.{AGENT_NAME}", "must be a string")
    return agent


def _time(value: Any, what: str, path: str) -> int:
    if type(value) is not str:
        raise FormatError(what, path, "must be a time")
    try:
        return seconds_of(value)
    except ValueError as error:
        raise FormatError(what, path, str(error)) from None


def _shown(value: Any) -> str:
    return repr(shown(value)) if type(value) is str else "no text"


def decode_url(text: str, what: str, path: str) -> bytes:
    """The bytes of base64url text without padding, in its only spelling. Raises :class:`FormatError`."""
    if not _URL_ALPHABET.issuperset(text):
        raise FormatError(what, path, "is not base64url without padding")
    try:
        data = binascii.a2b_base64(text.translate(_TO_STANDARD) + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        raise FormatError(what, path, "is not base64url without padding") from None
    if encode_url(data) != text:
        raise FormatError(what, path, "is not base64url in its only spelling")
    return data


def encode_url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    text = binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=")
    return text.replace("+", "-").replace("/", "_")
