"""``rktpy image verify``."""

from __future__ import annotations

from rktpy.cli.image_ids import shown_id
from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError, UsageError
from rktpy.stage0.images import resolve_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Check images and their unpacked trees; a tree that is wrong is rebuilt."""
    if not arguments.args:
        raise UsageError("must provide at least one image ID")
    store = Store(settings(arguments).data_dir)
    for text in arguments.args:
        try:
            image_id = resolve_image(store, text)
        except RktpyError as error:
            raise RktpyError(f"unable to resolve store key for image {text}") from error
        found = store.verify(image_id)
        if found.outcome == "not rendered":
            out(f'image "{text}" not rendered; no verification needed')
        elif found.outcome == "verified":
            out(f'successfully verified checksum for image: "{text}" ("{shown_id(image_id, full=True)}")')
        else:
            out(f"tree cache verification failed for image {text}: {found.problem};  rebuilding...")
    return 0
