"""What a container uses, in the document that ``events`` prints (runc's ``types/events.go`` names its members)."""

from __future__ import annotations

from rktpy.cgroup.subtree import Group, Subtree, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.oci.container import Container

_NO_LIMIT = 2**64 - 1


def statistics(container: Container) -> dict[str, Any]:
    """CPU times in nanoseconds, memory in bytes; what the machine does not count is 0."""
    groups = container.groups
    return {
        "cpu": _cpu(groups),
        "cpuset": _cpuset(groups),
        "memory": _memory(groups),
        "pids": _pids(groups),
        "blkio": _blkio(groups),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _number(group: Group | None, *files: str) -> int:
    for file in files if group is not None else ():
        assert group is not None
        try:
            text = read(f"{group.directory}/{file}").strip()
        except OSError:
            continue
        if text == "max":
            return _NO_LIMIT
        if text.lstrip("-").isdigit():
            return int(text) & _NO_LIMIT
    return 0


def _table(group: Group | None, file: str) -> dict[str, int]:
    if group is None:
        return {}
    try:
        text = read(f"{group.directory}/{file}")
    except OSError:
        return {}
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _space, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    return found


def _cpu(groups: Subtree) -> dict[str, Any]:
    cpu, account = groups.group("cpu"), groups.group("cpuacct")
    unified = next((one for one in groups.groups if one.version == 2), None)
    throttled = _table(cpu, "cpu.stat")
    if account is not None:
        usage: dict[str, Any] = {
            "total": _number(account, "cpuacct.usage"),
            "percpu": _numbers(account, "cpuacct.usage_percpu"),
            "kernel": _number(account, "cpuacct.usage_sys"),
            "user": _number(account, "cpuacct.usage_user"),
        }
    else:
        table = _table(unified, "cpu.stat")
        usage = {
            name: table.get(key, 0) * 1000
            for name, key in (("total", "usage_usec"), ("kernel", "system_usec"), ("user", "user_usec"))
        }
    throttling: dict[str, int] = {}
    for name, key in (("periods", "nr_periods"), ("throttledPeriods", "nr_throttled")):
        if throttled.get(key):
            throttling[name] = throttled[key]
    time = throttled.get("throttled_time", throttled.get("throttled_usec", 0) * 1000)
    if time:
        throttling["throttledTime"] = time
    return {"usage": usage, "throttling": throttling}


def _numbers(group: Group, file: str) -> list[int]:
    try:
        return [int(word) for word in read(f"{group.directory}/{file}").split()]
    except (OSError, ValueError):
        return []


def _cpuset(groups: Subtree) -> dict[str, Any]:
    group = groups.group("cpuset")
    found: dict[str, Any] = {}
    for name, file in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        try:
            text = read(f"{group.directory}/{file}").strip() if group is not None else ""
        except OSError:
            text = ""
        listed: list[int] = []
        for part in text.split(",") if text else ():
            low, _dash, high = part.partition("-")
            listed += range(int(low), int(high or low) + 1)
        found[name] = listed
    return found


def _memory(groups: Subtree) -> dict[str, Any]:
    group = groups.group("memory")
    raw = _table(group, "memory.stat")
    usage = {
        "limit": _number(group, "memory.limit_in_bytes", "memory.max"),
        "usage": _number(group, "memory.usage_in_bytes", "memory.current"),
        "max": _number(group, "memory.max_usage_in_bytes", "memory.peak"),
        "failcnt": _number(group, "memory.failcnt"),
    }
    swap = {
        "limit": _number(group, "memory.memsw.limit_in_bytes", "memory.swap.max"),
        "usage": _number(group, "memory.memsw.usage_in_bytes", "memory.swap.current"),
        "max": _number(group, "memory.memsw.max_usage_in_bytes", "memory.swap.peak"),
        "failcnt": _number(group, "memory.memsw.failcnt"),
    }
    kernel = {
        "limit": _number(group, "memory.kmem.limit_in_bytes"),
        "usage": _number(group, "memory.kmem.usage_in_bytes"),
        "failcnt": _number(group, "memory.kmem.failcnt"),
    }
    cache = raw.get("total_cache", raw.get("cache", raw.get("file", 0)))
    return {"cache": cache, "usage": usage, "swap": swap, "kernel": kernel, "raw": raw}


def _pids(groups: Subtree) -> dict[str, int]:
    group = groups.group("pids")
    found = {"current": _number(group, "pids.current")}
    limit = _number(group, "pids.max")
    if limit and limit != _NO_LIMIT:
        found["limit"] = limit
    return found


def _blkio(groups: Subtree) -> dict[str, Any]:
    group = groups.group("blkio")
    found: dict[str, Any] = {}
    files = (
        ("ioServiceBytesRecursive", "blkio.throttle.io_service_bytes_recursive"),
        ("ioServicedRecursive", "blkio.throttle.io_serviced_recursive"),
    )
    for name, file in files if group is not None else ():
        assert group is not None
        try:
            text = read(f"{group.directory}/{file}")
        except OSError:
            continue
        entries: list[dict[str, Any]] = []
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and ":" in words[0]:
                major, _colon, minor = words[0].partition(":")
                entries.append({"major": int(major), "minor": int(minor), "op": words[1], "value": int(words[2])})
        found[name] = entries
    return found
