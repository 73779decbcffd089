"""``linux.resources`` of a configuration, and what ``update --resources`` reads (``config-linux.md``, Control groups).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.formats.oci.runtime.document import I64, U32, U64, WHAT, required
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DeviceRule(Record):
    """A rule of the devices controller: ``kind`` a, b or c; -1 is any number."""

    allow: bool
    kind: str = "a"
    major: int = -1
    minor: int = -1
    access: str = "rwm"


class Memory(Record):
    """Bytes; -1 is without a limit, None leaves it alone."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = False
    use_hierarchy: bool | None = None
    check_before_update: bool = False


class CPU(Record):
    """Times in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Throttle(Record):
    """A limit on a disk, in bytes or operations per second."""

    major: int
    minor: int
    rate: int


class WeightDevice(Record):
    """The share of a disk."""

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class BlockIO(Record):
    """Weights and limits of disks."""

    weight: int | None = None
    leaf_weight: int | None = None
    weight_devices: tuple[WeightDevice, ...] = ()
    read_bps: tuple[Throttle, ...] = ()
    write_bps: tuple[Throttle, ...] = ()
    read_iops: tuple[Throttle, ...] = ()
    write_iops: tuple[Throttle, ...] = ()


class Resources(Record):
    """What the control groups of a container limit."""

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: CPU | None = None
    pids: int | None = None
    block_io: BlockIO | None = None
    hugepages: tuple[tuple[str, int], ...] = ()  # page size, bytes
    class_id: int | None = None
    priorities: tuple[tuple[str, int], ...] = ()  # network interface, priority
    rdma: tuple[tuple[str, int | None, int | None], ...] = ()  # device, handles, objects
    unified: tuple[tuple[str, str], ...] = ()  # file, content

    @classmethod
    def from_dict(cls, doc: dict[str, Any], path: str = "linux.resources") -> Resources:
        """Read the object. Raises FormatError."""
        memory = members.object_member(doc, "memory", WHAT, path)
        cpu = members.object_member(doc, "cpu", WHAT, path)
        pids = members.object_member(doc, "pids", WHAT, path)
        block = members.object_member(doc, "blockIO", WHAT, path)
        network = members.object_member(doc, "network", WHAT, path) or {}
        return cls(
            tuple([_device(item, where) for item, where in members.objects(doc, "devices", WHAT, path)]),
            _memory(memory, f"{path}.memory") if memory else None,
            _cpu(cpu, f"{path}.cpu") if cpu else None,
            members.integer(pids, "limit", WHAT, f"{path}.pids", -I64, I64) if pids else None,
            _block_io(block, f"{path}.blockIO") if block else None,
            tuple([_hugepage(item, where) for item, where in members.objects(doc, "hugepageLimits", WHAT, path)]),
            members.integer(network, "classID", WHAT, f"{path}.network", 0, U32),
            tuple([_priority(item, where) for item, where in members.objects(network, "priorities", WHAT, f"{path}.network")]),
            _rdma(doc, path) if doc.get("rdma") else (),
            tuple(_unified(doc, path)) if doc.get("unified") else (),
        )


def _device(doc: dict[str, Any], path: str) -> DeviceRule:
    if doc.get("allow") is None:
        raise FormatError(WHAT, f"{path}.allow", "is missing")
    kind = members.text(doc, "type", WHAT, path) or "a"
    if kind not in ("a", "b", "c"):
        raise FormatError(WHAT, f"{path}.type", f"{kind!r} is none of a, b, c")
    access = members.text(doc, "access", WHAT, path) or "rwm"
    if any(letter not in "rwm" for letter in access):
        raise FormatError(WHAT, f"{path}.access", "must be made of r, w and m")
    numbers: list[int] = []
    for name in ("major", "minor"):
        number = members.integer(doc, name, WHAT, path, -1, U32)
        numbers.append(-1 if number is None else number)
    return DeviceRule(members.flag(doc, "allow", WHAT, path), kind, numbers[0], numbers[1], access)


def _memory(doc: dict[str, Any], path: str) -> Memory:
    limit, reservation, swap, tcp = (
        members.integer(doc, name, WHAT, path, -1, I64) for name in ("limit", "reservation", "swap", "kernelTCP")
    )
    return Memory(
        limit,
        reservation,
        swap,
        tcp,
        members.integer(doc, "swappiness", WHAT, path, 0, 200),
        members.flag(doc, "disableOOMKiller", WHAT, path),
        None if doc.get("useHierarchy") is None else members.flag(doc, "useHierarchy", WHAT, path),
        members.flag(doc, "checkBeforeUpdate", WHAT, path),
    )


def _cpu(doc: dict[str, Any], path: str) -> CPU:
    return CPU(
        members.integer(doc, "shares", WHAT, path, 0, U64),
        members.integer(doc, "quota", WHAT, path, -I64, I64),
        members.integer(doc, "burst", WHAT, path, 0, U64),
        members.integer(doc, "period", WHAT, path, 0, U64),
        members.integer(doc, "realtimeRuntime", WHAT, path, -I64, I64),
        members.integer(doc, "realtimePeriod", WHAT, path, 0, U64),
        members.text(doc, "cpus", WHAT, path),
        members.text(doc, "mems", WHAT, path),
        members.integer(doc, "idle", WHAT, path, -I64, I64),
    )


def _block_io(doc: dict[str, Any], path: str) -> BlockIO:
    return BlockIO(
        members.integer(doc, "weight", WHAT, path, 0, 65535),
        members.integer(doc, "leafWeight", WHAT, path, 0, 65535),
        tuple(
            [
                WeightDevice(
                    required(item, "major", where, 0, U32),
                    required(item, "minor", where, 0, U32),
                    members.integer(item, "weight", WHAT, where, 0, 65535),
                    members.integer(item, "leafWeight", WHAT, where, 0, 65535),
                )
                for item, where in members.objects(doc, "weightDevice", WHAT, path)
            ]
        ),
        *[
            tuple(
                [
                    Throttle(*[required(item, part, where, 0, U64) for part in ("major", "minor", "rate")])
                    for item, where in members.objects(doc, f"throttle{name}Device", WHAT, path)
                ]
            )
            for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
        ],
    )


def _hugepage(doc: dict[str, Any], path: str) -> tuple[str, int]:
    size = members.text(doc, "pageSize", WHAT, path, required=True)
    if not size.isalnum():
        raise FormatError(WHAT, f"{path}.pageSize", f"{size!r} is no size of a page")
    return size, required(doc, "limit", path, 0, U64)


def _priority(doc: dict[str, Any], path: str) -> tuple[str, int]:
    return members.text(doc, "name", WHAT, path, required=True), required(doc, "priority", path, 0, U32)


def _rdma(doc: dict[str, Any], path: str) -> tuple[tuple[str, int | None, int | None], ...]:
    inner = members.checked_object(doc["rdma"], WHAT, f"{path}.rdma")
    found: list[tuple[str, int | None, int | None]] = []
    for name, value in inner.items():
        where = f"{path}.rdma.{members.shown(name)}"
        limits = members.checked_object(value, WHAT, where)
        handles, things = (members.integer(limits, one, WHAT, where, 0, U32) for one in ("hcaHandles", "hcaObjects"))
        found.append((name, handles, things))
    return tuple(found)


def _unified(doc: dict[str, Any], path: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in members.text_map(doc, "unified", WHAT, path).items():
        if "/" in name or name in (".", "..", "") or "." not in name:
            raise FormatError(WHAT, f"{path}.unified.{members.shown(name)}", "is no file of a control group")
        found.append((name, value))
    return found
