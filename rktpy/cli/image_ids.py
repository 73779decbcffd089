"""Image IDs as rkt shows them. Hot-path module."""

from __future__ import annotations

_SHORT = 12
_FETCHED = 32
_LONG = 64  # rkt keeps and prints half of a sha512


def shown_id(image_id: str, *, full: bool) -> str:
    """``sha512-`` or ``sha256-`` and 12 digits of the ID, or 64 of them with ``full``."""
    return _cut(image_id, _LONG if full else _SHORT)


def fetched_id(image_id: str, *, full: bool) -> str:
    """What ``fetch`` prints: as :func:`shown_id`, but 32 digits without ``full``."""
    return _cut(image_id, _LONG if full else _FETCHED)


def _cut(image_id: str, digits: int) -> str:
    return image_id[: image_id.find("-") + 1 + digits]
