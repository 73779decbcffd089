"""``rktpy image export``."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.stage0.images import resolve_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Write a stored image to a file."""
    if len(arguments.args) != 2:
        raise ArgumentsError("wants an image and the name of the file to write")
    text, target = arguments.args
    store = Store(settings(arguments).data_dir)
    store.export(resolve_image(store, text), target, overwrite=arguments.switch("overwrite"))
    return 0
