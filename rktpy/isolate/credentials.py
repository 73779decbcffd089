"""Becoming the user of a container's process with exactly the capabilities that its configuration names. Hot-path module."""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from rktpy.isolate.plan import Operation
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls


class BecomeUser(Operation):
    """All IDs, and the five sets of capabilities as bit masks, None to leave them to the kernel.

    Capabilities that this process does not have are left out. After it the process may still do what ``effective`` says.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    sets: tuple[int, int, int, int, int] | None = None  # bounding, effective, inheritable, permitted, ambient

    def describe(self) -> str:
        sets = "" if self.sets is None else " with capabilities " + "/".join(f"{one:#x}" for one in self.sets)
        return f"become user {self.uid}, group {self.gid}{sets}"

    def execute(self, root: Root) -> None:
        if self.sets is not None:
            drop_bounding(self.sets[0])
        syscalls.prctl(c.PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setresgid(self.gid, self.gid, self.gid)
        try:
            os.setgroups(self.groups)
        except OSError as error:
            # In a user namespace whose creator was not privileged setgroups is denied; then there are no groups to lose either.
            if error.errno != EPERM or self.groups:
                raise
        os.setresuid(self.uid, self.uid, self.uid)
        syscalls.prctl(c.PR_SET_KEEPCAPS, 0, 0, 0, 0)
        if self.sets is None:
            return
        _bounding, effective, inheritable, permitted, ambient = self.sets
        had_effective, had, had_inheritable = syscalls.capget()
        permitted &= had
        effective &= permitted
        # The inheritable set may be raised up to the bounding set by who has CAP_SETPCAP; else to what is permitted.
        try:
            syscalls.capset(effective | had_effective, had, inheritable & (had | self.sets[0]))
        except OSError as error:
            if error.errno != EPERM:
                raise
            inheritable &= had | had_inheritable
        syscalls.capset(effective, permitted, inheritable & (had | self.sets[0]))
        syscalls.prctl(c.PR_CAP_AMBIENT, c.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        ambient &= permitted & inheritable
        for number in range(ambient.bit_length()):
            if ambient >> number & 1:
                syscalls.prctl(c.PR_CAP_AMBIENT, c.PR_CAP_AMBIENT_RAISE, number, 0, 0)


def drop_bounding(kept: int) -> None:
    """Take all capabilities but ``kept`` (a bit mask) out of the bounding set. Raises OSError."""
    number = 0
    while True:
        try:
            if not kept >> number & 1:
                syscalls.prctl(c.PR_CAPBSET_DROP, number, 0, 0, 0)
            elif number >= 40:
                syscalls.prctl(c.PR_CAPBSET_READ, number, 0, 0, 0)
        except OSError as error:
            if error.errno == EINVAL:
                return  # beyond the kernel's last capability
            if error.errno != EPERM or syscalls.prctl(c.PR_CAPBSET_READ, number, 0, 0, 0):
                raise
        number += 1
