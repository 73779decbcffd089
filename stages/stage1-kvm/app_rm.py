"""Entry point ``app/rm`` of stage1-kvm: let a stopped app of a running mutable pod go. stage0 removes its files.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import write_file
from rktpy.log import set_debug
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
    with open(names.REPORT_FILE, "rb", buffering=0) as file:
        report = names.read_report(file.read())
    write_file(names.REPORT_FILE, names.write_report(tuple([entry for entry in report if entry.app != name])))
    return 0
