"""Freezing all processes of a subtree (``cgroup-v1/freezer-subsystem``, ``cgroup.freeze`` of v2). Hot-path module."""

from __future__ import annotations

import time

from rktpy.cgroup.subtree import Subtree, read, write

#: How long the kernel may take to stop all processes, in seconds.
_PATIENCE = 10.0


def set_frozen(subtree: Subtree, *, frozen: bool) -> bool:
    """Freeze, or thaw; whether there is a group that can. Waits until it is done. Raises OSError, TimeoutError."""
    group = subtree.group("freezer")
    if group is not None:
        _set_v1(group.directory, frozen)
        return True
    for group in subtree.groups:
        if group.version == 2:
            write(f"{group.directory}/cgroup.freeze", "1" if frozen else "0")
            _wait_v2(group.directory, frozen)
            return True
    return False


def _set_v1(directory: str, frozen: bool) -> None:
    deadline = time.monotonic() + _PATIENCE
    wanted = "FROZEN" if frozen else "THAWED"
    attempt = 0
    while True:
        write(f"{directory}/freezer.state", wanted)
        state = read(f"{directory}/freezer.state").strip()
        if state == wanted:
            return
        if time.monotonic() > deadline:
            write(f"{directory}/freezer.state", "THAWED")
            raise TimeoutError(f"unable to freeze: {directory} stays {state}")
        attempt += 1
        if frozen and attempt % 50 == 0:
            write(f"{directory}/freezer.state", "THAWED")  # a process may wait for one that is frozen already
        time.sleep(0.001)


def _wait_v2(directory: str, frozen: bool) -> None:
    deadline = time.monotonic() + _PATIENCE
    wanted = f"frozen {int(frozen)}"
    while wanted not in read(f"{directory}/cgroup.events").splitlines():
        if time.monotonic() > deadline:
            write(f"{directory}/cgroup.freeze", "0")
            raise TimeoutError(f"unable to freeze: {directory} does not come to rest")
        time.sleep(0.001)
