"""Resource limits of the calling process, clamped where it may not raise them. Hot-path module."""

from __future__ import annotations

from errno import EPERM

from rktpy.linux import syscalls


def set_rlimit(number: int, soft: int, hard: int, pid: int = 0) -> tuple[int, int] | None:
    """A limit of a process, by default ours, as unsigned numbers. Raises OSError.

    Without CAP_SYS_RESOURCE a hard limit cannot be raised: then the present one is kept, and the limits that are in force are
    given.
    """
    try:
        syscalls.prlimit(pid, number, True, soft, hard)
    except OSError as error:
        if error.errno != EPERM:
            raise
    else:
        return None
    _soft, most = syscalls.prlimit(pid, number, False, 0, 0)
    hard = min(hard, most)
    soft = min(soft, hard)
    syscalls.prlimit(pid, number, True, soft, hard)
    return soft, hard
