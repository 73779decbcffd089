"""``restore``."""

from __future__ import annotations

import os

from rktpy.oci.command_line import Arguments
from rktpy.oci.criu import find_criu, restore_container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.request import request_of


def run(arguments: Arguments) -> int:
    """Make a container of a checkpoint; its status, 0 with ``--detach``. Raises RktpyError, OSError."""
    criu = find_criu()
    images = os.path.abspath(arguments.text("image-path") or "checkpoint")
    if not os.path.isdir(images):
        raise RuntimeFailure(f"no checkpoint at {images}")
    request = request_of(arguments)
    request.start = True
    request.detach = arguments.switch("detach")
    return restore_container(criu, arguments, request, images)
