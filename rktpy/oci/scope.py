"""Containers in scopes of systemd's (``--systemd-cgroup``): ``cgroupsPath`` is then ``slice:prefix:name``."""

from __future__ import annotations

import os
import time

from rktpy.cgroup.container_groups import make_groups, plan_groups
from rktpy.cgroup.scope import change_call, run_program, start_call, stop_call
from rktpy.cgroup.subtree import write
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.resources import Resources
    from rktpy.oci.groups import Groups

_PATIENCE = 10.0


def scope_of(cgroups_path: str, container_id: str) -> tuple[str, str]:
    """The slice and the unit of a container. Raises RuntimeFailure."""
    if not cgroups_path:
        return "system.slice", f"rktpy-{container_id}.scope"
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise RuntimeFailure(
            f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got {cgroups_path!r} instead'
        )
    if parts[2].endswith(".slice"):
        raise RuntimeFailure(f"cgroupsPath {cgroups_path!r}: a container is a scope, not a slice")
    return parts[0] or "system.slice", f"{parts[1]}-{parts[2]}.scope" if parts[1] else f"{parts[2]}.scope"


def group_path(slice_name: str, unit: str) -> str:
    """The control group of a unit: a slice ``a-b`` is inside the slice ``a``. Raises RuntimeFailure."""
    name = slice_name.removesuffix(".slice")
    if name == slice_name or "/" in name or "--" in name or (name != "-" and (name.startswith("-") or name.endswith("-"))):
        raise RuntimeFailure(f"invalid slice name: {slice_name}")
    parts = [] if name == "-" else name.split("-")
    path = "".join("/" + "-".join(parts[: number + 1]) + ".slice" for number in range(len(parts)))
    return f"{path}/{unit}"


def plan_scope(groups: Groups) -> None:
    """Where the groups will be."""
    assert groups.scope is not None
    groups.subtree = plan_groups(groups.hierarchies, group_path(*groups.scope), "")


def enter_scope(pid: int, groups: Groups, resources: Resources | None) -> None:
    """Have systemd start the scope with the process in it, then join the hierarchies that systemd leaves alone.

    Raises RuntimeFailure, OSError.
    """
    assert groups.scope is not None
    slice_name, unit = groups.scope
    problem = run_program(start_call(unit, f"container {unit.removesuffix('.scope')}", pid, slice_name, properties_of(resources)))
    if problem:
        raise RuntimeFailure(f"systemd gives no scope: {problem}")
    deadline = time.monotonic() + _PATIENCE
    while not _is_in(pid, unit):  # the call only queues the job
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"systemd does not start {unit}")
        time.sleep(0.002)
    groups.subtree = make_groups(groups.subtree, groups.hierarchies, tolerant=groups.tolerant)
    for group in groups.subtree.groups:
        write(f"{group.entrance}/cgroup.procs", str(pid))


def _is_in(pid: int, unit: str) -> bool:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return any(line.rstrip("\n").endswith(f"/{unit}") for line in file)


def properties_of(resources: Resources | None) -> list[tuple[str, str, str]]:
    """Limits as properties of the unit, so that systemd does not set them to others when it is reloaded."""
    if resources is None:
        return []
    found: list[tuple[str, str, str]] = []
    if resources.memory is not None and resources.memory.limit and resources.memory.limit > 0:
        name = "MemoryMax" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "MemoryLimit"
        found.append((name, "t", str(resources.memory.limit)))
    cpu = resources.cpu
    if cpu is not None and cpu.shares:
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            from rktpy.cgroup.limits import shares_to_weight

            found.append(("CPUWeight", "t", str(shares_to_weight(cpu.shares))))
        else:
            found.append(("CPUShares", "t", str(cpu.shares)))
    if cpu is not None and cpu.quota and cpu.quota > 0:
        per_second = cpu.quota * 1_000_000 // (cpu.period or 100_000)
        found.append(("CPUQuotaPerSecUSec", "t", str(-(-per_second // 10_000) * 10_000)))
    if resources.pids:
        found.append(("TasksMax", "t", str(resources.pids if resources.pids > 0 else 2**64 - 1)))
    return found


def stop_scope(unit: str) -> None:
    """Have systemd forget the unit; one that is gone is fine."""
    run_program(stop_call(unit))


def change_scope(unit: str, resources: Resources) -> None:
    """Tell systemd of changed limits. Raises RuntimeFailure."""
    properties = properties_of(resources)
    if properties:
        problem = run_program(change_call(unit, properties))
        if problem:
            raise RuntimeFailure(f"systemd does not change {unit}: {problem}")
