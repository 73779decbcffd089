"""Entry point ``stop`` of stage1-oci: the pod's apps are ended in order, or with ``--force`` everything is killed.

The monitor is told: SIGTERM starts ``halt``, SIGUSR1 kills the pod's first process, and the kernel all others with it. Hot-path
module.
"""

from __future__ import annotations

from rktpy.errors import StateError
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.holder import open_holder, read_pid
from rktpy.linux.constants import SIGTERM, SIGUSR1
from rktpy.log import set_debug
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
        holder.signal(SIGUSR1 if arguments.is_set("force") else SIGTERM)
    return 0
