"""``rktpy app status``. Hot-path module."""

from __future__ import annotations

from rktpy.cli import times
from rktpy.cli.output import out, out_json
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import NotFoundError, RktpyError
from rktpy.stage0.pods import find_pod, quoted
from rktpy.stage0.status import app_documents, app_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments


def run(arguments: Arguments) -> int:
    """Print the state of an app. As in rkt the status is 1 when that fails."""
    name = arguments.text("app")
    if len(arguments.args) != 1 or not name:
        usage = ArgumentsError("wants one pod's UUID and --app")
        usage.status = 1
        raise usage
    try:
        with find_pod(settings(arguments).data_dir, arguments.args[0], "error getting app status") as pod:
            found = [app for app in app_documents(pod) if app["name"] == name]
    except (RktpyError, OSError) as error:
        failure = RktpyError("error getting app status")
        failure.status = 1
        raise failure from error
    if not found:
        missing = NotFoundError(f"cannot find app {quoted(name)} in the pod")
        missing.status = 1
        raise missing
    form = arguments.text("format")
    if form:
        out_json(found[0], pretty=form == "json-pretty")
    else:
        out("\n".join(app_lines(found[0], times.exact)))
    return 0
