"""``rktpy export``."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Write an app of an exited pod to an ACI."""
    if len(arguments.args) != 2:
        raise ArgumentsError("wants a pod's UUID and the name of the file to write")
    uuid, path = arguments.args
    if not path.endswith(".aci"):
        raise UsageError(f"extension must be .aci (given {path})")

    from rktpy.stage0.export import export

    export(settings(arguments), uuid, arguments.text("app") or None, path, arguments.switch("overwrite"))
    return 0
