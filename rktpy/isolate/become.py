"""The last steps of a process of ours before it is the app's program. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.isolate.plan import Operation, execute_plan, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal
    from typing import NoReturn
else:
    from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal

LARGEST_FD = 2**32 - 1


def default_signals() -> None:
    """Python ignores these two, and ignored signals stay ignored through execve(2)."""
    signal(SIGPIPE, SIG_DFL)
    signal(SIGXFSZ, SIG_DFL)


def become(
    program: str,
    argv: tuple[str, ...],
    environment: dict[str, str],
    privileges: tuple[Operation, ...],
    root: Root,
    lock_fd: int = -1,
) -> NoReturn:
    """Drop privileges and execute ``program``. Of the open files it gets 0, 1, 2 and ``lock_fd``, if there is one."""
    debug("stage1", f"execing {shown(program)}")
    syscalls.close_range(3, LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
    if lock_fd >= 0:
        os.set_inheritable(lock_fd, True)
    default_signals()
    arguments = [program, *argv[1:]]
    execute_plan(privileges, root)
    try:
        os.execve(program, arguments, environment)
    except OSError as error:
        raise Stage1Error(f"can't execute {shown(program)}") from OSError(error.errno, error.strerror)
