"""The namespaces of a container: which are new, which are joined, in which order. Hot-path module."""

from __future__ import annotations

import os

from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.runtime.document import IDMapping

#: Type of a namespace in the configuration to its flag and its name in /proc/PID/ns.
KINDS: dict[str, tuple[int, str]] = {
    "user": (c.CLONE_NEWUSER, "user"),
    "pid": (c.CLONE_NEWPID, "pid"),
    "network": (c.CLONE_NEWNET, "net"),
    "ipc": (c.CLONE_NEWIPC, "ipc"),
    "uts": (c.CLONE_NEWUTS, "uts"),
    "mount": (c.CLONE_NEWNS, "mnt"),
    "cgroup": (c.CLONE_NEWCGROUP, "cgroup"),
    "time": (c.CLONE_NEWTIME, "time"),
}


class Namespaces:
    """What to do about namespaces.

    ``clone`` are the flags of those that the first process is cloned into; ``join`` are open namespaces (flag, descriptor) that
    it enters, ``pid_fd`` and ``user_fd`` those of the kinds that need care; ``own_cgroup`` and ``own_time`` are made later.
    """

    __slots__ = ("clone", "join", "own_cgroup", "own_time", "own_user", "pid_fd", "user_fd")

    def __init__(self, wanted: dict[str, str]) -> None:
        self.clone = 0
        self.join: list[tuple[int, int]] = []
        self.pid_fd = self.user_fd = -1
        self.own_cgroup = self.own_time = self.own_user = False
        for kind, path in wanted.items():
            flag, name = KINDS[kind]
            if path:
                fd = _open(path, kind, name)
                if kind == "pid":
                    self.pid_fd = fd
                elif kind == "user":
                    self.user_fd = fd
                else:
                    self.join.append((flag, fd))
            elif kind == "cgroup":
                self.own_cgroup = True  # once the process is in its groups
            elif kind == "time":
                self.own_time = True  # its offsets can only be set while no process is in it
            else:
                self.clone |= flag
                self.own_user = self.own_user or kind == "user"

    @property
    def needs_helper(self) -> bool:
        """Whether a process must go before that makes the first one.

        What the host owns has to be joined before a user namespace is entered, and new namespaces have to belong to it. Offsets
        of a time namespace are set by a process that is not in it.
        """
        return self.user_fd >= 0 or self.own_time or (self.own_user and bool(self.join))

    @property
    def waits_for_ids(self) -> bool:
        """Whether the first process is cloned into a user namespace that has no IDs yet."""
        return self.own_user and not self.own_time

    def enter(self) -> None:
        """Join all but those of process IDs and users. Raises OSError."""
        for flag, fd in sorted(self.join, key=lambda one: one[0] == c.CLONE_NEWNS):
            syscalls.setns(fd, flag)

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (*[fd for _flag, fd in self.join], self.pid_fd, self.user_fd):
            if fd >= 0:
                os.close(fd)
        self.join = []
        self.pid_fd = self.user_fd = -1


def _open(path: str, kind: str, name: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RuntimeFailure(f"can't open the {kind} namespace {path}") from OSError(error.errno, error.strerror)
    try:
        if syscalls.filesystem_type(fd) != c.NSFS_MAGIC or not os.readlink(f"/proc/self/fd/{fd}").startswith(f"{name}:"):
            # Through a bind mount the link shows the path; the kernel tells the kind by ioctl (NS_GET_NSTYPE).
            from fcntl import ioctl

            if syscalls.filesystem_type(fd) != c.NSFS_MAGIC or ioctl(fd, 0xB703) != KINDS[kind][0]:
                raise RuntimeFailure(f"{path} is no {kind} namespace")
    except BaseException:
        os.close(fd)
        raise
    return fd


def map_text(mappings: tuple[IDMapping, ...]) -> str:
    """Mappings as the kernel reads them."""
    return "".join([f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings])


def write_time_offsets(offsets: tuple[tuple[str, int, int], ...]) -> None:
    """Set the clocks of the time namespace that our next child is in. Raises OSError."""
    if not offsets:
        return
    text = "".join([f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in offsets])
    fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
