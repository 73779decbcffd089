"""Entry point ``stop`` of stage1-systemd: the pod's systemd ends its apps in order, or with ``--force`` everything is killed.

The monitor is told (SIGTERM), which tells systemd; so the pod's exit status says that it was stopped. Hot-path module.
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
    holder = open_holder(read_pid(names.PPID_FILE))
    if holder is None:
        raise StateError("no process of the pod is running")
    with holder:
        if not arguments.is_set("force"):
            holder.signal(SIGTERM)
            return 0
        # The kernel kills all processes of the pod with its first; the monitor is left to clean up and to tell the status.
        for pid in children_of(holder.pid):
            first = open_process(pid)
            if first is not None:
                with first:
                    if holder.alive():
                        first.signal(SIGKILL)
    return 0
