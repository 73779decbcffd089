"""A systemd as the first process of namespaces of its own, for tests of what a host with systemd is to rktpy."""

from __future__ import annotations

import os

from rktpy.cgroup.hierarchy import discover
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from tests.support.cgroups import make_room, move_aside

SYSTEMD = "/lib/systemd/systemd"


def boot(units: str, target: str) -> tuple[int, int]:
    """Start systemd with the units of a directory alone; its process and a pidfd of it.

    Called by a function that is isolated with ``cgroups=True``. On cgroup v2 alone it gets a group that no other process is in,
    as one that hands out controllers must be; elsewhere the hierarchies as they are.
    """
    pure = [one.version for one in discover()] == [2]
    if pure:
        make_room()
    waiting, go = os.pipe()
    pid, pidfd = syscalls.clone3(c.CLONE_NEWPID | c.CLONE_NEWNS | c.CLONE_NEWIPC | c.CLONE_NEWUTS, -1)
    if pid == 0:
        try:
            os.close(go)
            os.read(waiting, 1)
            syscalls.unshare(c.CLONE_NEWCGROUP)
            syscalls.mount("proc", "/proc", "proc", 0, None)
            if pure:
                syscalls.umount2("/sys/fs/cgroup", c.MNT_DETACH)  # the kernel mounts none on itself
                syscalls.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, None)
            environment = {
                "container": "test",
                "SYSTEMD_UNIT_PATH": units,
                "SYSTEMD_GENERATOR_PATH": "/none",
                "SYSTEMD_ENVIRONMENT_GENERATOR_PATH": "/none",
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            }
            os.execve(SYSTEMD, ["systemd", "--system", f"--unit={target}", "--log-target=null"], environment)
        finally:
            os._exit(1)
    os.close(waiting)
    if pure:
        move_aside()
    os.close(go)
    return pid, pidfd
