"""``rktpy image extract``."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.stage0.images import resolve_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Unpack an image alone into a directory."""
    return unpack(arguments, dependencies=False)


def unpack(arguments: Arguments, *, dependencies: bool) -> int:
    """Unpack an image into a directory, with or without what it depends on."""
    if len(arguments.args) != 2:
        raise ArgumentsError("wants an image and the directory to write")
    text, target = arguments.args
    store = Store(settings(arguments).data_dir)
    write = store.render if dependencies else store.extract
    rootfs_only, overwrite = arguments.switch("rootfs-only"), arguments.switch("overwrite")
    write(resolve_image(store, text), target, rootfs_only=rootfs_only, overwrite=overwrite)
    return 0
