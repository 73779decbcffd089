"""``rktpy app start``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.pod_arguments import pod_and_app
from rktpy.cli.settings import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Start an app."""
    uuid, app = pod_and_app(arguments)

    from rktpy.stage0.app_start import start

    start(settings(arguments), uuid, app)
    return 0
