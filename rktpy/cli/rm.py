"""``rktpy rm``. Hot-path module."""

from __future__ import annotations

from rktpy.cli import pod_arguments
from rktpy.cli.output import out
from rktpy.cli.report import report
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError
from rktpy.log import note
from rktpy.stage0.pods import find_pod, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Remove pods; an error with one of them does not keep the others from being removed."""
    prefixes = pod_arguments.several(arguments)
    g = settings(arguments)

    from rktpy.stage0.remove import remove

    failed = False
    for prefix in prefixes:
        try:
            with find_pod(g.data_dir, prefix, "cannot get pod") as pod:
                uuid = pod.uuid
            remove(g, uuid)
            out(quoted(uuid))
        except (RktpyError, OSError) as error:
            report("rm", error)
            failed = True
    if failed:
        note("rm", "failed to remove one or more pods")
        return 254
    return 0
