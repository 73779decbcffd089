"""Standing in for a process that runs in the foreground: its signals are passed on, its status is ours. Hot-path module."""

from __future__ import annotations

import os
from errno import ESRCH

from rktpy.linux import constants as c
from rktpy.linux import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, sigwait
else:
    import _signal
    from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, sigwait

# Those that mean us, not the process: a broken pipe, urgent data (which Go sends itself).
_OURS = frozenset((int(_signal.SIGPIPE), int(_signal.SIGURG), int(_signal.SIGKILL), int(_signal.SIGSTOP)))
_CHILD = int(_signal.SIGCHLD)
PASSED = frozenset(range(1, 65)) - _OURS - frozenset((32, 33))


def hold_signals(*, subreaper: bool) -> set[int]:
    """Let signals wait until :func:`wait_for` takes them; gives the mask that was in force, for the process itself."""
    if subreaper:
        syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return pthread_sigmask(SIG_BLOCK, PASSED)


def release_signals(mask: set[int]) -> None:
    """Take the mask back that was in force before."""
    pthread_sigmask(SIG_SETMASK, mask)


def wait_for(pid: int, pidfd: int) -> int:
    """Wait for the end of our child, passing signals on; gives what a shell would say of it."""
    while True:
        number = sigwait(PASSED)
        if number != _CHILD:
            try:
                syscalls.pidfd_send_signal(pidfd, number, 0)
            except OSError as error:
                if error.errno != ESRCH:
                    raise
            continue
        status = reap(pid)
        if status is not None:
            return status


def reap(pid: int) -> int | None:
    """Collect ended children; the status of ``pid`` when it is among them."""
    found: int | None = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code
