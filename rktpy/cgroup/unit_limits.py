"""The limits of the unit that a pod is run in, for the scope that the pod gets instead of it.

A service without ``Delegate=yes`` belongs to systemd, so the pod leaves it for a scope. What whoever wrote the unit limited
(``MemoryMax=``, ``TasksMax=``, ``CPUQuota=`` and so on, systemd.resource-control(5)) would then bound nobody: the scope gets the
same limits, read from the kernel, which has what the manager made of the unit file. Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.subtree import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.hierarchy import Hierarchy

#: What v1 shows of a limit of memory that is none: more than any machine has.
_NO_MEMORY_LIMIT = 1 << 62
_MICROSECONDS = 1_000_000
#: Files of one number or "max" on v2, by the controller: the file and the scope's property.
_NUMBERS = {
    "memory": (
        ("memory.max", "MemoryMax"),
        ("memory.high", "MemoryHigh"),
        ("memory.low", "MemoryLow"),
        ("memory.min", "MemoryMin"),
        ("memory.swap.max", "MemorySwapMax"),
    ),
    "pids": (("pids.max", "TasksMax"),),
}
_UNLIMITED = 2**64 - 1


def unit_limits(hierarchies: tuple[Hierarchy, ...], unit: str) -> list[tuple[str, str, str]]:
    """The limits on the group ``unit`` as properties of a scope: name, D-Bus type, value. What cannot be read is no limit.

    TasksMax is always among them: without it the manager would take its default for scopes.
    """
    found: dict[str, int] = {"TasksMax": _UNLIMITED}
    for hierarchy in hierarchies:
        directory = hierarchy.directory(unit) if unit else None
        if directory is None:
            continue
        for controller in hierarchy.controllers:
            if hierarchy.version == 2:
                _read_v2(found, directory, controller)
            else:
                _read_v1(found, directory, controller)
    return [(name, "t", str(value)) for name, value in found.items()]


def _read_v2(found: dict[str, int], directory: str, controller: str) -> None:
    for file, name in _NUMBERS.get(controller, ()):
        value = _number(f"{directory}/{file}")
        if value is not None and (value or name not in ("MemoryLow", "MemoryMin")):
            found[name] = value
    if controller == "cpu":
        quota, _space, period = _text(f"{directory}/cpu.max").partition(" ")
        _quota(found, quota, period)
        weight = _number(f"{directory}/cpu.weight")
        if weight is not None and weight != 100:
            found["CPUWeight"] = weight
    elif controller == "io":
        share = _text(f"{directory}/io.weight").removeprefix("default ").partition("\n")[0]
        if share.isdigit() and share != "100":
            found["IOWeight"] = int(share)


def _read_v1(found: dict[str, int], directory: str, controller: str) -> None:
    if controller == "memory":
        limit = _number(f"{directory}/memory.limit_in_bytes")
        if limit is not None and limit < _NO_MEMORY_LIMIT:
            found["MemoryLimit"] = limit
    elif controller == "pids":
        tasks = _number(f"{directory}/pids.max")
        if tasks is not None:
            found["TasksMax"] = tasks
    elif controller == "cpu":
        _quota(found, _text(f"{directory}/cpu.cfs_quota_us"), _text(f"{directory}/cpu.cfs_period_us"))
        shares = _number(f"{directory}/cpu.shares")
        if shares is not None and shares != 1024:
            found["CPUShares"] = shares


def _quota(found: dict[str, int], quota: str, period: str) -> None:
    if quota.isdigit() and period.isdigit() and int(period):
        found["CPUQuotaPerSecUSec"] = int(quota) * _MICROSECONDS // int(period)


def _text(path: str) -> str:
    try:
        return read(path).strip()
    except OSError:
        return ""


def _number(path: str) -> int | None:
    text = _text(path)
    return int(text) if text.isascii() and text.isdigit() else None
