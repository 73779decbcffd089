"""Doing something in the namespaces of a running pod: a child goes there, and its answer or error comes back. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.isolate.asking import ask_child
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.stage1.systemd.pod_process import first_process, open_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def in_pod(action: Callable[[], bytes]) -> bytes:
    """What ``action`` returns, called as the pod's root in the pod's pid and mount namespace, with its root as working directory.

    The pod is the one whose first process RKT_STAGE1_ENTERPID names. ``action`` must import nothing: there is no Python inside.
    Raises what it raises, as Stage1Error with the same words; UsageError, StateError, OSError.
    """
    first = first_process(os.environ.get(names.ENTER_PID, ""))
    flags = os.O_RDONLY | os.O_CLOEXEC
    users = open_user_namespace(first)
    mounts = os.open(f"/proc/{first}/ns/mnt", flags)
    processes = os.open(f"/proc/{first}/ns/pid", flags)
    own = os.open("/proc/self/ns/pid", flags)

    def enter() -> None:
        if users >= 0:
            syscalls.setns(users, c.CLONE_NEWUSER)
            os.setresgid(0, 0, 0)
            os.setgroups(())
            os.setresuid(0, 0, 0)
        # The pod's processes see us now: no tracing, nothing through our files in /proc.
        syscalls.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0)
        syscalls.setns(mounts, c.CLONE_NEWNS)

    syscalls.setns(processes, c.CLONE_NEWPID)  # for the child
    try:
        return ask_child(enter, action)
    finally:
        syscalls.setns(own, c.CLONE_NEWPID)
        for fd in (mounts, processes, own):
            os.close(fd)
