"""Limits on a pod, put into force where the machine can, with an outcome for each that says what became of it.

Files and units: the kernel's ``admin-guide/cgroup-v1`` and ``cgroup-v2``. A v2 group whose processes are to be limited must not
share its parent with other processes (no internal processes), so there the calling process moves first and the parent's
controllers are enabled after. Hot-path module.
"""

from __future__ import annotations

import os
from errno import EBUSY

from rktpy.cgroup.delegation import delegated, refusal, systemd_runs
from rktpy.cgroup.hierarchy import Hierarchy, discover, find
from rktpy.cgroup.subtree import Group, Problem, Subtree, write
from rktpy.errors import describe
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: CFS period in microseconds, the kernel's default; the kernel takes no quota under 1000.
PERIOD = 100_000
_LEAST_QUOTA = 1000


class Limits(Record):
    """What to limit; None leaves it alone.

    ``memory`` in bytes, ``cpu`` in thousandths of a core, ``cpu_shares`` 2 to 262144, ``pids`` processes and threads,
    ``memory_swap`` memory and swap together, in bytes; ``block_bandwidth`` in bytes per second and ``block_iops`` in operations
    per second, each for reading and for writing.
    """

    memory: int | None = None
    cpu: int | None = None
    cpu_shares: int | None = None
    pids: int | None = None
    memory_swap: int | None = None
    block_bandwidth: int | None = None
    block_iops: int | None = None

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


_CONTROLLERS = {"memory": "memory", "memory_swap": "memory", "cpu": "cpu", "cpu_shares": "cpu", "pids": "pids"}
_BLOCK = ("block_bandwidth", "block_iops")


def controller_of(limit: str, version: int) -> str:
    """The controller that puts a limit (a field of Limits) into force in a hierarchy of ``version``."""
    if limit in _BLOCK:
        return "io" if version == 2 else "blkio"
    return _CONTROLLERS[limit]


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


def block_settings(limit: str, value: int, version: int, device: str) -> tuple[Setting, ...]:
    """The control files and values for a limit on block I/O of ``device`` (``major:minor``)."""
    unit = "bps" if limit == "block_bandwidth" else "iops"
    if version == 2:
        return (Setting("io.max", f"{device} r{unit}={value} w{unit}={value}"),)
    changed = "cgroup v1 limits reads and direct writes, not what the kernel writes back later"
    return tuple([Setting(f"blkio.throttle.{way}_{unit}_device", f"{device} {value}", changed) for way in ("read", "write")])


def shares_to_weight(shares: int) -> int:
    """cpu.shares (2..262144) on the scale of cpu.weight (1..10000), as runc and systemd convert it."""
    return max(1, min(10000, 1 + (shares - 2) * 9999 // 262142))


def set_limits(subtree: Subtree, limits: Limits, directory: str = "/") -> tuple[Outcome, ...]:
    """Set limits on the groups of a subtree; ``directory`` is on the disk that limits on block I/O are for.

    What is not possible becomes an outcome, not an error.
    """
    outcomes: list[Outcome] = []
    for limit in limits.wanted():
        group = subtree.group(controller_of(limit, 1)) or subtree.group(controller_of(limit, 2))
        if group is None:
            outcomes.append(Outcome(limit, "ignored", _missing(subtree, limit)))
        elif limit in _BLOCK:
            outcomes.append(_set_block(limit, getattr(limits, limit), group, directory))
        elif limit == "memory_swap":
            outcomes.append(_set_swap(limits, group))
        else:
            outcomes.append(_set(limit, getattr(limits, limit), group.version, group.directory))
    return tuple(outcomes)


def _missing(subtree: Subtree, limit: str) -> str:
    names = (controller_of(limit, 1), controller_of(limit, 2))
    for problem in subtree.problems:
        if not set(names).isdisjoint(problem.controllers):
            return problem.reason
    return f"no {names[0]} control group is mounted"


def apply_limits(
    name: str,
    limits: Limits,
    *,
    before: Callable[[Subtree], None],
    hierarchies: tuple[Hierarchy, ...] | None = None,
    systemd: bool | None = None,
    directory: str = "/",
) -> tuple[Subtree, tuple[Outcome, ...]]:
    """Make groups called ``name`` below our own ones and set ``limits`` on them.

    ``before`` gets the subtree before any of it is made, to write it down: whoever cleans up after a crash must find it. The
    calling process is moved where v2 needs it to, and under a systemd that has not delegated its group into a scope called
    ``name``; :meth:`Subtree.enter` does the rest. ``directory`` is on the disk that limits on block I/O are for. What is not
    possible becomes an outcome, not an error.
    """
    if hierarchies is None:
        hierarchies = discover()
    if systemd is None:
        systemd = systemd_runs()
    problems: list[Problem] = []
    used: dict[str, Hierarchy] = {}
    no_scope = ""
    if systemd and hierarchies and limits.wanted() and delegated(hierarchies) is None:
        from rktpy.cgroup.scope import start_scope

        hierarchies, no_scope = start_scope(f"{name}.scope", f"limits of {name}")
    for limit in limits.wanted():
        hierarchy = _hierarchy(hierarchies, limit)
        if hierarchy is None:
            continue
        reason = no_scope or refusal(hierarchies, hierarchy, systemd=systemd)
        if reason:
            problems.append(Problem(hierarchy.controllers, reason))
        else:
            used[limit] = hierarchy
    chosen = tuple({hierarchy.mount: hierarchy for hierarchy in used.values()}.values())
    subtree = Subtree(tuple([_group(one, name) for one in chosen]))
    if chosen:
        before(subtree)
    controllers = [controller_of(limit, hierarchy.version) for limit, hierarchy in used.items()]
    made = _make(chosen, subtree, controllers, problems)
    return made, set_limits(made, limits, directory)


def _hierarchy(hierarchies: tuple[Hierarchy, ...], limit: str) -> Hierarchy | None:
    """The hierarchy whose controller puts a limit into force."""
    return find(hierarchies, controller_of(limit, 1)) or find(hierarchies, controller_of(limit, 2))


def _group(hierarchy: Hierarchy, name: str) -> Group:
    directory = hierarchy.directory(hierarchy.own)
    return Group(hierarchy.version, f"{directory}/{name}", f"{hierarchy.own.rstrip('/')}/{name}", hierarchy.controllers)


def _make(chosen: tuple[Hierarchy, ...], subtree: Subtree, controllers: list[str], problems: list[Problem]) -> Subtree:
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
            other = f"control group {hierarchy.own} has other processes in it"
            problems.append(Problem(group.controllers, other if error.errno == EBUSY else describe(error)))
            continue
        good.append(group)
    return Subtree(tuple(good), tuple(problems))


def _set(limit: str, value: int, version: int, directory: str) -> Outcome:
    return _write(limit, (setting(limit, value, version),), directory)


def _set_swap(limits: Limits, group: Group) -> Outcome:
    total = limits.memory_swap or 0
    if limits.memory is None:
        return Outcome("memory_swap", "ignored", "a limit on memory and swap needs one on memory")
    if total < limits.memory:
        return Outcome("memory_swap", "ignored", "memory and swap together are less than memory")
    if group.version == 2:
        return _write("memory_swap", (Setting("memory.swap.max", str(total - limits.memory)),), group.directory)
    if not os.path.exists(f"{group.directory}/memory.memsw.limit_in_bytes"):
        return Outcome("memory_swap", "ignored", "the kernel does not account for swap")
    return _write("memory_swap", (Setting("memory.memsw.limit_in_bytes", str(total)),), group.directory)


def _set_block(limit: str, value: int, group: Group, directory: str) -> Outcome:
    from rktpy.cgroup.block_device import block_device

    try:
        device = block_device(directory)
    except (LookupError, OSError) as error:
        reason = describe(error) if isinstance(error, OSError) else str(error.args[0])
        return Outcome(limit, "ignored", reason)
    return _write(limit, block_settings(limit, value, group.version, device), group.directory)


def _write(limit: str, settings: tuple[Setting, ...], directory: str) -> Outcome:
    try:
        for one in settings:
            write(f"{directory}/{one.file}", one.value)
    except OSError as error:
        return Outcome(limit, "ignored", describe(error))
    changed = settings[0].changed
    return Outcome(limit, "changed" if changed else "enforced", changed)
