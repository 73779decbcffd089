"""``rktpy app list``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.output import out
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import RktpyError
from rktpy.stage0.pods import find_pod
from rktpy.stage0.status import app_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the apps of a pod. As in rkt the status is 1 when that fails."""
    if len(arguments.args) != 1:
        usage = ArgumentsError("wants one pod's UUID")
        usage.status = 1
        raise usage
    try:
        with find_pod(settings(arguments).data_dir, arguments.args[0], "error listing apps") as pod:
            apps = app_documents(pod)
    except (RktpyError, OSError) as error:
        failure = RktpyError("error listing apps")
        failure.status = 1
        raise failure from error
    lines = [f"{app['name']}\t{app['state']}" for app in apps]
    if not arguments.switch("no-legend"):
        lines.insert(0, "NAME\tSTATE")

    from rktpy.cli.tabular import align

    out(align("\n".join(lines)))
    return 0
