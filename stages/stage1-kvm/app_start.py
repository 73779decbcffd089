"""Entry point ``app/start`` of stage1-kvm: start an app of a running mutable pod. Hot-path module."""

from __future__ import annotations

from rktpy.errors import Stage1Error
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.log import set_debug
from rktpy.stage1.kvm.requests import Connection


def main(argv: list[str]) -> int:
    """Start an app of the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = arguments.text("app")
    problem = Connection().ask(("start", name))
    if problem:
        raise Stage1Error(f"app {shown(name)} was not started: {problem}")
    return 0
