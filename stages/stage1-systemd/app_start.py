"""Entry point ``app/start`` of stage1-systemd: start an app of a running mutable pod. Hot-path module."""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.log import set_debug
from rktpy.pod.added_app import named_app
from rktpy.stage1.systemd.inside import in_pod
from rktpy.stage1.systemd.manager import Manager
from rktpy.stage1.systemd.pod_paths import UNITS_DIR


def main(argv: list[str]) -> int:
    """Start an app of the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))

    def inside() -> bytes:
        # What is told about an earlier run of the app is not true of this one.
        try:
            os.unlink(f"/{names.STATUS_DIR}/{name}")
        except FileNotFoundError:
            pass
        sockets = [file for file in os.listdir(f"/{UNITS_DIR}") if file.startswith(f"{name}@") and file.endswith(".socket")]
        manager = Manager()
        results = [manager.start(unit) for unit in sockets or [f"{name}.service"]]
        return ",".join([result for result in results if result != "done"]).encode()

    problem = in_pod(inside).decode()
    if problem:
        raise Stage1Error(f"app {shown(name)} was not started: {problem}")
    return 0
