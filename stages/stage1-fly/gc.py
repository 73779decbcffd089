"""Entry point ``gc`` of stage1-fly: kill what is left in the pod's control groups and remove them.

Mounts need no cleaning: they were made in a namespace that ended with the pod. May be called again after it failed or was killed.
Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.recorded import recorded_groups
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory. Raises FormatError, OSError, TimeoutError when a group stays."""
    arguments = parse_arguments(argv, ("debug",), ("local-config",))
    if arguments.is_set("debug"):
        set_debug(True)
    subtree = recorded_groups()
    if subtree is not None:
        subtree.kill()
        subtree.remove()
    return 0
