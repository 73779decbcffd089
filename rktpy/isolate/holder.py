"""Which process is the pod: process IDs are used again, so a number in a file proves nothing.

A process of the pod holds the pod's lock through the descriptor it inherited; /proc/PID/fdinfo tells that of a descriptor. It is
looked at after a pidfd was opened, so the process that was found is the one that is then signalled or entered. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error, StateError
from rktpy.formats.stage1 import LOCK_FD
from rktpy.isolate.plan import shown
from rktpy.linux.syscalls import pidfd_open, pidfd_send_signal


class Holder:
    """A process of the pod, held by a pidfd. Close it, or use it as a context manager."""

    __slots__ = ("fd", "pid")

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self.fd = fd

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pidfd; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def signal(self, number: int) -> None:
        """Send a signal to this very process; nothing happens when it has ended."""
        try:
            pidfd_send_signal(self.fd, number, 0)
        except ProcessLookupError:
            pass

    def alive(self) -> bool:
        """Whether the process has not ended."""
        try:
            pidfd_send_signal(self.fd, 0, 0)
        except ProcessLookupError:
            return False
        return True


def open_holder(pid: int) -> Holder | None:
    """The process ``pid`` when it holds the lock on the working directory, else None. Raises OSError."""
    holder = open_process(pid)
    if holder is None:
        return None
    try:
        if _holds_lock(pid, os.stat(".")) and holder.alive():
            return holder
    except OSError:
        pass  # it ended while we looked
    holder.close()
    return None


def open_process(pid: int) -> Holder | None:
    """The process that ``pid`` is at this moment, None when there is none."""
    if pid < 1:
        return None
    try:
        return Holder(pid, pidfd_open(pid, 0))
    except OSError:
        return None


def children_of(pid: int) -> list[int]:
    """The children of a process's main thread."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:
            return [int(word) for word in file.read(65536).split()]
    except FileNotFoundError:
        pass
    if os.path.exists("/proc/self/task/self/children") or not os.path.isdir(f"/proc/{pid}"):
        return []
    # A kernel without CONFIG_PROC_CHILDREN.
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    if int(file.read(4096).rpartition(b")")[2].split()[1]) == pid:
                        found.append(int(name))
            except (OSError, IndexError):
                continue
    return found


def holders_in_group(group: int) -> list[Holder]:
    """The processes of the process group ``group`` that hold the lock on the working directory."""
    found: list[Holder] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.getpgid(int(name)) != group:
                continue
        except OSError:
            continue
        holder = open_holder(int(name))
        if holder is not None:
            found.append(holder)
    return found


def lock_descriptor() -> int:
    """The descriptor that holds the pod's lock, as stage0 names it in the environment. Raises Stage1Error."""
    text = os.environ.get(LOCK_FD, "")
    if not text.isascii() or not text.isdigit() or not 3 <= int(text) < 1 << 20:
        raise Stage1Error(f"can't get rkt lock fd: {LOCK_FD} is {shown(text)}")
    fd = int(text)
    try:
        os.fstat(fd)
    except OSError as error:
        raise Stage1Error("can't get rkt lock fd") from error
    return fd


def read_pid(path: str) -> int:
    """The process (group) ID in a file of the pod directory. Raises StateError."""
    try:
        with open(path, "rb", buffering=0) as file:
            return int(file.read(32))
    except (OSError, ValueError) as error:
        raise StateError(f"error reading {path}") from error


def _holds_lock(pid: int, directory: os.stat_result) -> bool:
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            try:
                status = os.stat(entry.path)
            except OSError:
                continue
            if (status.st_ino, status.st_dev) != (directory.st_ino, directory.st_dev):
                continue
            with open(f"/proc/{pid}/fdinfo/{entry.name}", "rb", buffering=0) as file:
                if any(line.startswith(b"lock:") and b" WRITE " in line for line in (file.readall() or b"").splitlines()):
                    return True
    return False
