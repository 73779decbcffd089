"""``state``. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats.jsondoc import dump_pretty
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.main import state_root


def run(arguments: Arguments) -> int:
    """Print the state; 0. Raises RktpyError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    os.write(1, dump_pretty(container.document(), "  ").encode())
    return 0
