"""``events``."""

from __future__ import annotations

import os
import select

from rktpy.formats.jsondoc import dump
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root
from rktpy.oci.statistics import statistics

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(arguments: Arguments) -> int:
    """Print statistics, once or until the container ends; 0. Raises RktpyError, OSError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    interval = parse_interval(arguments.text("interval", "5s"))
    if container.status() == "stopped":
        raise RuntimeFailure(f"container with id {container.id} is not running")
    if arguments.switch("stats"):
        _print(container, "stats", statistics(container))
        return 0
    from rktpy.oci.identity import open_process
    from rktpy.oci.oom_events import OomEvents

    first = open_process(container.pid, container.began)
    events = OomEvents(container.groups)
    poll = select.poll()
    if first >= 0:
        poll.register(first, select.POLLIN)
    if events.fd >= 0:
        poll.register(events.fd, events.mask)
    while first >= 0:
        ready = poll.poll(interval * 1000)
        if any(fd == events.fd for fd, _event in ready) and events.happened():
            _print(container, "oom", None)
        if any(fd == first for fd, _event in ready):
            break
        if not ready:
            _print(container, "stats", statistics(container))
    events.close()
    return 0


def _print(container: Container, kind: str, data: object) -> None:
    document: dict[str, object] = {"type": kind, "id": container.id}
    if data is not None:
        document["data"] = data
    os.write(1, dump(document) + b"\n")


def parse_interval(text: str) -> float:
    """A duration as Go writes it (``5s``, ``1m30s``), in seconds. Raises RuntimeFailure."""
    rest, total = text, 0.0
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        tail = rest[len(digits) :]
        unit = next((one for one in ("ms", "s", "m", "h") if tail.startswith(one)), "")
        if not unit or not digits.replace(".", "", 1).isdigit():
            raise RuntimeFailure(f"invalid duration {text!r}")
        total += float(digits) * _UNITS[unit]
        rest = tail[len(unit) :]
    if total <= 0:
        raise RuntimeFailure("duration interval must be greater than 0")
    return total
