"""Resources of a container's configuration as values for control files, and setting them.

Files and units: the kernel's ``admin-guide/cgroup-v1`` and ``cgroup-v2``; how v1's values are converted for v2: runtime-spec 1.2
``config-linux.md`` and systemd's and runc's practice. Hot-path module.
"""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL, ENOENT

from rktpy.cgroup.limits import shares_to_weight
from rktpy.cgroup.subtree import Subtree, read, write
from rktpy.errors import RktpyError
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.resources import CPU, BlockIO, Memory, Resources, Throttle


class Value(Record):
    """A value for a control file. ``optional``: a file that the kernel does not have is no error."""

    controller: str
    file: str
    value: str
    optional: bool = False


def controllers_of(resources: Resources | None) -> frozenset[str]:
    """The controllers that are needed besides those that every container gets."""
    if resources is None:
        return frozenset()
    wanted = {"hugetlb"} if resources.hugepages else set[str]()
    wanted.update([file.partition(".")[0] for file, _content in resources.unified])
    if resources.rdma:
        wanted.add("rdma")
    return frozenset(wanted)


def set_resources(subtree: Subtree, resources: Resources) -> None:
    """Put all but the device rules into force. Raises RktpyError for what the machine cannot do."""
    _check_memory(subtree, resources)
    for version in (1, 2):
        groups = tuple([one for one in subtree.groups if one.version == version])
        if not groups:
            continue
        part = Subtree(groups)
        others = frozenset([name for one in subtree.groups if one.version != version for name in one.controllers])
        for value in values_v1(resources) if version == 1 else values_v2(resources):
            if value.controller in others and part.group(value.controller) is None:
                continue  # the other version has it
            _set(part, value, last=version == 2 or len(groups) == len(subtree.groups))
    if resources.unified:
        _set_unified(subtree, resources)


def _set(subtree: Subtree, value: Value, *, last: bool) -> None:
    group = subtree.group(value.controller)
    if group is None:
        if value.optional or not last:
            return
        raise RktpyError(f"cannot set {value.file} to {value.value}: the container has no {value.controller} control group")
    path = f"{group.directory}/{value.file}"
    try:
        if value.file.startswith("memory.limit_in_bytes+"):
            _set_memory_and_swap(group.directory, value.value)
        else:
            write(path, value.value)
    except OSError as error:
        if value.optional and error.errno == ENOENT:
            return
        if value.file == "memory.limit_in_bytes" and error.errno == EBUSY:
            usage = read(f"{group.directory}/memory.usage_in_bytes").strip()
            peak = read(f"{group.directory}/memory.max_usage_in_bytes").strip()
            raise RktpyError(
                f"unable to set memory limit to {value.value} (current usage: {usage}, peak usage: {peak})"
            ) from error
        raise


def _check_memory(subtree: Subtree, resources: Resources) -> None:
    """With ``checkBeforeUpdate`` a limit below what is used is refused; the kernel would kill processes on v2."""
    memory = resources.memory
    group = subtree.group("memory")
    if memory is None or not memory.check_before_update or group is None or not memory.limit or memory.limit < 0:
        return
    used = int(read(f"{group.directory}/{'memory.current' if group.version == 2 else 'memory.usage_in_bytes'}"))
    if used > memory.limit:
        raise RktpyError(f"rejecting memory limit {memory.limit}: memory usage is {used} bytes")


def _set_unified(subtree: Subtree, resources: Resources) -> None:
    group = next((one for one in subtree.groups if one.version == 2), None)
    for file, content in resources.unified:
        if group is None:
            raise RktpyError(f"cannot set unified resource {file}: cgroup v2 is not in use")
        controller = file.partition(".")[0]
        if controller != "cgroup" and controller not in group.controllers:
            raise RktpyError(f"cannot set unified resource {file}: controller {controller} not available")
        for line in content.split("\n"):
            write(f"{group.directory}/{file}", line)


def _set_memory_and_swap(directory: str, value: str) -> None:
    """Memory, and memory with swap: neither may at any moment be more than the other allows."""
    limit, total = value.split(" ")
    pair = [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", total)]
    if not os.path.exists(f"{directory}/memory.memsw.limit_in_bytes"):
        write(f"{directory}/memory.limit_in_bytes", limit)
        if total != "-1":
            raise RktpyError("cannot limit swap: the kernel does not account for it")
        return
    try:
        write(f"{directory}/{pair[0][0]}", limit)
        write(f"{directory}/{pair[1][0]}", total)
    except OSError as error:
        if error.errno not in (EINVAL, EBUSY):
            raise
        write(f"{directory}/{pair[1][0]}", total)
        write(f"{directory}/{pair[0][0]}", limit)


def values_v1(resources: Resources) -> list[Value]:
    """The values for v1, in the order in which they have to be written."""
    found: list[Value] = []
    if resources.memory is not None:
        found += _memory_v1(resources.memory)
    if resources.cpu is not None:
        found += _cpu_v1(resources.cpu)
    found += _pids(resources.pids)
    if resources.block_io is not None:
        found += _block_v1(resources.block_io)
    for size, limit in resources.hugepages:
        found.append(Value("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(limit)))
        found.append(Value("hugetlb", f"hugetlb.{size}.rsvd.limit_in_bytes", str(limit), True))
    if resources.class_id:
        found.append(Value("net_cls", "net_cls.classid", str(resources.class_id)))
    for interface, priority in resources.priorities:
        found.append(Value("net_prio", "net_prio.ifpriomap", f"{interface} {priority}"))
    return found + _rdma(resources)


def values_v2(resources: Resources) -> list[Value]:
    """The values for v2."""
    found: list[Value] = []
    if resources.memory is not None:
        found += _memory_v2(resources.memory)
    if resources.cpu is not None:
        found += _cpu_v2(resources.cpu)
    found += _pids(resources.pids)
    if resources.block_io is not None:
        found += _block_v2(resources.block_io)
    for size, limit in resources.hugepages:
        found.append(Value("hugetlb", f"hugetlb.{size}.max", str(limit)))
        found.append(Value("hugetlb", f"hugetlb.{size}.rsvd.max", str(limit), True))
    return found + _rdma(resources)


def _pids(limit: int | None) -> list[Value]:
    if not limit:
        return []  # 0 leaves it, as in runc
    return [Value("pids", "pids.max", str(limit) if limit > 0 else "max")]


def _rdma(resources: Resources) -> list[Value]:
    found: list[Value] = []
    for device, handles, objects in resources.rdma:
        parts = [f"hca_handle={handles}"] if handles is not None else []
        parts += [f"hca_object={objects}"] if objects is not None else []
        found.append(Value("rdma", "rdma.max", " ".join([device, *parts])))
    return found


def _memory_v1(memory: Memory) -> list[Value]:
    found: list[Value] = []
    if memory.limit and memory.swap:
        # -1 for memory needs -1 for both: nothing may be less than memory alone.
        swap = -1 if memory.limit == -1 else memory.swap
        optional = swap == -1 or swap >= memory.limit
        if swap != -1 and swap < memory.limit:
            raise RktpyError("memory.swap must not be less than memory.limit")
        found.append(Value("memory", "memory.limit_in_bytes+memsw", f"{memory.limit} {swap}", optional))
    elif memory.limit:
        found.append(Value("memory", "memory.limit_in_bytes", str(memory.limit)))
    elif memory.swap:
        found.append(Value("memory", "memory.memsw.limit_in_bytes", str(memory.swap)))
    if memory.reservation:
        found.append(Value("memory", "memory.soft_limit_in_bytes", str(memory.reservation)))
    if memory.kernel_tcp:
        found.append(Value("memory", "memory.kmem.tcp.limit_in_bytes", str(memory.kernel_tcp), True))
    if memory.swappiness is not None:
        if memory.swappiness > 100:
            raise RktpyError(f"memory.swappiness is {memory.swappiness}, more than 100")
        found.append(Value("memory", "memory.swappiness", str(memory.swappiness)))
    if memory.disable_oom_killer:
        found.append(Value("memory", "memory.oom_control", "1"))
    return found


def _memory_v2(memory: Memory) -> list[Value]:
    found: list[Value] = []
    swap = swap_v2(memory)
    if swap is not None:
        found.append(Value("memory", "memory.swap.max", swap, swap in ("0", "max")))
    if memory.limit:
        found.append(Value("memory", "memory.max", _or_max(memory.limit)))
    if memory.reservation:
        found.append(Value("memory", "memory.low", _or_max(memory.reservation)))
    return found


def swap_v2(memory: Memory) -> str | None:
    """What swap alone may be, of v1's sum of memory and swap. Raises RktpyError for what makes no sense."""
    if not memory.swap:
        return None
    if memory.swap == -1:
        return "max"
    if memory.limit == -1:
        return "max"
    if not memory.limit:
        raise RktpyError("memory.swap needs memory.limit")
    if memory.swap < memory.limit:
        raise RktpyError("memory.swap must not be less than memory.limit")
    return str(memory.swap - memory.limit)


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _cpu_v1(cpu: CPU) -> list[Value]:
    found: list[Value] = []
    if cpu.shares:
        found.append(Value("cpu", "cpu.shares", str(cpu.shares)))
    if cpu.burst is not None:
        found.append(Value("cpu", "cpu.cfs_burst_us", "0"))  # a quota under the burst would be refused
    if cpu.period:
        found.append(Value("cpu", "cpu.cfs_period_us", str(cpu.period)))
    if cpu.quota:
        found.append(Value("cpu", "cpu.cfs_quota_us", str(cpu.quota)))
    if cpu.burst:
        found.append(Value("cpu", "cpu.cfs_burst_us", str(cpu.burst)))
    if cpu.realtime_period:
        found.append(Value("cpu", "cpu.rt_period_us", str(cpu.realtime_period)))
    if cpu.realtime_runtime:
        found.append(Value("cpu", "cpu.rt_runtime_us", str(cpu.realtime_runtime)))
    if cpu.idle is not None:
        found.append(Value("cpu", "cpu.idle", str(cpu.idle)))
    return found + _cpuset(cpu)


def _cpuset(cpu: CPU) -> list[Value]:
    found = [Value("cpuset", "cpuset.cpus", cpu.cpus)] if cpu.cpus else []
    return found + ([Value("cpuset", "cpuset.mems", cpu.mems)] if cpu.mems else [])


def _cpu_v2(cpu: CPU) -> list[Value]:
    if cpu.realtime_period or cpu.realtime_runtime:
        raise RktpyError("realtime limits are not there on cgroup v2")
    found: list[Value] = []
    if cpu.idle is not None:
        found.append(Value("cpu", "cpu.idle", str(cpu.idle)))
    if cpu.shares and not cpu.idle:
        found.append(Value("cpu", "cpu.weight", str(shares_to_weight(cpu.shares))))
    if cpu.burst is not None:
        found.append(Value("cpu", "cpu.max.burst", "0", not cpu.burst))
    if cpu.quota or cpu.period:
        quota = str(cpu.quota) if cpu.quota and cpu.quota > 0 else "max"
        found.append(Value("cpu", "cpu.max", f"{quota} {cpu.period or 100000}"))
    if cpu.burst:
        found.append(Value("cpu", "cpu.max.burst", str(cpu.burst)))
    return found + _cpuset(cpu)


def _block_v1(block: BlockIO) -> list[Value]:
    found: list[Value] = []
    if block.weight:
        found.append(Value("blkio", _weight_file(), str(block.weight)))
    if block.leaf_weight:
        found.append(Value("blkio", "blkio.leaf_weight", str(block.leaf_weight)))
    for device in block.weight_devices:
        name = f"{device.major}:{device.minor}"
        if device.weight:
            found.append(Value("blkio", f"{_weight_file()}_device", f"{name} {device.weight}"))
        if device.leaf_weight:
            found.append(Value("blkio", "blkio.leaf_weight_device", f"{name} {device.leaf_weight}"))
    for file, limits in _throttles(block):
        for one in limits:
            found.append(Value("blkio", f"blkio.throttle.{file}_device", f"{one.major}:{one.minor} {one.rate}"))
    return found


def _weight_file() -> str:
    return "blkio.bfq.weight" if os.path.exists("/sys/fs/cgroup/blkio/blkio.bfq.weight") else "blkio.weight"


def _throttles(block: BlockIO) -> tuple[tuple[str, tuple[Throttle, ...]], ...]:
    return (
        ("read_bps", block.read_bps),
        ("write_bps", block.write_bps),
        ("read_iops", block.read_iops),
        ("write_iops", block.write_iops),
    )


def _block_v2(block: BlockIO) -> list[Value]:
    found: list[Value] = []
    if block.leaf_weight or any(one.leaf_weight for one in block.weight_devices):
        raise RktpyError("leaf weights are not there on cgroup v2")
    if block.weight:
        found.append(Value("io", "io.bfq.weight", str(block.weight), True))
        found.append(Value("io", "io.weight", f"default {io_weight(block.weight)}", True))
    for device in block.weight_devices:
        if device.weight:
            found.append(Value("io", "io.bfq.weight", f"{device.major}:{device.minor} {device.weight}", True))
            found.append(Value("io", "io.weight", f"{device.major}:{device.minor} {io_weight(device.weight)}", True))
    for key, limits in zip(("rbps", "wbps", "riops", "wiops"), [limits for _file, limits in _throttles(block)], strict=True):
        for one in limits:
            found.append(Value("io", "io.max", f"{one.major}:{one.minor} {key}={one.rate or 'max'}"))
    return found


def io_weight(weight: int) -> int:
    """blkio.weight (10..1000) on the scale of io.weight (1..10000)."""
    return 1 + (max(10, weight) - 10) * 9999 // 990
