"""Entry point ``stop`` of stage1-oci: the pod's apps are ended in order, or with ``--force`` everything is killed.

The monitor is told (SIGTERM), which starts ``halt``; so the pod's exit status says that it was stopped. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import StateError
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.holder import open_holder, read_pid
from rktpy.linux.constants import SIGTERM
from rktpy.log import set_debug
from rktpy.stage1.oci.ending import kill_sandbox
from rktpy.stage1.oci.paths import MONITOR_FILE


def main(argv: list[str]) -> int:
    """Stop the pod in the working directory. Raises StateError when nothing of it runs."""
    arguments = parse_arguments(argv, ("debug", "force"), ())
    if arguments.is_set("debug"):
        set_debug(True)
    holder = open_holder(read_pid(MONITOR_FILE))
    if holder is None:
        raise StateError("no process of the pod is running")
    with holder:
        if arguments.is_set("force"):
            # The kernel kills all processes of the pod with its first; the monitor is left to clean up and to tell the status.
            kill_sandbox(read_pid(names.PID_FILE))
        else:
            holder.signal(SIGTERM)
    return 0
