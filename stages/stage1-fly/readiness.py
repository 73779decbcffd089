"""What a fly pod and the unit that runs it have to tell each other: readiness (sd_notify(3)), and sockets.

A unit with Type=notify waits until somebody says READY=1.

An app whose image has the annotation appc.io/executor/supports-systemd-notify says it itself, over the manager's socket, which is
bound into its root; as it is the unit's main process, it keeps the unit's watchdog away too. Any other app is ready when it is
executed, as it is for Type=exec. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.isolate.mounts import Bind
from rktpy.linux.service_manager import connect, send, watchdog_usec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.isolate.plan import Operation
    from rktpy.isolate.pod_app import PodApp

#: Where the socket is for the app.
_SOCKET = "/run/systemd/notify"


def speaks_notify(pod: PodApp) -> bool:
    """Whether there is a manager that wants to hear and an app that speaks."""
    return bool(os.environ.get("NOTIFY_SOCKET")) and pod.speaks_notify


def notify_mount(pod: PodApp) -> tuple[Operation, ...]:
    """The mount of the manager's socket; none for one without a path, which the host's network namespace has."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    return (Bind(path, _SOCKET),) if speaks_notify(pod) and path.startswith("/") else ()


def notify_environment(pod: PodApp) -> dict[str, str]:
    """Variables for the app. The watchdog's are there only when they are meant for this process, which becomes the app."""
    if not speaks_notify(pod):
        return {}
    path = os.environ["NOTIFY_SOCKET"]
    variables = {"NOTIFY_SOCKET": _SOCKET if path.startswith("/") else path}
    period = watchdog_usec()
    if period:
        variables.update(WATCHDOG_USEC=str(period), WATCHDOG_PID=str(os.getpid()))
    return variables


def passed_sockets(pod: PodApp) -> tuple[int, dict[str, str]]:
    """How many sockets the manager has given to this process (sd_listen_fds(3)), and the variables that tell the app.

    None for an app without a port that says socketActivated: it would not know what they are. They are the descriptors from 3 on,
    whoever opens others meanwhile, and the app is this very process.
    """
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()) or len(count) > 4:
        return 0, {}
    if not any(port.socket_activated for port in pod.app.ports):
        return 0, {}
    variables = {name: os.environ[name] for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES") if name in os.environ}
    return int(count), variables


def say_ready(pod: PodApp) -> Callable[[], None]:
    """What says READY=1 for an app that does not speak, also from inside its root."""
    if speaks_notify(pod) or not os.environ.get("NOTIFY_SOCKET"):
        return lambda: None
    manager = connect()

    def say() -> None:
        if manager is not None:
            send(manager, "READY=1")

    return say
