"""``rktpy status``. Hot-path module."""

from __future__ import annotations

from rktpy.cli import pod_arguments, times
from rktpy.cli.durations import parse_bool, parse_duration
from rktpy.cli.output import out, out_json
from rktpy.cli.settings import settings
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import RktpyError, UsageError
from rktpy.stage0.pods import find_pod, quoted
from rktpy.stage0.status import pod_document, status_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.stage0.pods import Pod

_SECOND_NS = 1_000_000_000


def run(arguments: Arguments) -> int:
    """Print the state of a pod, after waiting for it if asked to."""
    prefix = pod_arguments.one(arguments, file_status=1)
    ready = _limit(arguments, "wait-ready")
    exited = _limit(arguments, "wait")
    g = settings(arguments)
    with find_pod(g.data_dir, prefix, "problem retrieving pod") as pod:
        if ready:
            _wait_ready(pod, ready)
        if exited and not pod.wait_exited(_seconds(exited)):
            raise RktpyError("error waiting for pod to finish: time is up")
        form = arguments.text("format")
        try:
            if form:
                out_json(pod_document(pod), pretty=form == "json-pretty")
            else:
                out("\n".join(status_lines(pod, times.exact)))
        except OSError as error:
            raise RktpyError("unable to print status") from error
    return 0


def _limit(arguments: Arguments, name: str) -> int:
    """How long to wait in ns: 0 not at all, below 0 for ever."""
    text = arguments.text(name)
    if not text:
        return -1
    try:
        return -1 if parse_bool(text) else 0
    except UsageError:
        pass
    try:
        return parse_duration(text)
    except UsageError as error:
        raise ArgumentsError(f"--{name}: {error}") from None


def _seconds(limit_ns: int) -> float | None:
    return None if limit_ns < 0 else limit_ns / _SECOND_NS


def _wait_ready(pod: Pod, limit_ns: int) -> None:
    if not pod.wait_ready(_seconds(limit_ns)):
        why = f"pod {quoted(pod.uuid)} ended before it was ready" if pod.is_finished else "time is up"
        raise RktpyError(f"error waiting for pod readiness: {why}")
