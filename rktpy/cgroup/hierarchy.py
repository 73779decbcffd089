"""Which control group hierarchies there are, and where a process stands in them.

A hierarchy counts only when it is mounted in this mount namespace: /proc/PID/cgroup also lists others (cgroups(7)). On a hybrid
machine v1 controllers and a v2 hierarchy, often with few controllers, stand side by side. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Hierarchy(Record):
    """One mounted hierarchy. ``controllers``: ``("cpu",)``, ``("name=systemd",)``; for v2 those that the process's group may
    use.

    ``mount`` is its mount point and ``root`` the group that the mount shows as its top; ``own`` is the process's group.
    """

    version: int
    mount: str
    controllers: tuple[str, ...]
    own: str
    root: str = "/"

    def directory(self, group: str) -> str | None:
        """The directory of ``group``, None when it is not below the mount."""
        if ".." in group.split("/"):
            return None  # outside our cgroup namespace
        if self.root == "/":
            return f"{self.mount}{group.rstrip('/')}"
        if group == self.root or group.startswith(f"{self.root}/"):
            return f"{self.mount}{group[len(self.root) :]}"
        return None


def discover(pid: int | str = "self") -> tuple[Hierarchy, ...]:
    """The hierarchies mounted here, with the groups of the process ``pid``. Empty when there are none. Raises OSError."""
    membership: dict[str, str] = {}
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        _number, names, group = line.split(":", 2)
        membership[names] = group
    by_mount: dict[str, Hierarchy] = {}  # a later mount on the same place covers the earlier one
    for line in _read("/proc/self/mountinfo").splitlines():
        if " - cgroup" not in line:
            by_mount.pop(unescape(line.split(" ", 5)[4]), None)
            continue
        left, right = line.split(" - ", 1)
        fields = left.split(" ")
        root, mount = unescape(fields[3]), unescape(fields[4])
        kind, _source, options = right.split(" ", 2)
        if kind == "cgroup2":
            by_mount[mount] = Hierarchy(2, mount, (), membership.get("", "/"), root)
            continue
        given = frozenset(options.split(","))
        for names, group in membership.items():
            controllers = tuple(names.split(","))
            if names and given.issuperset(controllers):
                by_mount[mount] = Hierarchy(1, mount, controllers, group, root)
                break
    return tuple(_with_controllers(by_mount.values()))


def _with_controllers(hierarchies: Iterable[Hierarchy]) -> Iterable[Hierarchy]:
    for hierarchy in hierarchies:
        directory = hierarchy.directory(hierarchy.own)
        if directory is None or not os.path.isdir(directory):
            continue
        if hierarchy.version == 2:
            hierarchy = hierarchy.replace(controllers=tuple(_read(f"{directory}/cgroup.controllers").split()))
        yield hierarchy


def find(hierarchies: tuple[Hierarchy, ...], controller: str) -> Hierarchy | None:
    """The hierarchy that has ``controller``."""
    for hierarchy in hierarchies:
        if controller in hierarchy.controllers:
            return hierarchy
    return None


def unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as octal."""
    if "\\" not in field:
        return field
    for escaped, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, character)
    return field


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.readall().decode("utf-8", "surrogateescape")
