"""Stopping a pod in order: what the monitor starts when it is asked to stop, or when an app has failed.

The apps get SIGTERM, and those that have not ended in time SIGKILL; then the pod's first process is ended. Hot-path module.
"""

from __future__ import annotations

import os
import time

from rktpy.formats.entry_arguments import parse_arguments
from rktpy.linux.constants import SIGKILL, SIGTERM
from rktpy.log import set_debug
from rktpy.stage1.oci.containers import has_ended, kill_container
from rktpy.stage1.oci.ending import kill_sandbox, sandbox_pid
from rktpy.stage1.oci.paths import APPS
from rktpy.stage1.oci.runtime import Runtime

#: How long apps may take, in seconds; systemd's default for a service is 90.
PATIENCE_S = 90.0
_STEP_S = 0.01


def main(argv: list[str]) -> int:
    """Stop the apps of the pod in the working directory, then the pod. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ())
    if arguments.is_set("debug"):
        set_debug(True)
    runtime = Runtime.load()
    stop_apps(runtime, [app for app in os.listdir(APPS) if not has_ended(app)])
    kill_sandbox(sandbox_pid())
    return 0


def stop_apps(runtime: Runtime, apps: list[str]) -> None:
    """End running apps in order. Raises OSError."""
    left = [app for app in apps if kill_container(runtime, app, SIGTERM)]
    deadline = time.monotonic() + PATIENCE_S
    while left := [app for app in left if not has_ended(app)]:
        if time.monotonic() > deadline:
            deadline += PATIENCE_S
            for app in left:
                kill_container(runtime, app, SIGKILL)
        time.sleep(_STEP_S)
