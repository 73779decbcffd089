"""``rktpy logs``."""

from __future__ import annotations

from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import NotFoundError, RktpyError
from rktpy.stage0.pods import find_pod, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Say why there are no logs: no stage1 that comes with rktpy keeps any."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one pod's UUID")
    with find_pod(settings(arguments).data_dir, arguments.args[0], "problem retrieving pod") as pod:
        app = arguments.text("app")
        if app and pod.has_manifest and app not in pod.app_names():
            raise NotFoundError(f"app {quoted(app)} is not in pod {quoted(pod.uuid)}")
        if pod.bundled_stage1:
            raise RktpyError(
                f"the stage1 {pod.bundled_stage1} keeps no output: its app writes to the standard output and standard error of"
                " the command that runs the pod"
            )
        raise RktpyError(f"how the stage1 {quoted(pod.stage1_name)} keeps output is not known")
