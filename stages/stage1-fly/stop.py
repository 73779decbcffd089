"""Entry point ``stop`` of stage1-fly: SIGTERM to the app, or SIGKILL with ``--force``.

As rkt's fly: the app's process while it lives, else what is left of its process group, of which only processes of this pod are
meant (they hold its lock). With ``--force`` everything in the pod's control groups is killed too. Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.recorded import recorded_groups
from rktpy.errors import StateError
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.holder import holders_in_group, open_holder, read_pid
from rktpy.linux.constants import SIGKILL, SIGTERM
from rktpy.log import set_debug


def main(argv: list[str]) -> int:
    """Stop the pod in the working directory. Raises StateError when nothing of it runs."""
    arguments = parse_arguments(argv, ("debug", "force"), ())
    if arguments.is_set("debug"):
        set_debug(True)
    force = arguments.is_set("force")
    holder = open_holder(read_pid(names.PID_FILE))
    holders = [holder] if holder is not None else holders_in_group(read_pid(names.PGID_FILE))
    if not holders:
        raise StateError("no process of the pod is running")
    for one in holders:
        one.signal(SIGKILL if force else SIGTERM)
        one.close()
    if force:
        subtree = recorded_groups()
        if subtree is not None:
            subtree.kill()
    return 0
