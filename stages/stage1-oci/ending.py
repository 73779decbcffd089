"""The end of a pod of stage1-oci: containers, control groups, networks, mounts. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, innermost
from rktpy.isolate.holder import open_process
from rktpy.linux.constants import MNT_DETACH, SIGKILL, UMOUNT_NOFOLLOW
from rktpy.linux.remove_tree import remove_tree
from rktpy.linux.syscalls import umount2
from rktpy.log import note
from rktpy.pod.end import clean_up
from rktpy.stage1.oci.containers import delete_container
from rktpy.stage1.oci.paths import OCI, SANDBOX, SHM, STATE
from rktpy.stage1.oci.runtime import Runtime


def end_pod() -> None:
    """Kill what is left of the pod in the working directory and undo what was made for it. May be called again.

    What cannot be undone is told, and left for gc.
    """
    for step in (delete_containers, clean_up, remove_state):
        try:
            step()
        except (RktpyError, OSError) as error:
            note("stage1", innermost(error))


def delete_containers() -> None:
    """The runtime removes what it made for its containers; the pod's own comes first, its end is that of all."""
    try:
        runtime = Runtime.load()
        containers = os.listdir(STATE)
    except FileNotFoundError:
        return
    for container in sorted(containers, key=lambda name: name != SANDBOX):
        try:
            delete_container(runtime, container)
        except RktpyError as error:
            note("stage1", innermost(error))


def remove_state() -> None:
    try:
        umount2(SHM, MNT_DETACH | UMOUNT_NOFOLLOW)
    except OSError:
        pass  # it went with the pod's mount namespace
    try:
        remove_tree(STATE)
    except FileNotFoundError:
        pass


def kill_sandbox(pid: int) -> None:
    """Kill the pod's first process, and so all others."""
    process = open_process(pid)
    if process is not None:
        with process:
            process.signal(SIGKILL)


def sandbox_pid() -> int:
    """The pod's first process as the runtime wrote it down; 0 when there is none."""
    try:
        with open(f"{OCI}/sandbox.pid", "rb", buffering=0) as file:
            return int(file.read(32))
    except (FileNotFoundError, ValueError):
        return 0
