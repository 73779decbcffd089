"""Sizes in bytes for people. Hot-path module."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def binary_size(size: int) -> str:
    """A number of bytes in powers of 1024, as rkt prints it: ``12MiB``, ``1.5GiB``, ``7B``."""
    if size < 10:
        return f"{size}B"
    power = min((size.bit_length() - 1) // 10, len(_UNITS) - 1)
    tenths = (size * 20 + (1 << 10 * power)) // (2 << 10 * power)  # rounded half up
    if tenths < 100:
        return f"{tenths // 10}.{tenths % 10}{_UNITS[power]}"
    # From ten on the digit after the point goes, rounded half to even as printf does.
    whole, rest = divmod(tenths, 10)
    if rest > 5 or (rest == 5 and whole % 2):
        whole += 1
    return f"{whole}{_UNITS[power]}"
