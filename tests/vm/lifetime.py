"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from rktpy.linux import constants as c
from rktpy.linux import syscalls


def die_with(parent: int) -> Callable[[], None]:
    """What a child of ``parent`` does before execve: a group of its own, and SIGKILL when the parent is gone, however it went."""

    def prepare() -> None:
        os.setsid()
        syscalls.prctl(c.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
