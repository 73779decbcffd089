"""``rktpy gc``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.settings import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Mark and remove pods that are no longer used."""
    no_arguments(arguments)

    from rktpy.stage0.gc import gc

    gc(
        settings(arguments),
        arguments.duration("grace-period"),
        arguments.duration("expire-prepared"),
        arguments.switch("mark-only"),
        tell=out,
    )
    return 0
