"""``rktpy trust recheck``."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.settings import settings
from rktpy.log import note
from rktpy.stage0.rechecking import recheck_images, recheck_pods
from rktpy.trust.explanation import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print what today's keys and policy refuse, a line each; the status is 254 if there is anything."""
    no_arguments(arguments)
    g = settings(arguments)
    running = arguments.switch("running")
    found = recheck_pods(g) if running else recheck_images(g)
    for refused in found.refused:
        out(printable(f"{refused.subject}: {refused.verdict}: {refused.reason}"))
    what = "image(s) of running pods" if running else "stored image(s)"
    note("recheck", f"{len(found.refused)} of {found.count} {what} refused")
    return 254 if found.refused else 0
