"""Resource quantities: ``250m``, ``1.5``, ``123Mi``, ``50M``, ``12e6``.

Source: appc/spec 0.8.11 ``spec/ace.md`` (Isolators) and ``schema/types/resource`` (the format of Kubernetes): an optional
sign, digits with an optional fraction, then a power of 1000 (``n u m k M G T P E``; the text of the specification also
writes ``K``), a power of 1024 (``Ki`` to ``Ei``) or a decimal exponent. Amounts too small are rounded up, amounts beyond
2^63-1 are capped, both as the reference does.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.record import Record

_NANO = 10**9
_LARGEST = (2**63 - 1) * _NANO
_LONGEST = 128  # characters; no honest quantity comes near, and int() of long text is quadratic

_DIGITS = frozenset("0123456789")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


class Quantity(Record):
    """An exact amount, kept in billionths."""

    nanos: int

    def value(self) -> int:
        """The amount in whole units, rounded up."""
        return -(-self.nanos // _NANO)

    def milli_value(self) -> int:
        """The amount in thousandths, rounded up."""
        return -(-self.nanos // 10**6)


def parse_quantity(text: str, what: str = "quantity", path: str = "") -> Quantity:
    """Read one quantity. Raises :class:`FormatError`."""
    if not text or len(text) > _LONGEST:
        raise FormatError(what, path, f"{text[:_LONGEST]!r} is not a quantity such as 500m, 16M or 1Gi")
    negative = text[0] == "-"
    start = 1 if text[0] in "+-" else 0
    end = start
    while end < len(text) and (text[end] in _DIGITS or text[end] == "."):
        end += 1
    whole, _point, fraction = text[start:end].partition(".")
    if not (whole or fraction) or "." in fraction:
        raise FormatError(what, path, f"unable to parse numeric part of quantity {text!r}")
    # amount = digits * 10**tens * 2**twos
    digits = int(whole + fraction)
    tens = -len(fraction)
    twos = 0
    suffix = text[end:]
    if suffix in _DECIMAL:
        tens += _DECIMAL[suffix]
    elif suffix in _BINARY:
        twos = _BINARY[suffix]
    else:
        exponent = suffix[2:] if suffix[1:2] in ("+", "-") else suffix[1:]
        if suffix[0] not in "eE" or not exponent or not _DIGITS.issuperset(exponent):
            raise FormatError(what, path, f"unable to parse quantity's suffix in {text!r}")
        # Four digits already overflow any cap; more would only make a huge number to throw away.
        power = min(int(exponent), 9999)
        tens += -power if suffix[1] == "-" else power
    scaled = digits << twos
    tens += 9
    nanos = scaled * 10**tens if tens >= 0 else -(-scaled // 10**-tens)
    nanos = min(nanos, _LARGEST)
    return Quantity(-nanos if negative else nanos)
