"""Numbers, checksums and names of tar headers (POSIX.1-1988 ustar, and the GNU base-256 extension).

Hot-path module: imports only ``zlib``.
"""

from __future__ import annotations

from zlib import adler32

from rktpy.errors import ArchiveError

BLOCK = 512
"""Size in bytes of a header, and the unit that data is padded to."""


def printable(name: bytes) -> str:
    """``name`` as one line of printable text of at most 300 characters, for messages: archives may hold escape sequences."""
    text = name[:300].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(name) <= 300 else text + "..."


def number(field: bytes, what: str) -> int:
    """The value of a numeric header field.

    Octal digits, with spaces or NULs around them, or base-256 (first bit set; two's complement). An empty field is 0. Base-256
    values may be negative: the caller checks. Raises :class:`ArchiveError`, in which ``what`` names the field.
    """
    digits = field.strip(b" \0")
    try:
        if digits.isdigit():
            return int(digits, 8)
        if not digits:
            return 0
        first = field[0]
        if first & 0x80:
            value = int.from_bytes(field, "big")
            bits = 8 * len(field)
            # 0x80 marks the format and is no part of a positive value; 0xff... is negative.
            return value - (1 << bits) if first & 0x40 else value & ~(1 << (bits - 1))
        digits = digits.split(b"\0", 1)[0].split(b" ", 1)[0]
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise ArchiveError(f"tar header: {what} is not a number: {printable(field)}")


def checksum_matches(header: bytes, field: bytes) -> bool:
    """Whether the checksum ``field`` (8 bytes at 148) fits the 512 bytes of ``header``.

    The sum counts the field itself as spaces. Some old writers summed signed characters, which is accepted too.
    """
    digits = field.strip(b" \0")
    try:
        wanted = int(digits, 8) if digits.isdigit() else number(field, "checksum")
    except (ValueError, ArchiveError):
        return False
    # The low half of Adler-32 started at 0 is the plain sum modulo 65521, and 256 bytes never reach that: exact, and at C speed.
    total = (adler32(header[:256], 0) & 0xFFFF) + (adler32(header[256:], 0) & 0xFFFF) - sum(field) + 256
    if total == wanted:
        return True
    high = sum(1 for byte in header if byte >= 128) - sum(1 for byte in field if byte >= 128)
    return total - 256 * high == wanted


def pax_number(value: bytes, what: str) -> int:
    """A non-negative decimal number of a pax record. Raises :class:`ArchiveError`."""
    if not value.isdigit() or len(value) > 20:
        raise ArchiveError(f"pax header: {what} is not a number: {printable(value)}")
    return int(value)


def pax_time(value: bytes, what: str) -> int:
    """A pax time (decimal seconds since the epoch, may be negative and may have a fraction) in nanoseconds, cut, not rounded."""
    negative = value.startswith(b"-")
    whole, dot, fraction = value[negative:].partition(b".")
    if not whole.isdigit() or len(whole) > 18 or (dot and fraction and not fraction.isdigit()):
        raise ArchiveError(f"pax header: {what} is not a time: {printable(value)}")
    nanoseconds = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if negative else nanoseconds
