"""``rktpy image gc``."""

from __future__ import annotations

from rktpy.cli.image_rm import told_removed
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.pods_in_use import trees_and_images
from rktpy.cli.report import report
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError
from rktpy.log import debug, note
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Remove what no pod needs, and images that were not used for the grace period."""
    no_arguments(arguments)
    g = settings(arguments)
    collected = Store(g.data_dir).gc(arguments.duration("grace-period"), lambda: trees_and_images(g.data_dir))
    for tree in collected.trees:
        note("gc", f'removed treestore "{tree}"')
    for image_id in collected.images:
        told_removed(image_id)
    for digest in collected.blobs:
        debug("gc", f'removed blob "{digest}"')
    for name in collected.temporary:
        debug("gc", f'removed temporary file "{name}"')
    if collected.images:
        note("gc", f"{len(collected.images)} image(s) successfully removed")
    for what, cause in collected.failures:
        problem = RktpyError(f'cannot remove "{what}"')
        problem.__cause__ = cause
        report("gc", problem)
    return 254 if collected.failures else 0
