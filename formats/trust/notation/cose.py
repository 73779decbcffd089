"""The COSE envelope of a Notary Project signature: COSE_Sign1_Tagged (RFC 9052 section 4.2, RFC 9360 for ``x5chain``).

notaryproject/specifications ``specs/signature-envelope-cose.md``.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import cbor
from rktpy.formats.cbor import Tagged
from rktpy.formats.trust.members import shown
from rktpy.formats.trust.notation.envelope import (
    AGENT_NAME,
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

ALGORITHMS = {-37: "PS256", -38: "PS384", -39: "PS512", -7: "ES256", -35: "ES384", -36: "ES512"}
_ALG, _CRIT, _CONTENT_TYPE, _X5CHAIN = 1, 2, 3, 33


def parse(data: bytes, what: str = "COSE envelope") -> Envelope:
    """Read an envelope. Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    message = cbor.parse(data, what)
    if not isinstance(message, Tagged) or message.tag != cbor.TAG_SIGN1:
        raise FormatError(what, "", "is not a tagged COSE_Sign1 message")
    parts = _list(message.value)
    if parts is None or len(parts) != 4:
        raise FormatError(what, "", "must have four parts: protected, unprotected, payload, signature")
    protected: bytes = parts[0]
    payload: bytes = parts[2]
    signature: bytes = parts[3]
    for name, part in (("protected", protected), ("payload", payload), ("signature", signature)):
        if type(part) is not bytes or not part:
            raise FormatError(what, name, "must be a byte string that is not empty")
    where = f"{what}: protected"
    headers = _map(cbor.parse(protected, where), what)
    unprotected = _map(parts[1], what)
    for name in unprotected:
        if name in headers or name in (_ALG, _CRIT, _CONTENT_TYPE):
            raise FormatError(what, "unprotected", f"{_shown(name)} belongs into the protected header")
    algorithm = headers.get(_ALG)
    if type(algorithm) is not int or algorithm not in ALGORITHMS:
        raise FormatError(where, "alg", "is missing" if algorithm is None else f"is {_shown(algorithm)}, which is not allowed")
    if headers.get(_CONTENT_TYPE) != PAYLOAD_TYPE:
        raise FormatError(where, "content type", f"must be {PAYLOAD_TYPE!r}")
    critical = _list(headers.get(_CRIT))
    if not critical or not all(type(name) in (int, str) for name in critical):
        raise FormatError(where, "crit", "must be a list of names")
    signed = read_signed(headers, critical, lambda value, path: _time(value, where, path), where)
    return Envelope(
        ALGORITHMS[algorithm],
        signed.scheme,
        signed.signed_at,
        signed.expiry,
        _chain(headers if _X5CHAIN in headers else unprotected, what),
        _bytes(unprotected, what),
        _agent(unprotected, what),
        signed_bytes(protected, payload),
        signature,
        read_payload(payload, f"{what}: payload"),
    )


def signed_bytes(protected: bytes, payload: bytes) -> bytes:
    """The ``Sig_structure`` of a COSE_Sign1 message (RFC 9052 section 4.4)."""
    return cbor.encode(["Signature1", protected, b"", payload])


def _chain(header: dict[Any, Any], what: str) -> tuple[bytes, ...]:
    chain = header.get(_X5CHAIN)
    found = [chain] if type(chain) is bytes else _list(chain)
    if found is None:
        raise FormatError(what, "x5chain", "must be a list of certificates")
    return check_certificates(found, what, "x5chain")


def _list(value: Any) -> list[Any] | None:
    return value if type(value) is list else None  # pyright: ignore[reportUnknownVariableType]


def _map(value: Any, what: str) -> dict[Any, Any]:
    if type(value) is not dict:
        raise FormatError(what, "", "has a header that is not a map")
    return value  # pyright: ignore[reportUnknownVariableType]


def _bytes(header: dict[Any, Any], what: str) -> bytes:
    token = header.get(TIMESTAMP_NAME, b"")
    if type(token) is not bytes:
        raise FormatError(what, TIMESTAMP_NAME, "must be a byte string")
    return token


def _agent(header: dict[Any, Any], what: str) -> str:
    agent = header.get(AGENT_NAME, "")
    if type(agent) is not str:
        raise FormatError(what, AGENT_NAME, "must be text")
    return agent


def _time(value: Any, what: str, path: str) -> int:
    if not isinstance(value, Tagged) or value.tag != cbor.TAG_TIME or type(value.value) is not int:
        raise FormatError(what, path, "must be an epoch-based time in whole seconds")
    seconds: int = value.value
    if not 0 < seconds < 1 << 40:
        raise FormatError(what, path, "is not a time of this epoch")
    return seconds


def _shown(value: Any) -> str:
    return repr(shown(value)) if isinstance(value, str) else shown(repr(value))
