"""Waiting for a pod to become ready or to end, without polling.

The end of a pod is the release of its lock, so waiting for the end is a blocking flock(2). Names that appear or move (a pod that
leaves ``prepared``, the link that says ready) are waited for with dnotify (fcntl(2), F_NOTIFY), which needs no library; only a
pod that dies before it is ready is noticed by looking again twice a second.

Time limits on the end of a pod use SIGALRM and are for the main thread of a process. Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from _thread import get_native_id
from struct import pack
from time import monotonic

from rktpy.stage0.pod_states import EMBRYO, PREPARED, RUNNING, pods_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from rktpy.stage0.pods import Pod
else:
    # The module signal wraps these in enums, which cost 4 ms.
    import _signal as signal

_EVENTS = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME
_SECOND_LOOK_S = 0.5
_BIRTH_S = 0.01
_F_SETOWN_EX = 15
_F_OWNER_TID = 0


class _TimeUp(BaseException):
    pass


class _Changed:
    """Whether a pod has moved, ended or become ready since this was made."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.state = pod.state

    def __call__(self) -> bool:
        return self.pod.refresh() != self.state or self.pod.is_ready


def wait_exited(pod: Pod, timeout_s: float | None) -> bool:
    """Wait until the pod has ended, also when it still has to be started; refreshes its state.

    False when ``timeout_s`` seconds (None: no limit) have passed before.
    """
    deadline = None if timeout_s is None else monotonic() + timeout_s
    while True:
        state = pod.refresh()
        if pod.is_finished:
            return True
        if deadline is not None and monotonic() >= deadline:
            return False
        if state in (PREPARED, EMBRYO):
            _wait_for_names([f"{pods_dir(pod.data_dir)}/{pod.directory}"], _Changed(pod), deadline)
        else:
            _wait_unlocked(pod.fileno(), deadline)


def wait_ready(pod: Pod, timeout_s: float | None) -> bool:
    """Wait until stage1 says that the pod is ready; refreshes its state.

    False when the pod has ended without it, or ``timeout_s`` seconds (None: no limit) have passed before.
    """
    deadline = None if timeout_s is None else monotonic() + timeout_s
    while True:
        pod.refresh()
        if pod.is_ready:
            return True
        if pod.is_finished or (deadline is not None and monotonic() >= deadline):
            return False
        directories = [f"{pods_dir(pod.data_dir)}/{pod.directory}", _deepest(pod.path, pod.stage1_rootfs() + "/rkt")]
        limit = monotonic() + _SECOND_LOOK_S
        if deadline is not None and deadline < limit:
            limit = deadline
        _wait_for_names(directories, _Changed(pod), limit)


def wait_pid(pod: Pod) -> bool:
    """Wait a moment for a starting pod to write ``pid`` or have its first process. False when it is not running (any more)."""
    if pod.refresh() != RUNNING:
        return False
    limit = monotonic() + (_SECOND_LOOK_S if pod.recorded_parent_pid() is None else _BIRTH_S)
    _wait_for_names([pod.path], lambda: pod.recorded_pid() is not None, limit)
    return True


def _deepest(base: str, below: str) -> str:
    path = base
    for part in below.split("/"):
        if not os.path.isdir(f"{path}/{part}"):
            break
        path = f"{path}/{part}"
    return path


def _wait_unlocked(fd: int, deadline: float | None) -> None:
    """Wait until nobody holds the exclusive lock on the directory ``fd``, at most until ``deadline``."""
    own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if deadline is None:
            fcntl.flock(own, fcntl.LOCK_SH)
            return
        armed = [True]

        def time_up(_number: int, _frame: object) -> None:
            if armed:
                raise _TimeUp

        previous = signal.signal(signal.SIGALRM, time_up)
        try:
            # Repeated: a signal that comes just before the system call is entered would be lost.
            signal.setitimer(signal.ITIMER_REAL, max(deadline - monotonic(), 0.001), 0.02)
            fcntl.flock(own, fcntl.LOCK_SH)
        except _TimeUp:
            pass
        finally:
            armed.clear()
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    finally:
        os.close(own)


def _wait_for_names(directories: list[str], changed: Callable[[], bool], deadline: float | None) -> None:
    """Wait until a name appears in, leaves or moves within one of the directories, at most until ``deadline``.

    ``changed`` is asked after the watch is set, so that nothing is missed.
    """
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    watches: list[int] = []
    try:
        for path in directories:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                return
            watches.append(fd)
            # To this thread: another one has SIGIO unblocked and would die of it.
            fcntl.fcntl(fd, _F_SETOWN_EX, pack("ii", _F_OWNER_TID, get_native_id()))
            fcntl.fcntl(fd, fcntl.F_NOTIFY, _EVENTS)
        if changed():
            return
        if deadline is None:
            signal.sigwaitinfo([signal.SIGIO])
        else:
            signal.sigtimedwait([signal.SIGIO], max(deadline - monotonic(), 0))
    finally:
        for fd in watches:
            os.close(fd)
        while signal.sigtimedwait([signal.SIGIO], 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
