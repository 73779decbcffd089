"""What a service manager hands to a service and hears from it: sd_listen_fds(3) and sd_notify(3)."""

from __future__ import annotations

import os

_FIRST = 3  # SD_LISTEN_FDS_START


def listen_fds() -> list[int]:
    """The descriptors that were passed to this very process, each closed on exec from now on; empty when there are none.

    The variables are removed, so that no child takes the descriptors for its own. Raises OSError for one that is not open.
    """
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()) or len(count) > 4:
        return []
    descriptors = list(range(_FIRST, _FIRST + int(count)))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors


def notify(state: str) -> None:
    """Tell the manager something (``READY=1``, ``STOPPING=1``), if there is one that wants to hear."""
    if "NOTIFY_SOCKET" in os.environ:
        from systemd import daemon

        try:
            daemon.notify(state)
        except OSError:
            pass  # nobody listens any more, and nobody waits for the answer
