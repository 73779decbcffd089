"""``rktpy logs``."""

from __future__ import annotations

from time import time_ns

from rktpy.cli.log_output import FORMS, entry_bytes
from rktpy.cli.output import raw
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import NotFoundError, RktpyError, StateError
from rktpy.stage0.pod_states import ABORTED_PREPARE, EMBRYO, PREPARED, PREPARING
from rktpy.stage0.pods import find_pod, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.stage0.pods import Pod

#: The bundled stages that keep no output.
_SILENT = ("fly",)


def run(arguments: Arguments) -> int:
    """Print what the apps of a pod wrote."""
    if len(arguments.args) != 1:
        raise ArgumentsError("wants one pod's UUID")
    form = arguments.text("output")
    if form not in FORMS:
        raise ArgumentsError(f"--output: {form!r} is none of {', '.join(FORMS)}")
    lines = _lines(arguments.text("lines"))
    since, until = _time(arguments, "since"), _time(arguments, "until")
    app = arguments.text("app") or None
    with find_pod(settings(arguments).data_dir, arguments.args[0], "problem retrieving pod") as pod:
        _check(pod, app)

        from rktpy.stage0 import logs

        if pod.bundled_stage1 is None and not logs.has_log(pod):
            raise RktpyError(f"how the stage1 {quoted(pod.stage1_name)} keeps output is not known")
        query = logs.Query(app, since, until, lines, arguments.switch("follow"))
        for batch in logs.entries(pod, query):
            raw(b"".join([entry_bytes(entry, form) for entry in batch]))
    return 0


def _check(pod: Pod, app: str | None) -> None:
    if pod.state in (EMBRYO, PREPARING, ABORTED_PREPARE, PREPARED):
        raise StateError(f"pod {quoted(pod.uuid)} has not been started")
    # The apps of a mutable pod come and go; what they wrote stays.
    if app is not None and pod.has_manifest and not pod.is_mutable and app not in pod.app_names():
        raise NotFoundError(f"app {quoted(app)} is not in pod {quoted(pod.uuid)}")
    bundled = pod.bundled_stage1
    if bundled in _SILENT:
        raise RktpyError(
            f"the stage1 {bundled} keeps no output: its app writes to the standard output and standard error of"
            " the command that runs the pod"
        )


def _lines(text: str) -> int | None:
    if text in ("all", "-1", ""):
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ArgumentsError(f"--lines: {text!r} is neither a number nor all")
    return int(text)


def _time(arguments: Arguments, flag: str) -> int | None:
    text = arguments.text(flag)
    if not text:
        return None

    from rktpy.cli.log_times import parse_time

    return parse_time(text, flag, time_ns() // 1000)
