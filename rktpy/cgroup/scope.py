"""A scope of systemd's for a pod, with a subtree of control groups that systemd leaves to us.

The call is ``StartTransientUnit`` of org.freedesktop.systemd1(5), made by busctl(1), as D-Bus is not worth a library for one
message. Hot-path module.
"""

from __future__ import annotations

import os
import time

from rktpy.cgroup.delegation import delegated, own_unit
from rktpy.cgroup.hierarchy import Hierarchy, discover
from rktpy.cgroup.unit_limits import unit_limits
from rktpy.errors import describe

#: How long systemd may take to start the scope, in seconds.
_PATIENCE = 10.0
BUSCTL = ("busctl", "--system", "--quiet", f"--timeout={int(_PATIENCE)}")
_DESTINATION = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def start_scope(name: str, description: str) -> tuple[tuple[Hierarchy, ...], str]:
    """Have systemd move the calling process into a new scope ``name`` with ``Delegate=yes``.

    It has the limits of the unit that the process leaves, and lies in that unit's slice if that was chosen, else in
    machine.slice.

    Returns the hierarchies as they are then, and why that failed, empty when it did not. The scope ends with the last process
    in it, so nothing has to be written down for it.
    """
    before = discover()
    unit = own_unit(before)
    problem = run_program(call(name, description, os.getpid(), slice_of(unit), unit_limits(before, unit)))
    if problem:
        return discover(), f"systemd gives no scope: {problem}"
    deadline = time.monotonic() + _PATIENCE
    while not _is_in(discover(), name):  # the call only queues the job
        if time.monotonic() > deadline:
            return discover(), f"systemd does not start {name}"
        time.sleep(0.002)
    # We are moved in one hierarchy after the other. When systemd answers again, it is done with that.
    problem = run_program([*BUSCTL, "get-property", *_DESTINATION, "Version"])
    return discover(), f"systemd gives no scope: {problem}" if problem else ""


def _is_in(hierarchies: tuple[Hierarchy, ...], name: str) -> bool:
    unit = delegated(hierarchies)
    return unit is not None and unit.endswith(f"/{name}")


def slice_of(unit: str) -> str:
    """The slice for a scope that is asked for in ``unit`` (``/system.slice/web.service``): one that somebody chose for the unit
    stays."""
    chosen = unit.rpartition("/")[0].rpartition("/")[2]
    return chosen if chosen.endswith(".slice") and chosen != "system.slice" and not chosen.startswith("user") else "machine.slice"


def call(name: str, description: str, pid: int, slice_: str, limits: list[tuple[str, str, str]]) -> list[str]:
    """The arguments of busctl(1). ``limits`` are of the unit; the pod's own are set by us below the scope."""
    return start_call(name, description, pid, slice_, limits)


def start_call(name: str, description: str, pid: int, slice_name: str, extra: list[tuple[str, str, str]]) -> list[str]:
    """The arguments of busctl(1) that start a scope with ``pid`` in it; ``extra`` are properties: name, type, value."""
    properties: list[tuple[str, ...]] = [
        ("Description", "s", description),
        ("Slice", "s", slice_name),
        ("Delegate", "b", "true"),
        ("PIDs", "au", "1", str(pid)),
        ("CollectMode", "s", "inactive-or-failed"),
        *extra,
    ]
    if not any(one[0] == "TasksMax" for one in extra):
        properties.append(("TasksMax", "t", str(2**64 - 1)))
    arguments = [*BUSCTL, "call", *_DESTINATION, "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", str(len(properties))]
    for one in properties:
        arguments += one
    return [*arguments, "0"]


def stop_call(name: str) -> list[str]:
    """The arguments of busctl(1) that stop a unit."""
    return [*BUSCTL, "call", *_DESTINATION, "StopUnit", "ss", name, "replace"]


def change_call(name: str, properties: list[tuple[str, str, str]]) -> list[str]:
    """The arguments of busctl(1) that change properties of a unit until the next boot."""
    arguments = [*BUSCTL, "call", *_DESTINATION, "SetUnitProperties", "sba(sv)", name, "true", str(len(properties))]
    for one in properties:
        arguments += one
    return arguments


def run_program(argv: list[str]) -> str:
    """Run a program; empty when it succeeded, else what it said last."""
    reader, writer = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, writer, 2),
    ]
    said = b""
    try:
        try:
            child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
        except OSError as error:
            return f"{argv[0]}: {describe(OSError(error.errno, error.strerror))}"
        finally:
            os.close(writer)
        while piece := os.read(reader, 4096):
            said = (said + piece)[-4096:]
    finally:
        os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        return ""
    lines = said.decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"{argv[0]} ended with status {status}")
