"""The control groups of one container, where its configuration says (``linux.cgroupsPath``).

runtime-spec 1.2 ``config-linux.md``, Cgroups Path: an absolute path counts from where a hierarchy is mounted, a relative one from
our own group. On v2 a group with processes hands out no controllers, so there a relative path counts from the group above ours.
On a hybrid machine the v1 hierarchies hold the container; v2 is joined when it has a controller that is asked for.

Hot-path module.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EPERM, EROFS

from rktpy.cgroup.hierarchy import Hierarchy
from rktpy.cgroup.subtree import Group, Subtree, read, write

_REFUSED = (EACCES, EPERM, EROFS)


def plan_groups(
    hierarchies: tuple[Hierarchy, ...],
    path: str,
    name: str,
    wanted: frozenset[str] = frozenset(),
    *,
    relative_to_own: bool = False,
) -> Subtree:
    """The groups for ``path``, or without one for the relative path ``name``; none is made.

    ``wanted`` are controllers for which v2 is joined on a hybrid machine. With ``relative_to_own`` the path counts from our own
    group on v2 too.
    """
    pure = all(one.version == 2 for one in hierarchies)
    groups: list[Group] = []
    for one in hierarchies:
        if one.version == 2 and not pure and wanted.isdisjoint(one.controllers):
            continue
        if path.startswith("/"):
            inner = os.path.normpath(path).lstrip("/")
            directory, group = f"{one.mount}/{inner}", f"/{inner}"
        else:
            own = one.own if one.version == 1 or relative_to_own else os.path.dirname(one.own)
            inner = os.path.normpath(path or name)
            if inner.startswith(".."):
                inner = inner.replace("..", "").strip("/") or name
            directory = f"{(one.directory(own) or one.mount).rstrip('/')}/{inner}"
            group = f"{own.rstrip('/')}/{inner}"
        groups.append(Group(one.version, directory.rstrip("/"), group, one.controllers))
    return Subtree(tuple(groups))


def make_groups(subtree: Subtree, hierarchies: tuple[Hierarchy, ...], *, tolerant: bool = False) -> Subtree:
    """Make the planned groups; gives those that are there now. Raises OSError.

    ``tolerant`` leaves out groups that we may not make.
    """
    mounts = {one.controllers: one.mount for one in hierarchies}
    made: list[Group] = []
    for group in subtree.groups:
        try:
            made.append(_make(group, mounts.get(group.controllers, "")))
        except OSError as error:
            if not tolerant or error.errno not in _REFUSED:
                raise
    return Subtree(tuple(made))


def _make(group: Group, mount: str) -> Group:
    directory = group.directory
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(directory, 0o755, exist_ok=True)
    if group.version == 1:
        if "cpuset" in group.controllers:
            _fill_cpuset(directory, mount)
        return group
    enabled: list[str] = []
    parts = directory[len(mount) :].strip("/").split("/")
    above = [mount + "".join(f"/{part}" for part in parts[:number]) for number in range(len(parts))]
    for controller in group.controllers:
        try:
            for one in above:
                if controller not in read(f"{one}/cgroup.subtree_control").split():
                    write(f"{one}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno not in (*_REFUSED, EBUSY):
                continue  # a controller that cannot be handed out, cpu with realtime processes for example
        if os.path.exists(f"{directory}/{controller}.events") or controller in _controllers(directory):
            enabled.append(controller)
    return group.replace(controllers=tuple(enabled))


def _controllers(directory: str) -> list[str]:
    try:
        return read(f"{directory}/cgroup.controllers").split()
    except OSError:
        return []


def _fill_cpuset(directory: str, mount: str) -> None:
    """A new v1 group has no CPUs and no memory nodes, and no process can enter it so."""
    todo: list[str] = []
    while directory != mount and len(directory) > len(mount):
        if read(f"{directory}/cpuset.cpus").strip() and read(f"{directory}/cpuset.mems").strip():
            break
        todo.append(directory)
        directory = os.path.dirname(directory)
    for one in reversed(todo):
        for kind in ("cpus", "mems"):
            above = os.path.dirname(one)
            value = read(f"{above}/cpuset.{kind}").strip() or read(f"{above}/cpuset.effective_{kind}").strip()
            write(f"{one}/cpuset.{kind}", value)


def entrances(subtree: Subtree) -> list[int]:
    """Descriptors of the files by which a process moves itself into the groups: it writes ``0``. Raises OSError.

    On v1 that is ``tasks``: a thread that moves itself needs none of the locks that moving a process takes, which wait for all
    CPUs.
    """
    found: list[int] = []
    try:
        for group in subtree.groups:
            name = "tasks" if group.version == 1 else "cgroup.procs"
            found.append(os.open(f"{group.entrance}/{name}", os.O_WRONLY | os.O_CLOEXEC))
    except BaseException:
        for fd in found:
            os.close(fd)
        raise
    return found
