"""``update``."""

from __future__ import annotations

import os

from rktpy.cgroup.resources import set_resources
from rktpy.formats.jsondoc import parse_object
from rktpy.formats.oci.runtime.resources import CPU, BlockIO, Memory, Resources
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def run(arguments: Arguments) -> int:
    """Change limits; 0. Raises RktpyError, OSError."""
    container = Container.load(state_root(arguments), arguments.args[0])
    if container.status() == "stopped":
        raise RuntimeFailure("container not running")
    for name in ("kernel-memory", "l3-cache-schema", "mem-bw-schema"):
        if arguments.text(name):
            what = "the kernel has no such limit any more" if name == "kernel-memory" else "Intel RDT is not supported"
            raise RuntimeFailure(f"--{name}: {what}")
    lock = container.lock()
    try:
        resources = _from_file(arguments.text("resources")) if arguments.text("resources") else _from_flags(arguments)
        set_resources(container.groups, resources)
        if resources.devices:
            from rktpy.cgroup.devices import set_device_rules
            from rktpy.oci.groups import device_rules

            set_device_rules(container.groups, device_rules(resources))
        scope = container.state.get("scope")
        if scope:
            from rktpy.oci.scope import change_scope

            change_scope(str(scope), resources)
    finally:
        os.close(lock)
    return 0


def _from_file(path: str) -> Resources:
    if path == "-":
        data = b""
        while piece := os.read(0, 1 << 16):
            data += piece
    else:
        with open(path, "rb", buffering=0) as file:
            data = file.readall() or b""
    return Resources.from_dict(parse_object(data, "resources"), "")


def _from_flags(arguments: Arguments) -> Resources:
    def number(name: str) -> int | None:
        return arguments.number(name) if arguments.text(name) else None

    def size(name: str) -> int | None:
        return parse_bytes(arguments.text(name), name) if arguments.text(name) else None

    cpu = CPU(
        number("cpu-share"),
        number("cpu-quota"),
        number("cpu-burst"),
        number("cpu-period"),
        number("cpu-rt-runtime"),
        number("cpu-rt-period"),
        arguments.text("cpuset-cpus"),
        arguments.text("cpuset-mems"),
        number("cpu-idle"),
    )
    memory = Memory(size("memory"), size("memory-reservation"), size("memory-swap"), size("kernel-memory-tcp"))
    weight = number("blkio-weight")
    return Resources(
        memory=memory if memory != Memory() else None,
        cpu=cpu if cpu != CPU() else None,
        pids=number("pids-limit"),
        block_io=BlockIO(weight) if weight else None,
    )


def parse_bytes(text: str, name: str) -> int:
    """``64m`` and the like, in powers of 1024; -1 for no limit. Raises RuntimeFailure."""
    if text == "-1":
        return -1
    lower = text.lower().removesuffix("ib").removesuffix("b")
    unit = lower[-1:] if lower[-1:] in _UNITS else ""
    digits = lower[: len(lower) - len(unit)]
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise RuntimeFailure(f"invalid value for {name}: {text!r}")
    return int(digits) * _UNITS[unit]
