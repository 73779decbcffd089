"""``rktpy enter``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.log import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_SHELL = "/bin/bash"


def run(arguments: Arguments) -> int:
    """Run a command inside a running pod; its stage1 takes this process over, or comes back with the command's exit status."""
    if not arguments.args:
        raise ArgumentsError("wants a pod's UUID")
    uuid, *command = arguments.args
    if not command:
        note("enter", f'no command specified, assuming "{_SHELL}"')
        command = [_SHELL]

    from rktpy.stage0.enter import enter

    return enter(settings(arguments), uuid, arguments.text("app") or None, tuple(command))
