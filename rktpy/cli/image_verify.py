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
    from rktpy.stage0.options import Globals


def run(arguments: Arguments) -> int:
    """Check images and their unpacked trees; a tree that is wrong is rebuilt."""
    if not arguments.args:
        raise UsageError("must provide at least one image ID")
    g = settings(arguments)
    store = Store(g.data_dir)
    refused = False
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
        if arguments.switch("signatures"):
            refused |= not _signatures_hold(g, store, text, image_id)
    return 254 if refused else 0


def _signatures_hold(g: Globals, store: Store, text: str, image_id: str) -> bool:
    """Verify the signatures of an image and of what it depends on, and print what came of it."""
    from rktpy.stage0.images import decisions, logical_name
    from rktpy.trust.decision import ACCEPTED
    from rktpy.trust.explanation import printable

    hold = True
    for decision in decisions(g, store, image_id, logical_name(text), fresh=True):
        hold &= decision.verdict == ACCEPTED
        out(printable(f'signatures of "{decision.image.name}": {decision.verdict}: {decision.reason}'))
    return hold
