"""How much an image may ask for when it is unpacked. The defaults let every ordinary image pass and stop bombs."""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.record import Record


class Limits(Record):
    """Bounds on one image, over all of its layers or dependencies; exceeding one is an :class:`~rktpy.errors.ArchiveError`.

    ``max_unpacked_bytes`` bounds the decompressed archives and, apart from them, the sizes of the files (holes count). The
    ratio of decompressed to compressed bytes may be over ``max_ratio`` only within the first ``ratio_floor_bytes`` of a stream.
    ``max_entries`` counts archive members and the directories that they imply, ``max_depth`` the components of a path,
    ``max_path_bytes`` its length; ``max_names_bytes`` bounds all the paths that have to be remembered. ``max_xattr_bytes`` is for
    the extended attributes of one file, names and values. ``max_window_bytes`` is the memory that a compressed stream may ask
    for as its window or dictionary.
    """

    max_unpacked_bytes: int = 64 << 30
    max_entries: int = 2_000_000
    max_ratio: int = 250
    ratio_floor_bytes: int = 1 << 30
    max_depth: int = 1024
    max_path_bytes: int = 32 << 10
    max_names_bytes: int = 256 << 20
    max_xattr_bytes: int = 256 << 10
    max_window_bytes: int = 128 << 20


DEFAULT_LIMITS = Limits()

_in_force = DEFAULT_LIMITS


def use_limits(limits: Limits) -> None:
    """Set the limits for the rest of the process (``--image-limits``)."""
    global _in_force
    _in_force = limits


def limits_in_force() -> Limits:
    """The limits of this process, for who was not given others."""
    return _in_force


_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def limits_from_text(text: str, base: Limits = DEFAULT_LIMITS) -> Limits:
    """Limits written as ``max-unpacked-bytes=20G,max-entries=100000``; units K, M, G, T are powers of 1024.

    Raises :class:`UsageError`.
    """
    changes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        field = name.replace("-", "_")
        digits = value.rstrip("KMGT")
        unit = _UNITS.get(value[len(digits) :])
        if field not in Limits._fields or not equals:
            known = ", ".join(known.replace("_", "-") for known in Limits._fields)
            raise UsageError(f"unknown limit {name!r}, known are {known}")
        if unit is None or not (digits.isascii() and digits.isdigit()) or field in changes:
            raise UsageError(f"limit {name}: {value!r} is not a number, or is given twice")
        changes[field] = int(digits) << unit
    return base.replace(**changes)
