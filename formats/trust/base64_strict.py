"""Base64 that has one spelling for each value (RFC 4648 sections 4 and 5).

``binascii`` accepts line breaks, text after the padding and stray bits in the last character, so that several texts stand for the
same bytes. Signed documents are not the place for that: what is decoded here encodes to the very text that was given.

Hot-path module.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TO_STANDARD = str.maketrans("-_", "+/")


def encode(data: bytes) -> str:
    """``data`` in the standard alphabet, padded."""
    return b2a_base64(data, newline=False).decode("ascii")


def decode(text: Any, what: str, path: str, limit: int) -> bytes:
    """The bytes that ``text`` stands for: standard alphabet, padded, at most ``limit`` bytes. Raises :class:`FormatError`."""
    if type(text) is not str:
        raise FormatError(what, path, "must be a string of base64")
    if len(text) > (limit + 2) // 3 * 4:
        raise FormatError(what, path, f"is larger than {limit} bytes")
    try:
        data = a2b_base64(text, strict_mode=True)
    except (Error, ValueError):
        raise FormatError(what, path, "is not base64") from None
    if encode(data) != text:
        raise FormatError(what, path, "is not base64 in its only spelling")
    return data


def decode_any_alphabet(text: Any, what: str, path: str, limit: int) -> bytes:
    """Like :func:`decode`, for either alphabet and with or without padding, as DSSE asks (``envelope.md``, "Parsing rules")."""
    if type(text) is not str:
        raise FormatError(what, path, "must be a string of base64")
    if ("-" in text or "_" in text) and ("+" in text or "/" in text):
        raise FormatError(what, path, "mixes the two alphabets of base64")
    standard = text.translate(_TO_STANDARD)
    if not standard.endswith("="):
        standard += "=" * (-len(standard) % 4)
    return decode(standard, what, path, limit)
