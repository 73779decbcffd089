"""What processes keep in memory: PSS (shared pages divided among those who share them) and private pages, from smaps_rollup.

Source: proc(5), the kernel's Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Memory:
    """Bytes, and of how many processes."""

    pss: int = 0
    private: int = 0
    processes: int = 0


def descendants(roots: Iterable[int]) -> set[int]:
    """The processes ``roots`` and all below them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it has ended
        children.setdefault(parent, []).append(int(path.parent.name))
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def memory(pids: Iterable[int], app: str) -> Memory:
    """What ``pids`` have together, without the processes called ``app`` (proc_pid_comm(5))."""
    total = Memory()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == app:
                continue
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        except OSError:
            continue  # it has ended
        kib = {name: int(value.split()[0]) for name, value in fields.items()}
        total.pss += kib["Pss"] * 1024
        total.private += (kib["Private_Clean"] + kib["Private_Dirty"]) * 1024
        total.processes += 1
    return total
