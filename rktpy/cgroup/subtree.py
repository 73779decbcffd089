"""The groups of one pod: a group of the same name below our own one, in each hierarchy that a limit needs.

Hot-path module.
"""

from __future__ import annotations

import os
import time
from errno import EBUSY, EINVAL, ENOENT, ENOTEMPTY

from rktpy.cgroup.walk import walk
from rktpy.linux.constants import SIGKILL
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long removed processes may take to leave their groups, in seconds.
_PATIENCE = 5.0


class Group(Record):
    """One group: its directory, its ``path`` in the hierarchy, and that hierarchy's version and controllers.

    Limits are set on the group itself. Where ``leaf`` names a group below it, processes go there: on v2 a group that hands out
    controllers has no processes of its own.
    """

    version: int
    directory: str
    path: str
    controllers: tuple[str, ...] = ()
    leaf: str = ""

    @property
    def entrance(self) -> str:
        """The directory of the group that processes are put in."""
        return f"{self.directory}/{self.leaf}" if self.leaf else self.directory

    @property
    def name(self) -> str:
        """The hierarchy in words."""
        return ",".join(self.controllers) if self.version == 1 else "cgroup2"


class Problem(Record):
    """A hierarchy (by its controllers) or a controller that is not to be had, and why."""

    controllers: tuple[str, ...]
    reason: str


class Subtree(Record):
    """The groups of one pod. ``problems`` are the hierarchies that it has none in; they are not written down."""

    groups: tuple[Group, ...] = ()
    problems: tuple[Problem, ...] = ()

    def directory(self, controller: str) -> str | None:
        """The directory of the group that ``controller`` acts on."""
        group = self.group(controller)
        return group.directory if group else None

    def group(self, controller: str) -> Group | None:
        """The group that ``controller`` acts on."""
        for group in self.groups:
            if controller in group.controllers:
                return group
        return None

    def enter(self, pid: int = 0) -> None:
        """Move a process (0: the calling one) into all the groups. Raises OSError."""
        for group in self.groups:
            write(f"{group.entrance}/cgroup.procs", str(pid))

    def give(self, uid: int, gid: int) -> None:
        """Let a user of the host, the root of a pod's user namespace, make groups below and move its processes. Raises OSError.

        The limits of the groups themselves stay the host's.
        """
        for group in self.groups:
            os.chown(group.entrance, uid, gid)
            for file in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"):
                try:
                    os.chown(f"{group.entrance}/{file}", uid, gid)
                except FileNotFoundError:
                    pass  # v1 and v2 have different ones

    def processes(self) -> set[int]:
        """The processes in the groups and below. Those of a PID namespace that we cannot see into are left out."""
        found: set[int] = set()
        for group in self.groups:
            found |= _processes(group.directory)
        return found

    def kill(self) -> None:
        """SIGKILL everything in the groups but the calling process until nothing is left; thaws what is frozen.

        Raises TimeoutError when that takes too long.
        """
        deadline = time.monotonic() + _PATIENCE
        me = os.getpid()
        for group in self.groups:
            if group.version == 2 and me not in _processes(group.entrance):
                _try_write(f"{group.entrance}/cgroup.kill", "1")  # since Linux 5.14; one by one before that
        freezers = [one.directory for one in self.groups if one.version == 1 and "freezer" in one.controllers]
        freezers = [one for one in freezers if me not in _processes(one)]
        while True:
            for directory in freezers:
                _try_write(f"{directory}/freezer.state", "FROZEN")  # so that it does not fork faster than we kill
            left = self.processes() - {me}
            for pid in left:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    pass
            for directory in freezers:
                _thaw(directory)
            if not left:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {', '.join(map(str, sorted(left)))} do not die")
            time.sleep(0.005)

    def remove(self, *, but_own: bool = False) -> None:
        """Remove the groups with all below them; missing ones are fine. Raises OSError when a process stays in one.

        With ``but_own`` the group that the calling process is in stays, with those above it: on v2 the supervisor has nowhere to
        go, for the group that it came from hands out controllers. systemd removes it with the unit, else gc does.
        """
        deadline = time.monotonic() + _PATIENCE
        me = os.getpid()
        for group in self.groups:
            try:
                os.rmdir(group.directory)
                continue
            except OSError:
                pass  # not there, not empty, groups below
            top = group.entrance if but_own and group.leaf and me in _processes(group.directory) else group.directory
            while True:
                busy = _remove(top)
                if busy is None:
                    break
                if time.monotonic() > deadline:
                    raise OSError(busy.errno or EBUSY, os.strerror(busy.errno or EBUSY), top)
                time.sleep(0.005)  # a dying process leaves its group a moment after it is gone from the lists

    def remove_or_kill(self) -> None:
        """Remove the groups; what still runs in them is killed before. Raises OSError, TimeoutError."""
        left: list[Group] = []
        for group in self.groups:
            try:
                os.rmdir(group.directory)
            except FileNotFoundError:
                continue
            except OSError:
                left.append(group)
        if left:
            rest = Subtree(tuple(left))
            rest.kill()
            rest.remove()

    def to_text(self) -> str:
        """One line per group, for the pod's directory: version, controllers, path, directory, leaf if any, separated by tabs."""
        lines: list[str] = []
        for one in self.groups:
            fields = [str(one.version), ",".join(one.controllers), one.path, one.directory]
            lines.append("\t".join([*fields, one.leaf] if one.leaf else fields) + "\n")
        return "".join(lines)

    @classmethod
    def from_text(cls, text: str) -> Subtree:
        """Read what :meth:`to_text` wrote. Raises ValueError."""
        groups: list[Group] = []
        for line in text.splitlines():
            fields = line.split("\t")
            if len(fields) not in (4, 5) or fields[0] not in ("1", "2") or not fields[3].startswith("/"):
                raise ValueError(f"{line!r} is not a control group")
            leaf = fields[4] if len(fields) == 5 else ""
            if leaf in (".", "..") or "/" in leaf:
                raise ValueError(f"{line!r} is not a control group")
            controllers = tuple(fields[1].split(",")) if fields[1] else ()
            groups.append(Group(int(fields[0]), fields[3], fields[2], controllers, leaf))
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


def _retried(top: str) -> Iterator[tuple[int, str, int]]:
    """Walk; once more from the top when groups vanish meanwhile."""
    for attempt in range(20):
        try:
            yield from walk(top)
            return
        except OSError:
            if attempt == 19:
                raise


def _processes(top: str) -> set[int]:
    found: set[int] = set()
    for _above, _name, fd in _retried(top):
        try:
            found.update(map(int, _read_at(fd, "cgroup.procs").split()))
        except OSError:
            pass  # removed at this moment, or a group of threads, whose processes the group above lists
    found.discard(0)  # how a process of a PID namespace that is not below ours is shown
    return found


def _thaw(top: str) -> None:
    for _above, _name, fd in _retried(top):
        try:
            state = os.open("freezer.state", os.O_WRONLY | os.O_CLOEXEC, dir_fd=fd)
        except OSError:
            continue
        try:
            os.write(state, b"THAWED")
        except OSError:
            pass
        finally:
            os.close(state)


def _remove(top: str) -> OSError | None:
    """Remove what can be removed; the reason when something is left for now. Raises OSError when waiting would not help."""
    busy: OSError | None = None
    try:
        for above, name, _fd in walk(top):
            try:
                os.rmdir(name, dir_fd=above)
            except OSError as error:
                if error.errno in (EBUSY, ENOTEMPTY):
                    busy = error
                elif error.errno != ENOENT:
                    raise OSError(error.errno, error.strerror, f"{top}: {name}") from error
    except FileNotFoundError as error:
        return error  # another one removes them too
    return busy


def _read_at(fd: int, name: str) -> str:
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    try:
        content = b""
        while piece := os.read(file, 65536):
            content += piece
        return content.decode()
    finally:
        os.close(file)


def _try_write(path: str, value: str) -> None:
    try:
        write(path, value)
    except OSError:
        pass


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
