"""``kill``. Hot-path module."""

from __future__ import annotations

import os

from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container, is_frozen
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.identity import send_signal
from rktpy.oci.main import state_root

_KILL = 9
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ "
    "VTALRM PROF WINCH IO PWR SYS"
)
SIGNALS: dict[str, int] = {name: number for number, name in enumerate(_NAMES.split(), 1)}
SIGNALS.update({"IOT": 6, "POLL": 29, "CLD": 17, "RTMIN": 34, "RTMAX": 64})


def run(arguments: Arguments) -> int:
    """Send a signal; 0. Raises RktpyError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    number = signal_number(arguments.args[1] if len(arguments.args) > 1 else "TERM")
    status = container.status()
    groups = container.groups
    everything = arguments.switch("all")
    if everything or (number == _KILL and shares_processes(container)):
        # A container that has no process IDs of its own is not killed by the end of its first process.
        pids = groups.processes()
        if not pids and status == "stopped" and not everything:
            raise RuntimeFailure("container not running")
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
    elif status == "stopped" or not send_signal(container.pid, container.began, number):
        raise RuntimeFailure("container not running")
    if number == _KILL and is_frozen(groups) and any(one.version == 1 for one in groups.groups):
        from rktpy.oci.groups import set_frozen

        set_frozen(groups, frozen=False)  # on v1 a frozen process does not even die
    return 0


def shares_processes(container: Container) -> bool:
    """Whether the container has no new pid namespace."""
    return container.config().linux.namespaces.get("pid") != ""


def signal_number(text: str) -> int:
    """A signal by number, or by name with or without ``SIG``, ``RTMIN+n`` too. Raises RuntimeFailure."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        if 0 <= int(text) <= 64:
            return int(text)
        raise RuntimeFailure(f"unknown signal {text!r}")
    name, sign, offset = text.upper().removeprefix("SIG"), "", ""
    for one in "+-":
        if one in name:
            name, sign, offset = name.partition(one)
    number = SIGNALS.get(name)
    if sign and name in ("RTMIN", "RTMAX") and offset.isascii() and offset.isdigit() and len(offset) < 3 and number:
        number = number + int(offset) if sign == "+" else number - int(offset)
        if not 34 <= number <= 64:
            number = None
    elif sign:
        number = None
    if number is None:
        raise RuntimeFailure(f"unknown signal {text!r}")
    return number
