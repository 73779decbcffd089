"""Image IDs as rkt shows them. Hot-path module."""

from __future__ import annotations

_SHORT = 12
_LONG = 64  # rkt keeps and prints half of a sha512


def shown_id(image_id: str, *, full: bool) -> str:
    """``sha512-`` or ``sha256-`` and 12 digits of the ID, or 64 of them with ``full``."""
    end = image_id.find("-") + 1
    return image_id[: end + (_LONG if full else _SHORT)]
