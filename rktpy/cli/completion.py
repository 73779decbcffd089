"""``rktpy completion``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the completion code for a shell."""
    if not arguments.args:
        raise UsageError("shell type is not specified")
    if len(arguments.args) > 1:
        raise UsageError("too many arguments, only shell type is expected")
    if arguments.args[0] != "bash":
        raise UsageError(f"'{arguments.args[0]}' shell is not supported")

    from rktpy.cli.bash import completion

    out(completion())
    return 0
