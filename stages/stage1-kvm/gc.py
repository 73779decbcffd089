"""Entry point ``gc`` of stage1-kvm: what the end of the pod would have done, if it was killed before. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.recorded import recorded_groups
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.net.disconnect import disconnect


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory. May be called again. Raises RktpyError, OSError for what does not go
    away."""
    arguments = parse_arguments(argv, ("debug",), ("local-config",))
    if arguments.is_set("debug"):
        set_debug(True)
    groups = recorded_groups()
    if groups is not None:
        groups.kill()
        groups.remove()
    disconnect()
    return 0
