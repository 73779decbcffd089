"""``pause``. Hot-path module."""

from __future__ import annotations

from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.groups import set_frozen
from rktpy.oci.main import state_root


def run(arguments: Arguments) -> int:
    """Freeze; 0. Raises RktpyError, OSError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    status = container.status()
    if status not in ("running", "created"):
        raise RuntimeFailure("container not running" if status == "stopped" else f"container not running: {status}")
    set_frozen(container.groups, frozen=True)
    return 0
