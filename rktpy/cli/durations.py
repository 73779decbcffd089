"""Durations and truth values as Go's standard library reads them; rkt's flags are such. Hot-path module."""

from __future__ import annotations

from rktpy.errors import UsageError

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DIGITS = frozenset("0123456789")
_MOST = (1 << 63) - 1


def parse_bool(text: str) -> bool:
    """Read a truth value as ``strconv.ParseBool`` does. Raises :class:`UsageError`."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise UsageError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def parse_duration(text: str) -> int:
    """Read a duration such as ``1h30m`` or ``-1.5s`` or ``0`` as ``time.ParseDuration`` does, in nanoseconds.

    Raises :class:`UsageError`.
    """
    rest = text
    negative = False
    if rest[:1] in ("-", "+"):
        negative = rest[0] == "-"
        rest = rest[1:]
    if rest == "0":
        return 0
    if not rest:
        raise UsageError(f'time: invalid duration "{text}"')
    total = 0
    while rest:
        whole = _leading(rest, _DIGITS)
        rest = rest[len(whole) :]
        fraction = ""
        point = rest[:1] == "."
        if point:
            fraction = _leading(rest[1:], _DIGITS)
            rest = rest[1 + len(fraction) :]
        if not whole and not fraction:
            raise UsageError(f'time: invalid duration "{text}"')
        length = 0
        while length < len(rest) and rest[length] != "." and rest[length] not in _DIGITS:
            length += 1
        name, rest = rest[:length], rest[length:]
        if not name:
            raise UsageError(f'time: missing unit in duration "{text}"')
        unit = _UNITS.get(name)
        if unit is None:
            raise UsageError(f'time: unknown unit "{name}" in duration "{text}"')
        # Longer numbers would be refused below all the same; int() of a very long one is slow.
        if len(whole.lstrip("0")) > 19 or len(fraction) > 1000:
            raise UsageError(f'time: invalid duration "{text}"')
        total += int(whole or "0") * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        if total > _MOST + negative:
            raise UsageError(f'time: invalid duration "{text}"')
    return -total if negative else total


def _leading(text: str, allowed: frozenset[str]) -> str:
    length = 0
    while length < len(text) and text[length] in allowed:
        length += 1
    return text[:length]
