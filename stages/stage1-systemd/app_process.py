"""Finding the process that is an app: the oldest one in the control group of its service. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.recorded import recorded_groups
from rktpy.cgroup.subtree import read
from rktpy.errors import StateError
from rktpy.isolate.holder import Holder, open_process
from rktpy.isolate.plan import shown

SERVICES = "system.slice"


def open_app(name: str) -> Holder:
    """The process of the app ``name`` of the pod in the working directory. Raises StateError when it does not run."""
    groups = recorded_groups()
    for group in groups.groups if groups is not None else ():
        try:
            pids = [int(word) for word in read(f"{group.entrance}/{SERVICES}/{name}.service/cgroup.procs").split()]
        except OSError:
            continue  # systemd makes a service's group in some hierarchies only
        # Process IDs are no ages once they are used again.
        for _started, pid in sorted([(started(pid), pid) for pid in pids]):
            holder = open_process(pid)
            if holder is not None:
                return holder
    raise StateError(f"app {shown(name)} is not running")


def started(pid: int) -> int:
    """When a process was started, in ticks since the boot (proc(5)); 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
