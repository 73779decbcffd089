"""How the kernel treats a process: its turn at CPUs and disks, its NUMA nodes, the kernel that it is shown.

Numbers are those of the kernel's ``include/uapi/linux`` (ioprio.h, sched.h, sched/types.h, personality.h, mempolicy.h).
"""

from __future__ import annotations

import os
from struct import pack

from rktpy.errors import InputError
from rktpy.linux import syscalls

_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
#: Domain of ``linux.personality`` to the persona of personality(2).
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}
_MOST = 8192


def set_io_priority(klass: str, priority: int) -> None:
    """Class and priority (0 to 7) of this process at disks. Raises OSError."""
    syscalls.ioprio_set(1, 0, _IO_CLASSES[klass] << 13 | priority)


def set_scheduler(
    policy: str, nice: int, priority: int, flags: tuple[str, ...], runtime: int, deadline: int, period: int
) -> None:
    """Policy of this process at CPUs; times in nanoseconds. Raises InputError for an unknown flag, OSError."""
    bits = 0
    for flag in flags:
        if flag not in _SCHED_FLAGS:
            raise InputError(f"process.scheduler.flags: {flag} is no flag of the scheduler")
        bits |= _SCHED_FLAGS[flag]
    attributes = pack("=IIQiIQQQ", 48, _POLICIES[policy], bits, nice, priority & 0xFFFFFFFF, runtime, deadline, period)
    syscalls.sched_setattr(0, attributes, 0)


def set_personality(domain: str) -> None:
    """The execution domain of this process. Raises InputError for an unknown one, OSError."""
    if domain not in PERSONALITIES:
        raise InputError(f"linux.personality.domain: {domain} is neither LINUX nor LINUX32")
    syscalls.personality(PERSONALITIES[domain])


def set_memory_policy(mode: str, nodes: str, flags: tuple[str, ...]) -> None:
    """Where this process gets its memory. Raises InputError for what makes no sense, OSError."""
    if mode not in MEMORY_MODES:
        raise InputError(f"linux.memoryPolicy.mode: {mode} is no policy")
    number = MEMORY_MODES[mode]
    for flag in flags:
        if flag not in MEMORY_FLAGS:
            raise InputError(f"linux.memoryPolicy.flags: {flag} is no flag of a policy")
        number |= MEMORY_FLAGS[flag]
    chosen = number_list(nodes, "linux.memoryPolicy.nodes")
    mask = 0
    for node in chosen:
        mask |= 1 << node
    words = (mask.bit_length() + 63) // 64
    syscalls.set_mempolicy(number, mask.to_bytes(words * 8, "little"))


def set_affinity(cpus: str, what: str) -> None:
    """The CPUs that this process may use, as ``0-3,7``; empty leaves them. Raises InputError, OSError."""
    if cpus:
        os.sched_setaffinity(0, number_list(cpus, what))


def number_list(text: str, what: str) -> list[int]:
    """The numbers of ``0-3,7``. Raises InputError."""
    found: list[int] = []
    for part in text.split(",") if text.strip() else ():
        low, dash, high = part.strip().partition("-")
        if not (low.isascii() and low.isdigit()) or (dash and not (high.isascii() and high.isdigit())):
            raise InputError(f"{what}: {text!r} is no list of numbers")
        first, last = int(low), int(high or low)
        if first > last or last >= _MOST:
            raise InputError(f"{what}: {text!r} is no list of numbers up to {_MOST - 1}")
        found += range(first, last + 1)
    return found
