"""``rktpy app add``. Hot-path module."""

from __future__ import annotations

from rktpy.cli import images
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Add an app to a running pod."""
    named = images.of(arguments)
    if not arguments.args or not named.drafts:
        raise ArgumentsError("must provide the pod UUID and an IMAGEID")
    if len(named.drafts) > 1:
        raise UsageError("must give only one app")
    (app,) = named.apps()

    from rktpy.stage0.app_add import add

    add(settings(arguments), arguments.args[0], app, tuple(named.mounts))
    return 0
