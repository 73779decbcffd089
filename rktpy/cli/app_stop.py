"""``rktpy app stop``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.pod_arguments import pod_and_app
from rktpy.cli.settings import settings
from rktpy.stage0.pods import quoted, resolve_uuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Stop an app."""
    uuid, app = pod_and_app(arguments)
    g = settings(arguments)

    from rktpy.stage0.app_start import stop

    if not stop(g, uuid, app):
        out(f"pod {quoted(resolve_uuid(g.data_dir, uuid))} is already stopped")
    return 0
