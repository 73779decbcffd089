"""Doing something in the mount namespace of a running pod, where the apps' roots are mounted; all else is as on the host.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import StateError
from rktpy.isolate.asking import ask_child
from rktpy.isolate.holder import open_holder, read_pid
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.stage1.oci.paths import MONITOR_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def in_pod(action: Callable[[], bytes]) -> bytes:
    """What ``action`` returns, called in the mount namespace of the pod in the working directory.

    Raises what it raises, as Stage1Error with the same words; StateError when the pod does not run, OSError.
    """
    monitor = open_holder(read_pid(MONITOR_FILE))
    if monitor is None:
        raise StateError("no process of the pod is running")
    with monitor:
        mounts = os.open(f"/proc/{monitor.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if not monitor.alive():
            raise StateError("no process of the pod is running")
    directory = os.getcwd()

    def enter() -> None:
        syscalls.setns(mounts, c.CLONE_NEWNS)
        os.chdir(directory)

    try:
        return ask_child(enter, action)
    finally:
        os.close(mounts)
