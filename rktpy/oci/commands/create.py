"""``create``. Hot-path module."""

from __future__ import annotations

from rktpy.oci.command_line import Arguments
from rktpy.oci.create import create
from rktpy.oci.request import request_of


def run(arguments: Arguments) -> int:
    """Make a container; 0. Raises RktpyError, OSError."""
    create(request_of(arguments))
    return 0
