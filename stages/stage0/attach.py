"""Attaching to the streams or the terminal of an app, by the pod's stage1. As rkt 1.30's ``rkt/attach.go``. Hot-path module."""

from __future__ import annotations

from rktpy.errors import RktpyError, StateError, UsageError
from rktpy.stage0.crossing import call_app
from rktpy.stage0.enter import choose_app
from rktpy.stage0.pod_states import RUNNING, quoted
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals

_TERMINAL = {"tty": ("tty-in", "tty-out"), "tty-in": ("tty-in",), "tty-out": ("tty-out",)}
_STREAMS = ("stdin", "stdout", "stderr")


def attach(g: Globals, uuid: str, app: str | None, mode: str) -> int:
    """Attach to ``app`` (None: the pod's only one) as ``mode`` says; the stage1's exit status when that is over.

    ``mode`` is ``auto``, ``list``, or endpoints separated by commas. Raises RktpyError.
    """
    arguments = mode_arguments(mode)
    with find_pod(g.data_dir, uuid, "problem retrieving pod") as pod:
        if pod.state != RUNNING:
            raise StateError(f"pod {quoted(pod.uuid)} isn't currently running")
        name = choose_app(pod, app, "attach")
        arguments += [f"--app={name}", f"--debug={'true' if g.debug else 'false'}"]
        try:
            return call_app(pod, "attach", name, arguments, interactive=True)
        except (RktpyError, OSError) as error:
            raise RktpyError("attach failed") from error


def mode_arguments(mode: str) -> list[str]:
    """The arguments of the entry point for a value of ``--mode``. Raises UsageError."""
    if mode == "list":
        return ["--action=list"]
    if mode in ("auto", ""):
        return ["--action=auto-attach"]
    wanted: set[str] = set()
    for endpoint in mode.split(","):
        if endpoint in _STREAMS:
            wanted.add(endpoint)
        elif endpoint in _TERMINAL:
            wanted.update(_TERMINAL[endpoint])
        else:
            raise UsageError(f"invalid attach mode: unknown endpoint {quoted(endpoint)}")
    if not wanted.isdisjoint(_STREAMS) and not wanted.issubset(_STREAMS):
        raise UsageError(
            f"invalid attach mode: incompatible endpoints {quoted(mode)}, cannot simultaneously attach TTY and streams"
        )
    return [
        "--action=custom-attach",
        *[f"--{name}={'true' if name in wanted else 'false'}" for name in ("tty-in", "tty-out", *_STREAMS)],
    ]
