"""The end of a pod, and the end of a start that failed. If the process that does this is killed, ``gc`` does it again.

Hot-path module.
"""

from __future__ import annotations

import os


def finish() -> None:
    """Wait for the children, which have been killed; disconnect the networks, remove the control groups."""
    from rktpy.pod.end import clean_up

    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    clean_up()
