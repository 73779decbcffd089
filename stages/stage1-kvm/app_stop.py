"""Entry point ``app/stop`` of stage1-kvm: stop an app of a running mutable pod. Hot-path module."""

from __future__ import annotations

from rktpy.errors import Stage1Error
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.log import set_debug
from rktpy.stage1.kvm.requests import Connection

#: What systemctl ends with for a unit that is not loaded; scripts written for rkt know it.
NO_SUCH_UNIT = 5


def main(argv: list[str]) -> int:
    """Stop an app of the pod in the working directory; 5 when it does not run. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = arguments.text("app")
    problem = Connection().ask(("stop", name))
    if problem in ("not running", "no such app"):
        return NO_SUCH_UNIT
    if problem:
        raise Stage1Error(f"app {shown(name)} was not stopped: {problem}")
    return 0
