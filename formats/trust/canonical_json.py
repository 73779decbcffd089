"""Canonical JSON (RFC 8785): one sequence of bytes for each value, so that it can be signed.

What the formats here sign holds strings, integers, lists and objects. Fractions would need ECMAScript's way of writing numbers
and are refused, as are integers that a double cannot hold exactly.

Cold-path module.
"""

from __future__ import annotations

from _json import encode_basestring

from rktpy.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGEST = 1 << 53


def canonical(value: Any, what: str) -> bytes:
    """``value`` in its canonical form; ``what`` names it in errors. Raises :class:`FormatError`."""
    try:
        return _written(value, what).encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(what, "", "must not contain half of a surrogate pair") from None
    except RecursionError:
        raise FormatError(what, "", "nested too deeply") from None


def _written(value: Any, what: str) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, int):
        if not -_LARGEST <= value <= _LARGEST:
            raise FormatError(what, "", f"integer {str(value)[:24]} has no canonical form")
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_written(item, what) for item in value]) + "]"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        # Section 3.2.3: names are sorted by their UTF-16 code units.
        members: list[tuple[str, Any]] = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))  # pyright: ignore
        return "{" + ",".join([f"{encode_basestring(name)}:{_written(member, what)}" for name, member in members]) + "}"
    raise FormatError(what, "", f"{type(value).__name__} has no canonical form here")
