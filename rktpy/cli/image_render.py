"""``rktpy image render``."""

from __future__ import annotations

from rktpy.cli.image_extract import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Unpack an image and what it depends on into a directory."""
    return unpack(arguments, dependencies=True)
