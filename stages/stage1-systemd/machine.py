"""Telling systemd-machined about a pod, where the host runs it: machinectl(1) and ``journalctl -M`` then know the pod.

The call is ``RegisterMachine`` of org.freedesktop.machine1(5). machined forgets a machine when its first process has ended,
so nothing has to be written down or undone. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.delegation import systemd_runs
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.pod.pod import Pod

_DESTINATION = ("org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager")
_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system")


def register(pod: Pod, pid: int) -> None:
    """Register the pod, whose first process is ``pid``, as ``rkt-<uuid>``. A failure is no reason not to run the pod."""
    if not systemd_runs() or not any(os.path.exists(f"{directory}/systemd-machined.service") for directory in _UNITS):
        return
    from rktpy.cgroup.scope import run_program

    problem = run_program(call(pod, pid))
    if problem:
        debug("stage1", f"machined does not take the pod: {problem}")


def call(pod: Pod, pid: int) -> list[str]:
    """The arguments of busctl(1)."""
    from rktpy.cgroup.scope import BUSCTL

    identity = bytes.fromhex(pod.machine_id)
    return [
        *BUSCTL,
        "call",
        *_DESTINATION,
        "RegisterMachine",
        "sayssus",
        f"rkt-{pod.uuid}",
        str(len(identity)),
        *map(str, identity),
        "rktpy",
        "container",
        str(pid),
        pod.root,
    ]
