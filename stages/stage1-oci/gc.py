"""Entry point ``gc`` of stage1-oci: what the end of the pod would have done, if it was killed before. Hot-path module."""

from __future__ import annotations

from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.pod.disconnect import disconnect
from rktpy.pod.end import remove_groups
from rktpy.stage1.oci.ending import delete_containers, remove_state


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory. May be called again. Raises RktpyError, OSError for what does not go
    away."""
    arguments = parse_arguments(argv, ("debug",), ("local-config",))
    if arguments.is_set("debug"):
        set_debug(True)
    delete_containers()
    remove_groups()
    disconnect()
    remove_state()
    return 0
