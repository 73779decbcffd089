"""The groups of one pod: a group of the same name below our own one, in each hierarchy that a limit needs.

Hot-path module.
"""

from __future__ import annotations

import os
import time
from errno import EBUSY, EINVAL, ENOENT, ENOTEMPTY

from rktpy.linux.constants import SIGKILL
from rktpy.record import Record

#: How long removed processes may take to leave their groups, in seconds.
_PATIENCE = 5.0


class Group(Record):
    """One group: its directory, its ``path`` in the hierarchy, and that hierarchy's version and controllers."""

    version: int
    directory: str
    path: str
    controllers: tuple[str, ...] = ()


class Subtree(Record):
    """The groups of one pod."""

    groups: tuple[Group, ...] = ()

    def directory(self, controller: str) -> str | None:
        """The directory of the group that ``controller`` acts on."""
        for group in self.groups:
            if controller in group.controllers:
                return group.directory
        return None

    def enter(self, pid: int = 0) -> None:
        """Move a process (0: the calling one) into all the groups. Raises OSError."""
        for group in self.groups:
            write(f"{group.directory}/cgroup.procs", str(pid))

    def processes(self) -> set[int]:
        """The processes in the groups and below."""
        found: set[int] = set()
        for group in self.groups:
            for directory in _below(group.directory):
                try:
                    found.update(map(int, read(f"{directory}/cgroup.procs").split()))
                except OSError:
                    pass  # removed at this moment
        return found

    def kill(self) -> None:
        """SIGKILL everything in the groups until nothing is left. Raises TimeoutError when that takes too long."""
        deadline = time.monotonic() + _PATIENCE
        for group in self.groups:
            if group.version == 2:
                try:
                    write(f"{group.directory}/cgroup.kill", "1")
                except OSError:
                    pass  # before Linux 5.14 there is no such file: one by one then
        while True:
            left = self.processes()
            if not left:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {', '.join(map(str, sorted(left)))} do not die")
            for pid in left:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.005)

    def remove(self) -> None:
        """Remove the groups with all below them; missing ones are fine. Raises OSError when a process stays in one."""
        deadline = time.monotonic() + _PATIENCE
        for group in self.groups:
            for directory in reversed(_below(group.directory)):
                while True:
                    try:
                        os.rmdir(directory)
                        break
                    except OSError as error:
                        if error.errno == ENOENT:
                            break
                        if error.errno not in (EBUSY, ENOTEMPTY) or time.monotonic() > deadline:
                            raise
                        time.sleep(0.005)  # a dying process leaves its group a moment after it is gone from the lists

    def to_text(self) -> str:
        """One line per group, for the pod's directory: version, controllers, path, directory, separated by tabs."""
        return "".join([f"{one.version}\t{','.join(one.controllers)}\t{one.path}\t{one.directory}\n" for one in self.groups])

    @classmethod
    def from_text(cls, text: str) -> Subtree:
        """Read what :meth:`to_text` wrote. Raises ValueError."""
        groups: list[Group] = []
        for line in text.splitlines():
            fields = line.split("\t")
            if len(fields) != 4 or fields[0] not in ("1", "2") or not fields[3].startswith("/"):
                raise ValueError(f"{line!r} is not a control group")
            controllers = tuple(fields[1].split(",")) if fields[1] else ()
            groups.append(Group(int(fields[0]), fields[3], fields[2], controllers))
        return cls(tuple(groups))


def statistics(subtree: Subtree) -> dict[str, int]:
    """What the groups use now: ``memory`` and ``memory_peak`` in bytes, ``cpu_ns``, ``pids``; what cannot be read is left out."""
    sources = {
        "memory": ("memory", ("memory.usage_in_bytes", "memory.current")),
        "memory_peak": ("memory", ("memory.max_usage_in_bytes", "memory.peak")),
        "cpu_ns": ("cpuacct", ("cpuacct.usage",)),
        "pids": ("pids", ("pids.current",)),
    }
    found: dict[str, int] = {}
    for name, (controller, files) in sources.items():
        directory = subtree.directory(controller)
        for file in files if directory else ():
            try:
                found[name] = int(read(f"{directory}/{file}"))
            except (OSError, ValueError):
                pass
    for group in subtree.groups:
        if group.version == 2 and "cpu_ns" not in found:
            try:
                usage = dict(line.split(" ", 1) for line in read(f"{group.directory}/cpu.stat").splitlines())
                found["cpu_ns"] = int(usage["usage_usec"]) * 1000
            except (OSError, ValueError, KeyError):
                pass
    return found


def _below(top: str) -> list[str]:
    """``top`` and all groups below it, parents first."""
    found = [top]
    for directory in found:
        try:
            with os.scandir(directory) as entries:
                found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            pass
    return found


def read(path: str) -> str:
    """The content of a control file. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.readall().decode()


def write(path: str, value: str) -> None:
    """Write a control file in one write(2). Raises OSError with the path."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno or EINVAL, os.strerror(error.errno or EINVAL), path) from error
    finally:
        os.close(fd)
