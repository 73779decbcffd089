"""``checkpoint``."""

from __future__ import annotations

import os

from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.criu import checkpoint_arguments, find_criu, run_criu
from rktpy.oci.destroy import destroy
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root


def run(arguments: Arguments) -> int:
    """Write a container to disk; 0. Raises RktpyError, OSError."""
    criu = find_criu()
    container = Container.load(state_root(arguments), arguments.args[0])
    if container.status() not in ("running", "paused"):
        raise RuntimeFailure(f"container cannot be checkpointed in {container.status()} state")
    images = os.path.abspath(arguments.text("image-path") or "checkpoint")
    os.makedirs(images, 0o700, exist_ok=True)
    run_criu(criu, checkpoint_arguments(arguments, container, images), arguments, images)
    if not arguments.switch("leave-running") and not arguments.switch("pre-dump"):
        destroy(container)
    return 0
