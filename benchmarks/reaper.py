"""The first process of the sandbox, where a benchmark is that: orphans end only when somebody waits for them.

podman waits until its monitor, an orphan, is gone; without this it waits for ever, or longer than it would elsewhere.
"""

from __future__ import annotations

import os
import signal

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_first_process() -> None:
    """In process 1, go on in a child, and stay only to wait for everybody, then end as the child did; elsewhere do nothing."""
    if os.getpid() != 1:
        return
    child = os.fork()
    if child == 0:
        return
    for number in _FORWARDED:
        # From a terminal the child gets SIGINT itself.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else lambda got, _frame: os.kill(child, got))
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
