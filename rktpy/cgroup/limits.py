"""Limits on a pod, put into force where the machine can, with an outcome for each that says what became of it.

Files and units: the kernel's ``admin-guide/cgroup-v1`` and ``cgroup-v2``. A v2 group whose processes are to be limited must not
share its parent with other processes (no internal processes), so there the calling process moves first and the parent's
controllers are enabled after. Hot-path module.
"""

from __future__ import annotations

import os
from errno import EBUSY

from rktpy.cgroup.delegation import refusal, systemd_runs
from rktpy.cgroup.hierarchy import Hierarchy, discover, find
from rktpy.cgroup.subtree import Group, Subtree, write
from rktpy.errors import describe
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: CFS period in microseconds, the kernel's default; the kernel takes no quota under 1000.
PERIOD = 100_000
_LEAST_QUOTA = 1000


class Limits(Record):
    """What to limit; None leaves it alone. ``memory`` in bytes, ``cpu`` in thousandths of a core, ``cpu_shares`` 2 to 262144."""

    memory: int | None = None
    cpu: int | None = None
    cpu_shares: int | None = None
    pids: int | None = None

    def wanted(self) -> tuple[str, ...]:
        """Names of the limits that are set."""
        return tuple([name for name in self._fields if getattr(self, name) is not None])


class Outcome(Record):
    """What became of one limit (a field of Limits): ``enforced``, ``changed`` or ``ignored``, and why."""

    limit: str
    outcome: str = "enforced"
    reason: str = ""


class Setting(Record):
    """A value for a control file, and in words how it differs from what was asked for."""

    file: str
    value: str
    changed: str = ""


_CONTROLLERS = {"memory": "memory", "cpu": "cpu", "cpu_shares": "cpu", "pids": "pids"}


def setting(limit: str, value: int, version: int) -> Setting:
    """The control file and value for a limit in a hierarchy of ``version``."""
    if limit == "memory":
        return Setting("memory.max" if version == 2 else "memory.limit_in_bytes", str(value))
    if limit == "pids":
        return Setting("pids.max", str(value))
    if limit == "cpu_shares":
        if version == 2:
            return Setting("cpu.weight", str(shares_to_weight(value)))
        return Setting("cpu.shares", str(value))
    quota = value * PERIOD // 1000
    changed = ""
    if quota < _LEAST_QUOTA:
        quota, changed = _LEAST_QUOTA, "the least quota is a hundredth of a core"
    if version == 2:
        return Setting("cpu.max", f"{quota} {PERIOD}", changed)
    return Setting("cpu.cfs_quota_us", str(quota), changed)


def shares_to_weight(shares: int) -> int:
    """cpu.shares (2..262144) on the scale of cpu.weight (1..10000), as runc and systemd convert it."""
    return max(1, min(10000, 1 + (shares - 2) * 9999 // 262142))


def apply_limits(
    name: str,
    limits: Limits,
    *,
    before: Callable[[Subtree], None],
    hierarchies: tuple[Hierarchy, ...] | None = None,
    systemd: bool | None = None,
) -> tuple[Subtree, tuple[Outcome, ...]]:
    """Make groups called ``name`` below our own ones and set ``limits`` on them.

    ``before`` gets the subtree before any of it is made, to write it down: whoever cleans up after a crash must find it. The
    calling process is moved where v2 needs it to; :meth:`Subtree.enter` does the rest. What is not possible becomes an outcome,
    not an error.
    """
    if hierarchies is None:
        hierarchies = discover()
    if systemd is None:
        systemd = systemd_runs()
    outcomes: dict[str, Outcome] = {}
    used: dict[str, Hierarchy] = {}
    for limit in limits.wanted():
        controller = _CONTROLLERS[limit]
        hierarchy = find(hierarchies, controller)
        if hierarchy is None:
            outcomes[limit] = Outcome(limit, "ignored", f"no {controller} control group is mounted")
            continue
        reason = refusal(hierarchies, hierarchy, systemd=systemd)
        if reason:
            outcomes[limit] = Outcome(limit, "ignored", reason)
            continue
        used[limit] = hierarchy
    chosen = tuple({hierarchy.mount: hierarchy for hierarchy in used.values()}.values())
    subtree = Subtree(tuple([_group(one, name) for one in chosen]))
    if chosen:
        before(subtree)
    made, problems = _make(chosen, subtree, [_CONTROLLERS[limit] for limit in used])
    for limit, hierarchy in used.items():
        if hierarchy.mount in problems:
            outcomes[limit] = Outcome(limit, "ignored", problems[hierarchy.mount])
        else:
            outcomes[limit] = _set(limit, getattr(limits, limit), hierarchy.version, made.directory(_CONTROLLERS[limit]) or "")
    return made, tuple([outcomes[limit] for limit in limits.wanted()])


def _group(hierarchy: Hierarchy, name: str) -> Group:
    directory = hierarchy.directory(hierarchy.own)
    return Group(hierarchy.version, f"{directory}/{name}", f"{hierarchy.own.rstrip('/')}/{name}", hierarchy.controllers)


def _make(chosen: tuple[Hierarchy, ...], subtree: Subtree, controllers: list[str]) -> tuple[Subtree, dict[str, str]]:
    """Make the groups; the problems are by mount."""
    problems: dict[str, str] = {}
    good: list[Group] = []
    for hierarchy, group in zip(chosen, subtree.groups, strict=True):
        try:
            try:
                os.mkdir(group.directory)
            except FileExistsError:
                pass
            if group.version == 2:
                write(f"{group.directory}/cgroup.procs", "0")
                wanted = " ".join([f"+{name}" for name in dict.fromkeys(controllers) if name in group.controllers])
                write(f"{os.path.dirname(group.directory)}/cgroup.subtree_control", wanted)
        except OSError as error:
            if error.errno == EBUSY:
                problems[hierarchy.mount] = f"control group {hierarchy.own} has other processes in it"
            else:
                problems[hierarchy.mount] = describe(error)
            continue
        good.append(group)
    return Subtree(tuple(good)), problems


def _set(limit: str, value: int, version: int, directory: str) -> Outcome:
    one = setting(limit, value, version)
    try:
        write(f"{directory}/{one.file}", one.value)
    except OSError as error:
        return Outcome(limit, "ignored", describe(error))
    return Outcome(limit, "changed" if one.changed else "enforced", one.changed)
