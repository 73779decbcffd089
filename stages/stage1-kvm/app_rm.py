"""Entry point ``app/rm`` of stage1-kvm: let a stopped app of a running mutable pod go. stage0 removes its files.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import Stage1Error
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.log import set_debug
from rktpy.pod.added_app import replace_in_report
from rktpy.stage1.kvm.requests import Connection


def main(argv: list[str]) -> int:
    """Remove an app from the machine of the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = arguments.text("app")
    problem = Connection().ask(("remove", name))
    if problem and problem != "no such app":
        raise Stage1Error(f"app {shown(name)} was not removed: {problem}")
    replace_in_report(name)
    return 0
