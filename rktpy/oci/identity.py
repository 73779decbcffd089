"""Which process it was: a process ID alone is given to another process one day, with its start time it is not.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.linux.syscalls import pidfd_open, pidfd_send_signal


def start_time(pid: int) -> tuple[int, str]:
    """When a process began (clock ticks since boot) and its state (a letter of proc(5)); ``(0, "")`` when there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, ""
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
        return int(fields[19]), fields[0].decode()
    except (OSError, IndexError, ValueError):
        return 0, ""
    finally:
        os.close(fd)


def is_alive(pid: int, began: int) -> bool:
    """Whether the process that had this ID and began then has not ended."""
    now, state = start_time(pid) if pid > 0 else (0, "")
    return now == began and state not in ("", "Z", "X")


def open_process(pid: int, began: int) -> int:
    """A pidfd of the process, -1 when it has ended."""
    try:
        fd = pidfd_open(pid, 0)
    except OSError:
        return -1
    if is_alive(pid, began):
        return fd
    os.close(fd)
    return -1


def send_signal(pid: int, began: int, number: int) -> bool:
    """Signal this very process; whether it was there. Raises OSError."""
    fd = open_process(pid, began)
    if fd < 0:
        return False
    try:
        pidfd_send_signal(fd, number, 0)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True
