"""``rktpy attach``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Attach to an app until it is over; the status is the stage1's."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one pod's UUID")

    from rktpy.stage0.attach import attach

    return attach(settings(arguments), arguments.args[0], arguments.text("app") or None, arguments.text("mode"))
