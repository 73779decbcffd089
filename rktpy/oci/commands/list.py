"""``list``. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import RktpyError
from rktpy.formats.jsondoc import dump
from rktpy.oci.command_line import Arguments
from rktpy.oci.container import Container
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.main import state_root
from rktpy.oci.messages import warn

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(arguments: Arguments) -> int:
    """Print the containers; 0. Raises RktpyError."""
    form = arguments.text("format", "table")
    if form not in ("table", "json"):
        raise RuntimeFailure("invalid format option")
    root = state_root(arguments)
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        names = []
    containers: list[Container] = []
    for name in names:
        try:
            containers.append(Container.load(root, name))
        except (RktpyError, OSError) as error:
            if os.path.exists(f"{root}/{name}/state.json"):
                warn(f"load container {name}: {error}")
    if arguments.switch("quiet"):
        text = "".join([f"{one.id}\n" for one in containers])
    elif form == "json":
        text = (dump([one.document() for one in containers]) if containers else b"null").decode() + "\n"
    else:
        text = _table(containers)
    data = memoryview(text.encode())
    while data:
        data = data[os.write(1, data) :]
    return 0


def _table(containers: list[Container]) -> str:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for one in containers:
        shown = one.document()
        rows.append(tuple([str(shown[name]) for name in ("id", "pid", "status", "bundle", "created", "owner")]))
    widths = [max(12, *[len(row[column]) + 3 for row in rows]) for column in range(len(_COLUMNS) - 1)]
    return "".join(
        ["".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)]) + row[-1] + "\n" for row in rows]
    )
