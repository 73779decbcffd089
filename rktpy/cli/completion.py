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
    shell = arguments.args[0]
    if shell == "bash":
        from rktpy.cli.bash import completion
    elif shell == "zsh":
        from rktpy.cli.zsh import completion
    elif shell == "fish":
        from rktpy.cli.fish import completion
    else:
        raise UsageError(f"'{shell}' shell is not supported")
    out(completion())
    return 0
