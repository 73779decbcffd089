"""``rktpy stop``. Hot-path module."""

from __future__ import annotations

from rktpy.cli import pod_arguments
from rktpy.cli.output import out
from rktpy.cli.report import report
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError
from rktpy.log import note
from rktpy.stage0.pods import RUNNING, find_pod, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.stage0.options import Globals


def run(arguments: Arguments) -> int:
    """Stop pods; an error with one of them does not keep the others from being stopped."""
    prefixes = pod_arguments.several(arguments, file_status=1)
    g = settings(arguments)
    failed = 0
    for prefix in prefixes:
        try:
            _stop(g, prefix, arguments.switch("force"))
        except (RktpyError, OSError) as error:
            report("stop", error)
            failed += 1
    if failed:
        note("stop", f"failed to stop {failed} pod(s)")
        return 254
    return 0


def _stop(g: Globals, prefix: str, force: bool) -> None:
    with find_pod(g.data_dir, prefix, "cannot get pod") as pod:
        uuid = pod.uuid
        if pod.is_after_run:
            out(f"pod {quoted(uuid)} is already stopped")
            return
        if pod.state != RUNNING:
            raise RktpyError(f"pod {quoted(uuid)} is not running")
    from rktpy.stage0.stop import stop

    try:
        stop(g, uuid, force)
    except (RktpyError, OSError) as error:
        raise RktpyError(f"error stopping {quoted(uuid)}") from error
    out(quoted(uuid))
