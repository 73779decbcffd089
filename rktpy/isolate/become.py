"""The last steps of a process of ours before it is the app's program. Hot-path module."""

from __future__ import annotations

import os
from errno import EACCES, ENOENT

from rktpy.errors import Stage1Error
from rktpy.isolate.handoff import HANDOFF_PROGRAM, default_signals, sealed_handoff
from rktpy.isolate.plan import Operation, execute_plan, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

LARGEST_FD = 2**32 - 1


def become(
    program: str,
    argv: tuple[str, ...],
    environment: dict[str, str],
    privileges: tuple[Operation, ...],
    root: Root,
    lock_fd: int = -1,
    sockets: int = 0,
) -> NoReturn:
    """Drop privileges and execute ``program``, an image's. Of the open files it gets 0, 1, 2, as many of the next as there
    are ``sockets`` of a service manager's, and ``lock_fd``, if there is one.

    The caller is in the image's root, where /proc is. Raises Stage1Error when the program is not there or not to be executed;
    what else is wrong with it is told by the program that hands over to it (``handoff.c``), which this process is last.
    """
    debug("stage1", f"execing {shown(program)}")
    syscalls.close_range(3 + sockets, LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
    if lock_fd >= 0:
        os.set_inheritable(lock_fd, True)
    default_signals()
    if os.path.isdir(program) or not os.path.lexists(program):
        number = EACCES if os.path.isdir(program) else ENOENT
        raise Stage1Error(f"can't execute {shown(program)}") from OSError(number, os.strerror(number))
    image = sealed_handoff()
    execute_plan(privileges, root)
    try:
        if image >= 0:
            os.execve(f"/proc/self/fd/{image}", ["stage1", program, program, *argv[1:]], environment)
        os.execve(program, [program, *argv[1:]], environment)
    except OSError as error:
        raise Stage1Error(f"can't execute {shown(program)}") from OSError(error.errno, error.strerror)


__all__ = ["HANDOFF_PROGRAM", "LARGEST_FD", "become", "default_signals"]
