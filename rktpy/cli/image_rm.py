"""``rktpy image rm``."""

from __future__ import annotations

from rktpy.cli.image_ids import shown_id
from rktpy.cli.output import out
from rktpy.cli.pods_in_use import in_use
from rktpy.cli.report import report
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError, UsageError
from rktpy.log import note
from rktpy.stage0.images import resolve_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Remove images; an error with one of them does not keep the others from being removed.

    As with rkt, an image may be removed while pods use it: they keep its tree, which image gc removes after them.
    """
    if not arguments.args:
        raise UsageError("must provide at least one image ID")
    g = settings(arguments)
    store = Store(g.data_dir)
    wanted: dict[str, None] = {}
    failed = 0
    for text in arguments.args:
        try:
            wanted[resolve_image(store, text)] = None
        except RktpyError as error:
            report("rm", error)
            failed += 1
    removed = 0
    with store.prepare_lock(exclusive=True):
        used = in_use(g.data_dir)
        for image_id in wanted:
            try:
                store.remove_image(image_id, used.trees, used.needed)
            except RktpyError as error:
                report("rm", _about(image_id, error))
                failed += 1
            else:
                told_removed(image_id)
                removed += 1
    if removed:
        note("rm", f"{removed} image(s) successfully removed")
    if failed:
        note("rm", f"{failed} image(s) cannot be removed")
        return 254
    return 0


def _about(image_id: str, error: RktpyError) -> RktpyError:
    problem = RktpyError(f'error removing aci for image "{shown_id(image_id, full=True)}"')
    problem.__cause__ = error
    return problem


def told_removed(image_id: str) -> None:
    """Say that an image is gone."""
    out(f'successfully removed aci for image: "{shown_id(image_id, full=True)}"')
