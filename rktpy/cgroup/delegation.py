"""Where this process may make control groups.

One writer per subtree: where systemd runs, everything belongs to it but what it delegated (``Delegate=yes``), which it marks
with an extended attribute on the unit's group (systemd's CGROUP_DELEGATION document). Where it does not run, the process's
own group is ours to make groups in. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.hierarchy import Hierarchy, find

#: The v1 controllers that systemd manages; to the others, a group of its own counts for nothing (CGROUP_DELEGATION).
_MANAGED = frozenset(("cpu", "cpuacct", "blkio", "memory", "devices", "pids", "name=systemd"))
_MARKS = ("trusted.delegate", "user.delegate")


def systemd_runs() -> bool:
    """Whether systemd is this machine's service manager (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def refusal(hierarchies: tuple[Hierarchy, ...], hierarchy: Hierarchy, *, systemd: bool) -> str:
    """Why no group may be made below the process's own one in ``hierarchy``; empty when it may."""
    if not systemd:
        return ""
    unit = delegated(hierarchies)
    if unit is None:
        return f"control group {hierarchy.own} belongs to systemd; run in a unit or scope with Delegate=yes"
    if hierarchy.version == 1 and _MANAGED.isdisjoint(hierarchy.controllers):
        return ""
    if hierarchy.own != unit and not hierarchy.own.startswith(f"{unit.rstrip('/')}/"):
        return f"systemd did not delegate the controller {','.join(hierarchy.controllers)}"
    return ""


def delegated(hierarchies: tuple[Hierarchy, ...]) -> str | None:
    """The nearest group at or above our own that systemd delegated, in the hierarchy that systemd keeps its units in."""
    named = find(hierarchies, "name=systemd")
    for hierarchy in (*((named,) if named else ()), *(one for one in hierarchies if one.version == 2)):
        group: str = hierarchy.own
        while group not in ("", "/"):
            directory = hierarchy.directory(group)
            if directory is not None and _marked(directory):
                return group
            group = group.rpartition("/")[0]
    return None


def own_unit(hierarchies: tuple[Hierarchy, ...]) -> str:
    """The group of the service or scope of the system's manager that this process is in, ``/system.slice/web.service``.

    Empty when it is in none, as where systemd does not run. Units of a user's manager lie below the service of that manager.
    """
    named = find(hierarchies, "name=systemd")
    for hierarchy in (*((named,) if named else ()), *(one for one in hierarchies if one.version == 2)):
        parts: list[str] = hierarchy.own.split("/")
        for index, part in enumerate(parts):
            if part.endswith((".service", ".scope")):
                return "/".join(parts[: index + 1])
    return ""


def own_service() -> str:
    """The name of that unit if it is a service; empty when it is none. Raises OSError."""
    from rktpy.cgroup.hierarchy import discover

    name = own_unit(discover()).rpartition("/")[2]
    return name if name.endswith(".service") else ""


def _marked(directory: str) -> bool:
    for mark in _MARKS:
        try:
            if os.getxattr(directory, mark) == b"1":
                return True
        except OSError:
            pass
    return False
