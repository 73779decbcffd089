"""A pod's own subtree in every hierarchy, to be the root of the pod's control group namespace.

Called ``rktpy-<uuid>``, below the group of the calling process:

    <own>/rktpy-<uuid>/                 v1: limits, processes, and what the pod makes below
    <own>/rktpy-<uuid>/                 v2: limits
                       supervisor/          the calling process
                       payload/             processes of the pod, and what the pod makes below

On v2 a group with processes cannot hand out controllers ("no internal processes", the kernel's admin-guide/cgroup-v2), hence the
leaves, and hence the calling process leaves its own group. One writer per subtree: where systemd runs and has not delegated the
group we are in, it is asked for a scope. Hot-path module.
"""

from __future__ import annotations

import os
from errno import EBUSY

from rktpy.cgroup.delegation import delegated, refusal, systemd_runs
from rktpy.cgroup.hierarchy import Hierarchy, discover
from rktpy.cgroup.subtree import Group, Problem, Subtree, read, write
from rktpy.errors import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: The v2 controllers that are handed to a pod; enabling others would cost the machine something for nothing.
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")
PAYLOAD = "payload"
SUPERVISOR = "supervisor"


def make_pod_groups(
    uuid: str,
    *,
    before: Callable[[Subtree], None],
    hierarchies: tuple[Hierarchy, ...] | None = None,
    systemd: bool | None = None,
) -> Subtree:
    """Make the groups of the pod ``uuid``; ``before`` gets them, to write them down, before any is made.

    The calling process becomes the supervisor: on v2 it is moved into its leaf, under systemd into a scope. The pod's first
    process is then put in with :meth:`Subtree.enter`. A hierarchy where that cannot be done is left out and becomes one of
    ``problems``, as does a v2 controller that cannot be handed out. Raises OSError when /proc cannot be read, and whatever
    ``before`` raises.
    """
    name = f"rktpy-{uuid}"
    if hierarchies is None:
        hierarchies = discover()
    if systemd is None:
        systemd = systemd_runs()
    no_scope = ""
    if systemd and delegated(hierarchies) is None:
        from rktpy.cgroup.scope import start_scope

        hierarchies, no_scope = start_scope(f"{name}.scope", f"rktpy pod {uuid}")
    problems: list[Problem] = []
    planned: list[Group] = []
    for hierarchy in hierarchies:
        reason = no_scope or refusal(hierarchies, hierarchy, systemd=systemd)
        if reason:
            problems.append(Problem(_named(hierarchy), reason))
        else:
            planned.append(_group(hierarchy, name))
    if planned:
        before(Subtree(tuple(planned)))
    made: list[Group] = []
    for group in planned:
        try:
            made.append(_make_v2(group, problems) if group.version == 2 else _make_v1(group))
        except OSError as error:
            problems.append(Problem(group.controllers or ("cgroup2",), describe(error)))
    return Subtree(tuple(made), tuple(problems))


def own_processes(groups: Subtree) -> str:
    """``cgroup.procs`` of the group that the caller of :func:`make_pod_groups` is in, in one hierarchy; empty without any."""
    for group in groups.groups:
        directory = f"{group.directory}/{SUPERVISOR}" if group.leaf else os.path.dirname(group.directory)
        if os.access(f"{directory}/cgroup.procs", os.W_OK):
            return f"{directory}/cgroup.procs"
    return ""


def _named(hierarchy: Hierarchy) -> tuple[str, ...]:
    return hierarchy.controllers or ("cgroup2",)


def _group(hierarchy: Hierarchy, name: str) -> Group:
    directory = f"{hierarchy.directory(hierarchy.own)}/{name}"
    path = f"{hierarchy.own.rstrip('/')}/{name}"
    if hierarchy.version == 1:
        return Group(1, directory, path, hierarchy.controllers)
    controllers = tuple([one for one in CONTROLLERS if one in hierarchy.controllers])
    # Where there is nothing to hand out (a hybrid machine), nobody has to make room; moving a process costs milliseconds.
    return Group(2, directory, path, controllers, PAYLOAD if controllers else "")


def _make_v1(group: Group) -> Group:
    _make_directory(group.directory)
    if "cpuset" in group.controllers:
        above = os.path.dirname(group.directory)
        for kind in ("cpus", "mems"):
            if read(f"{group.directory}/cpuset.{kind}").strip():
                continue
            # A new group has none, and no process can enter it so.
            value = read(f"{above}/cpuset.{kind}").strip() or read(f"{above}/cpuset.effective_{kind}").strip()
            write(f"{group.directory}/cpuset.{kind}", value)
        write(f"{group.directory}/cgroup.clone_children", "1")
    return group


def _make_v2(group: Group, problems: list[Problem]) -> Group:
    _make_directory(group.directory)
    if not group.leaf:
        return group
    for directory in (f"{group.directory}/{SUPERVISOR}", group.entrance):
        _make_directory(directory)
    write(f"{group.directory}/{SUPERVISOR}/cgroup.procs", "0")
    above = os.path.dirname(group.directory)
    enabled: list[str] = []
    for controller in group.controllers:  # one by one: the kernel takes all of a list or none
        try:
            for directory in (above, group.directory):
                write(f"{directory}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            other = f"control group {os.path.dirname(group.path) or '/'} has other processes in it"
            problems.append(Problem((controller,), other if error.errno == EBUSY else describe(error)))
        else:
            enabled.append(controller)
    return group.replace(controllers=tuple(enabled))


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass  # left by a run that was killed
