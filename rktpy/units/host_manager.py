"""Asking the host's systemd about a service, and having it restarted: by busctl(1) and systemctl(1)."""

from __future__ import annotations

import subprocess
import time

from rktpy.errors import NotFoundError, RktpyError, StateError
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DESTINATION = "org.freedesktop.systemd1"
_SERVICE = "org.freedesktop.systemd1.Service"
#: How long systemd may take to answer, in seconds.
_PATIENCE = 30.0
#: How often a unit that shall stay up is looked at, in seconds.
_LOOK = 0.25


class ServiceState(Record):
    """What systemd says of a service. ``invocation`` names one run of it; ``restarts`` are those that systemd made itself."""

    active: str
    sub: str
    result: str
    invocation: str
    restarts: int


def command_line(unit: str) -> list[str]:
    """The arguments of the service's ExecStart=, with specifiers resolved. Raises NotFoundError, RktpyError."""
    loaded = _busctl("call", f"/{_DESTINATION.replace('.', '/')}", f"{_DESTINATION}.Manager", "LoadUnit", "s", unit)
    path = loaded["data"][0]
    state = _busctl("get-property", path, f"{_DESTINATION}.Unit", "LoadState")["data"]
    if state != "loaded":
        raise NotFoundError(f"there is no unit {unit} ({state})")
    commands = _busctl("get-property", path, _SERVICE, "ExecStart")["data"]
    if len(commands) != 1:
        raise StateError(f"{unit} has {len(commands)} commands to start: only units with one pod can be updated")
    return [str(word) for word in commands[0][1]]


def service_state(unit: str) -> ServiceState:
    """How the service is. Raises RktpyError."""
    names = ("ActiveState", "SubState", "Result", "InvocationID", "NRestarts")
    done = _run(["systemctl", "show", *[f"--property={name}" for name in names], unit], _PATIENCE)
    values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    active, sub, result, invocation, restarts = (values.get(name, "") for name in names)
    return ServiceState(active, sub, result, invocation, int(restarts) if restarts.isdigit() else 0)


def restart(unit: str, timeout_s: float, settle_s: float) -> str:
    """Restart the service, wait until it is ready (at most ``timeout_s``) and look whether it stays up for ``settle_s``.

    Why it is not up, empty when it is. A unit with Type=notify is ready when its pod says so. Raises RktpyError when systemd
    cannot be asked.
    """
    try:
        done = _run(["systemctl", "restart", unit], timeout_s)
    except subprocess.TimeoutExpired:
        # The job goes on otherwise, and the next restart would wait for it.
        _run(["systemctl", "kill", "--signal=SIGKILL", unit], _PATIENCE)
        return f"it was not ready after {timeout_s:g} seconds"
    begun = service_state(unit)
    if done.returncode != 0:
        return f"it does not start ({begun.result or 'failed'})"
    if begun.active == "inactive" and begun.result == "success":
        return ""  # a pod that does its work and ends
    deadline = time.monotonic() + settle_s
    while True:
        now = service_state(unit)
        if now.active != "active" or now.invocation != begun.invocation or now.restarts != begun.restarts:
            return f"it did not stay up ({now.result if now.result != 'success' else now.sub})"
        left = deadline - time.monotonic()
        if left <= 0:
            return ""
        time.sleep(min(left, _LOOK))


def _busctl(command: str, path: str, *words: str) -> dict[str, Any]:
    argv = ["busctl", "--system", "--json=short", command, _DESTINATION, path, *words]
    done = _run(argv, _PATIENCE)
    if done.returncode != 0:
        said = done.stderr.strip().rpartition("\n")[2]
        raise RktpyError(f"cannot ask systemd about the unit: {said or f'busctl ended with status {done.returncode}'}")
    return jsondoc.parse_object(done.stdout, "answer of busctl")


def _run(argv: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise RktpyError(f"{argv[0]} is not installed") from None
