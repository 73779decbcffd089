"""``rktpy api-service``."""

from __future__ import annotations

from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.settings import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Serve the API until told to end."""
    no_arguments(arguments)
    g = settings(arguments)

    from rktpy.api.service import serve

    return serve(g, arguments.text("listen"), chosen=arguments.has("listen"), insecure_flags=arguments.text("insecure-options"))
