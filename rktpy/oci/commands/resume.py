"""``resume``. Hot-path module."""

from __future__ import annotations

from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.groups import set_frozen
from rktpy.oci.main import state_root


def run(arguments: Arguments) -> int:
    """Thaw; 0. Raises RktpyError, OSError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    status = container.status()
    if status != "paused":
        raise RuntimeFailure("container not paused" if status != "stopped" else "container not running")
    set_frozen(container.groups, frozen=False)
    return 0
