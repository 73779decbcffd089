"""``rktpy help [COMMAND]``."""

from __future__ import annotations

from rktpy.cli.help import topic_text
from rktpy.cli.output import out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the help of the command named by the arguments."""
    out(topic_text(arguments.args).rstrip("\n"))
    return 0
