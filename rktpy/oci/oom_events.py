"""Being told that a container is out of memory: ``memory.oom_control`` and an eventfd on v1, ``memory.events`` on v2."""

from __future__ import annotations

import os
import select

from rktpy.cgroup.subtree import Subtree, read, write


class OomEvents:
    """A descriptor to poll with ``mask``; -1 when there is no memory controller."""

    __slots__ = ("_control", "_file", "_seen", "fd", "mask")

    def __init__(self, groups: Subtree) -> None:
        self.fd = self._control = -1
        self.mask = select.POLLIN
        self._file = ""
        self._seen = 0
        group = groups.group("memory")
        if group is None:
            return
        if group.version == 1:
            self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._control = os.open(f"{group.directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            write(f"{group.directory}/cgroup.event_control", f"{self.fd} {self._control}")
            return
        self._file = f"{group.directory}/memory.events"
        self._seen = self._count()
        self.fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        self.mask = select.POLLPRI

    def _count(self) -> int:
        for line in read(self._file).splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def happened(self) -> bool:
        """Whether a process was killed since the last time. The group may be gone: then nothing did."""
        if self._file:
            try:
                os.lseek(self.fd, 0, os.SEEK_SET)
                os.read(self.fd, 4096)
                count = self._count()
            except OSError:
                return False
            before, self._seen = self._seen, count
            return count > before
        try:
            return os.eventfd_read(self.fd) > 0 and os.path.exists(f"/proc/self/fd/{self._control}")
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.fd, self._control):
            if fd >= 0:
                os.close(fd)
        self.fd = self._control = -1
