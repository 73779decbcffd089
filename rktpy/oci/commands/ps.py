"""``ps``. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats.jsondoc import dump
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root


def run(arguments: Arguments) -> int:
    """List the processes; 0. Raises RktpyError, OSError."""
    form = arguments.text("format", "table")
    if form not in ("table", "json"):
        raise RuntimeFailure("invalid format option")
    container = Container.load(state_root(arguments), arguments.args[0])
    pids = sorted(container.groups.processes())
    if form == "json":
        os.write(1, dump(pids) + b"\n")
        return 0
    output = _output(arguments.args[1:] or ["-ef"])
    lines = output.split("\n")
    titles = lines[0].split()
    if "PID" not in titles:
        raise RuntimeFailure("couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    shown = [lines[0], *[line for line in lines[1:] if len(line.split()) > column and line.split()[column] in wanted]]
    os.write(1, "".join(f"{line}\n" for line in shown).encode("utf-8", "surrogateescape"))
    return 0


def _output(options: list[str]) -> str:
    """What ps(1) prints. Raises RuntimeFailure."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawnp("ps", ["ps", *options], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
    except OSError as error:
        raise RuntimeFailure("can't run ps") from OSError(error.errno, error.strerror)
    finally:
        os.close(writer)
    data = b""
    while piece := os.read(reader, 1 << 16):
        data += piece
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise RuntimeFailure(f"ps {' '.join(options)} ended with status {status}")
    return data.decode("utf-8", "surrogateescape")
