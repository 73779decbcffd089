"""The end of a pod: what the monitor becomes when the pod's processes are gone, and what a launch that failed does.

Nothing of the pod outlives this but its directory and, on cgroup v2, the empty group that this process is in: networks are
disconnected, control groups removed. If this is killed, ``gc`` does it again. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.pod.end import clean_up


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory; ``argv`` ends with its UUID and exit status, which is returned."""
    arguments = parse_arguments(argv, ("debug",), ())
    if arguments.is_set("debug"):
        set_debug(True)
    try:
        # The pod's first process may still be dying: the kernel takes its mounts and files down.
        os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    clean_up()
    return int(arguments.rest[-1])
