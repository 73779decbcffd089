"""The end of a pod: what the monitor becomes when the pod's processes are gone. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.stage1.oci.ending import end_pod


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory; ``argv`` ends with its UUID and exit status, which is returned."""
    arguments = parse_arguments(argv, ("debug",), ())
    if arguments.is_set("debug"):
        set_debug(True)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    end_pod()
    return int(arguments.rest[-1])
