"""Entry point ``gc`` of stage1-kvm: what the end of the pod would have done, if it was killed before. Hot-path module."""

from __future__ import annotations

from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.pod.disconnect import disconnect
from rktpy.pod.end import remove_groups


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory. May be called again. Raises RktpyError, OSError for what does not go
    away."""
    arguments = parse_arguments(argv, ("debug",), ("local-config",))
    if arguments.is_set("debug"):
        set_debug(True)
    remove_groups()
    disconnect()
    return 0
