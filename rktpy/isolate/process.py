"""Operations on the calling process: who it is, what it may do. They stay in force through execve(2).

Hot-path module.
"""

from __future__ import annotations

import os
from errno import EINVAL

from rktpy.isolate.plan import Operation, shown
from rktpy.isolate.rlimits import set_rlimit
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls

_UNLIMITED = 2**64 - 1


class WorkingDirectory(Operation):
    """chdir(2), after the root was changed."""

    path: str

    def describe(self) -> str:
        return f"change to working directory {shown(self.path)}"

    def execute(self, root: Root) -> None:
        os.chdir(self.path)


class Credentials(Operation):
    """All user and group IDs of the process, and its supplementary groups. Needs CAP_SETUID and CAP_SETGID."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def describe(self) -> str:
        groups = ",".join(map(str, self.groups))
        return f"become user {self.uid}, group {self.gid}" + (f", supplementary groups {groups}" if groups else "")

    def execute(self, root: Root) -> None:
        # Until execve, another process of the new user must not read our memory or descriptors.
        syscalls.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setgroups(self.groups)
        os.setresuid(self.uid, self.uid, self.uid)


class SetCaps(Operation):
    """Limit what execve(2) may give: the bounding, inheritable and ambient sets, to ``bounding`` (a bit mask).

    Root keeps its effective set until execve, because a seccomp filter may have to be installed with it; execve then computes
    the app's sets from the bounding set. ``ambient`` is for a user that is not root.
    """

    bounding: int
    ambient: int = 0

    def describe(self) -> str:
        return f"limit capabilities to {self.bounding:#x}" + (f", ambient {self.ambient:#x}" if self.ambient else "")

    def execute(self, root: Root) -> None:
        number = 0
        while True:
            try:
                has = syscalls.prctl(c.PR_CAPBSET_READ, number, 0, 0, 0)
            except OSError as error:
                if error.errno != EINVAL:
                    raise
                break  # beyond the kernel's last capability
            if has and not self.bounding >> number & 1:
                syscalls.prctl(c.PR_CAPBSET_DROP, number, 0, 0, 0)
            number += 1
        syscalls.prctl(c.PR_CAP_AMBIENT, c.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        effective, permitted, inheritable = syscalls.capget()
        wanted = inheritable & self.bounding | self.ambient & permitted
        if wanted != inheritable:
            syscalls.capset(effective, permitted, wanted)
        for bit in range(number):
            if self.ambient >> bit & 1:
                syscalls.prctl(c.PR_CAP_AMBIENT, c.PR_CAP_AMBIENT_RAISE, bit, 0, 0)


class NoNewPrivs(Operation):
    """execve(2) grants nothing any more: no set-user-ID, no file capabilities."""

    def describe(self) -> str:
        return "set no-new-privileges"

    def execute(self, root: Root) -> None:
        syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class Seccomp(Operation):
    """Install a system call filter; it must be the last operation before execve(2). ``program`` is compiled BPF."""

    program: bytes
    summary: str = ""

    def describe(self) -> str:
        return f"install a system call filter of {len(self.program) // 8} instructions" + (
            f": {self.summary}" if self.summary else ""
        )

    def execute(self, root: Root) -> None:
        syscalls.seccomp_filter(self.program, 0)


class Rlimit(Operation):
    """setrlimit(2); ``resource`` is the kernel's number, -1 is "unlimited".

    Without CAP_SYS_RESOURCE a hard limit cannot be raised: then the present one is kept, see :func:`clamp_rlimit` to know
    before.
    """

    resource: int
    soft: int
    hard: int

    def describe(self) -> str:
        return f"limit resource {self.resource} to {self.soft}, at most {self.hard}"

    def execute(self, root: Root) -> None:
        set_rlimit(self.resource, self.soft & _UNLIMITED, self.hard & _UNLIMITED)


def clamp_rlimit(number: int, soft: int, hard: int) -> tuple[int, int]:
    """The nearest (soft, hard) that a process without CAP_SYS_RESOURCE may set."""
    import resource

    present = resource.getrlimit(number)[1]
    if present == resource.RLIM_INFINITY:
        return soft, hard
    hard = present if hard == -1 else min(hard, present)
    return (hard if soft == -1 else min(soft, hard)), hard
