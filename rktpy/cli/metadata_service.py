"""``rktpy metadata-service``."""

from __future__ import annotations

from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Serve metadata until told to end."""
    no_arguments(arguments)
    port = arguments.number("listen-port")
    if not 0 <= port <= 65535:
        raise ArgumentsError("--listen-port must be from 0 to 65535")

    from rktpy.metadata.service import serve

    return serve(settings(arguments), port)
