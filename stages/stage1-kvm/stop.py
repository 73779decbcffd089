"""Entry point ``stop`` of stage1-kvm: the apps are ended in order, or with ``--force`` the machine at once.

The monitor is told (SIGTERM), which tells the guest; so the pod's exit status says that it was stopped. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import StateError
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.holder import children_of, open_holder, open_process, read_pid
from rktpy.linux.constants import SIGKILL, SIGTERM
from rktpy.log import set_debug


def main(argv: list[str]) -> int:
    """Stop the pod in the working directory. Raises StateError when nothing of it runs."""
    arguments = parse_arguments(argv, ("debug", "force"), ())
    if arguments.is_set("debug"):
        set_debug(True)
    holder = open_holder(read_pid(names.PID_FILE))
    if holder is None:
        raise StateError("no process of the pod is running")
    with holder:
        if not arguments.is_set("force"):
            holder.signal(SIGTERM)
            return 0
        # QEMU, and what serves the host's files; the monitor is left to clean up and to tell the status.
        for pid in children_of(holder.pid):
            child = open_process(pid)
            if child is not None:
                with child:
                    if holder.alive():
                        child.signal(SIGKILL)
    return 0
