"""``rktpy run-prepared``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.run_options import run_options
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Run a prepared pod. Its stage1 takes this process over, or comes back with the pod's exit status."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one pod's UUID")
    options = run_options(arguments)

    from rktpy.stage0 import run as stage0

    return stage0.run_prepared(settings(arguments), arguments.args[0], options)
