"""What a service manager hands to a service and hears from it: sd_listen_fds(3), sd_notify(3). Hot-path module."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_FIRST = 3  # SD_LISTEN_FDS_START
#: How much longer the manager shall wait after each message: more than any pause between two attempts to fetch.
EXTENSION_USEC = 180_000_000


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
    manager = connect()
    if manager is not None:
        send(manager, state)
        manager.close()


def connect() -> socket | None:
    """A socket to the manager, closed on exec; None when there is none that wants to hear."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return None
    import _socket

    manager = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        manager.connect(f"\0{path[1:]}" if path[0] == "@" else path)
    except OSError:
        manager.close()
        return None  # nobody listens any more, and nobody waits for the answer
    return manager


def send(manager: socket, state: str) -> None:
    """Tell the manager something over that socket, if it still listens."""
    try:
        manager.send(state.encode())
    except OSError:
        pass


def extend_start() -> None:
    """Ask the manager to give this process more time to start: what comes next may take long."""
    notify(still_working())


def still_working() -> str:
    """What says that work is going on: for a while no time limit counts, neither that of the start nor the watchdog's."""
    ping = "\nWATCHDOG=1" if "WATCHDOG_USEC" in os.environ else ""
    return f"EXTEND_TIMEOUT_USEC={EXTENSION_USEC}{ping}"


def watchdog_usec() -> int:
    """How often the manager wants to hear ``WATCHDOG=1`` from this very process, in microseconds; 0 if it does not
    (sd_watchdog_enabled(3))."""
    value = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if (pid and pid != str(os.getpid())) or not (value.isascii() and value.isdigit()) or len(value) > 18:
        return 0
    return int(value)
