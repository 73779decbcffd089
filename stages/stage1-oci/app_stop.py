"""Entry point ``app/stop`` of stage1-oci: stop an app of a running mutable pod. Hot-path module."""

from __future__ import annotations

from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.pod.added_app import named_app
from rktpy.stage1.oci.containers import has_ended, is_running
from rktpy.stage1.oci.halt import stop_apps
from rktpy.stage1.oci.runtime import Runtime

#: What systemctl ends with for a unit that is not loaded; scripts written for rkt know it.
NO_SUCH_UNIT = 5


def main(argv: list[str]) -> int:
    """Stop an app of the pod in the working directory; 5 when it was never started. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))
    if has_ended(name):
        return 0
    if not is_running(name):
        return NO_SUCH_UNIT
    stop_apps(Runtime.load(), [name])
    return 0
