"""``rktpy prepare``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.pod_options import pod_options
from rktpy.cli.settings import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Prepare a pod and print its UUID."""
    options = pod_options(arguments)
    if arguments.switch("quiet") and options.fetch.progress == "auto":
        options = options.replace(fetch=options.fetch.replace(progress="none"))

    from rktpy.stage0.prepare import prepare

    out(prepare(settings(arguments), options))
    return 0
