"""Entry point ``stop`` for pods that a monitor waits for: it is told (SIGTERM), so the pod's status says that it was stopped.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import StateError
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.holder import children_of, open_holder, open_process, read_pid
from rktpy.linux.constants import SIGKILL, SIGTERM
from rktpy.log import set_debug


def stop(argv: list[str], pid_file: str) -> int:
    """Stop the pod in the working directory, whose monitor is in ``pid_file``; with ``--force`` its children are killed.

    The monitor is left to clean up and to tell the status. Raises StateError when nothing of the pod runs.
    """
    arguments = parse_arguments(argv, ("debug", "force"), ())
    if arguments.is_set("debug"):
        set_debug(True)
    holder = open_holder(read_pid(pid_file))
    if holder is None:
        raise StateError("no process of the pod is running")
    with holder:
        if not arguments.is_set("force"):
            holder.signal(SIGTERM)
            return 0
        for pid in children_of(holder.pid):
            child = open_process(pid)
            if child is not None:
                with child:
                    if holder.alive():
                        child.signal(SIGKILL)
    return 0
