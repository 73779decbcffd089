"""``rktpy image render``."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.stage0.images import resolve_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Unpack an image and what it depends on into a directory."""
    if len(arguments.args) != 2:
        raise ArgumentsError("wants an image and the directory to write")
    text, target = arguments.args
    store = Store(settings(arguments).data_dir)
    store.render(
        resolve_image(store, text), target, rootfs_only=arguments.switch("rootfs-only"), overwrite=arguments.switch("overwrite")
    )
    return 0
