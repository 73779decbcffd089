"""The first process of a running pod, its systemd, as whoever wants to go into the pod finds it. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import StateError, UsageError
from rktpy.formats import stage1 as names
from rktpy.isolate.holder import read_pid
from rktpy.isolate.plan import shown


def first_process(text: str) -> int:
    """The pod's first process: the one that stage0 names. Raises UsageError, StateError when it is not the monitor's child."""
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise UsageError(f"--pid {shown(text)} is not a process ID")
    with open(f"/proc/{text}/stat", "rb", buffering=0) as file:
        parent = int(file.read(4096).rpartition(b")")[2].split()[1])
    if parent != read_pid(names.PPID_FILE):
        raise StateError(f"process {text} is not the pod's")
    return int(text)


def open_user_namespace(first: int) -> int:
    """The user namespace of the pod's first process, -1 when it is ours. Raises OSError."""
    path = f"/proc/{first}/ns/user"
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if os.readlink(path) != os.readlink("/proc/self/ns/user") else -1
