"""Room for a pod's groups on cgroup v2, where a group that hands out controllers must be empty."""

from __future__ import annotations

import os

from rktpy.cgroup.hierarchy import discover


def make_room() -> None:
    """Move what is in our v2 group, the test's own processes, to one beside a new one that only this process is in."""
    for one in discover():
        if one.version != 2 or not one.controllers:
            continue
        top = f"{one.directory(one.own)}"
        for name in ("tests", "own"):
            os.mkdir(f"{top}/{name}")
        with open(f"{top}/cgroup.procs") as file:
            pids = file.read().split()
        for pid in pids:
            with open(f"{top}/tests/cgroup.procs", "w") as file:
                file.write(pid)
        for controller in one.controllers:
            with open(f"{top}/cgroup.subtree_control", "w") as file:
                file.write(f"+{controller}")
        with open(f"{top}/own/cgroup.procs", "w") as file:
            file.write("0")


def move_aside() -> None:
    """Join the processes that :func:`make_room` moved, and leave the group to what this process started."""
    for one in discover():
        if one.version == 2 and one.own.endswith("/own"):
            with open(f"{os.path.dirname(str(one.directory(one.own)))}/tests/cgroup.procs", "w") as file:
                file.write("0")
