"""The last steps of a process of ours before it is the app's program. Hot-path module."""

from __future__ import annotations

import fcntl
import os
from errno import EACCES, ENOENT

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
#: The program that hands over to an image's, see its source.
HANDOFF_PROGRAM = f"{os.path.dirname(os.path.abspath(__file__))}/handoff"
_F_ADD_SEALS = 1033
_SEALS = 0xF  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE


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
    sockets: int = 0,
) -> NoReturn:
    """Drop privileges and execute ``program``, an image's. Of the open files it gets 0, 1, 2, as many of the next as there
    are ``sockets`` of a service manager's, and ``lock_fd``, if there is one.

    The caller is in the image's root, where /proc is. Raises Stage1Error when the program is not there or not to be executed;
    what else is wrong with it is told by the program that hands over to it (``handoff.c``), which this process is last.
    """
    debug("stage1", f"execing {shown(program)}")
    handoff = _HANDOFF
    syscalls.close_range(3 + sockets, LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
    if lock_fd >= 0:
        os.set_inheritable(lock_fd, True)
    default_signals()
    if os.path.isdir(program) or not os.path.lexists(program):
        number = EACCES if os.path.isdir(program) else ENOENT
        raise Stage1Error(f"can't execute {shown(program)}") from OSError(number, os.strerror(number))
    image = _sealed(handoff)
    execute_plan(privileges, root)
    try:
        if image >= 0:
            os.execve(f"/proc/self/fd/{image}", ["handoff", program, program, *argv[1:]], environment)
        os.execve(program, [program, *argv[1:]], environment)
    except OSError as error:
        raise Stage1Error(f"can't execute {shown(program)}") from OSError(error.errno, error.strerror)


def _read_handoff() -> bytes:
    """The program ``handoff``; empty when it was not built (no compiler, or a machine that it was not ported to)."""
    try:
        with open(HANDOFF_PROGRAM, "rb", buffering=0) as file:
            return file.readall() or b""
    except FileNotFoundError:
        return b""


#: Read before this process goes where it cannot be read any more.
_HANDOFF = _read_handoff()


def _sealed(program: bytes) -> int:
    """A memory file with ``program`` that nobody can change; -1 when there is none."""
    if not program:
        return -1
    fd = os.memfd_create("handoff", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, program)
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    return fd
