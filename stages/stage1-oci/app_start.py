"""Entry point ``app/start`` of stage1-oci: start an app of a running mutable pod, in a new container. Hot-path module."""

from __future__ import annotations

import os

from rktpy.cgroup.recorded import recorded_groups
from rktpy.errors import NotFoundError
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.log import set_debug
from rktpy.pod.added_app import named_app
from rktpy.stage1.oci.app import POST_STOP, PRE_START
from rktpy.stage1.oci.conmon import create_container
from rktpy.stage1.oci.containers import delete_container, is_running, run_handler, start_container
from rktpy.stage1.oci.inside import in_pod
from rktpy.stage1.oci.paths import APPS
from rktpy.stage1.oci.runtime import Runtime


def main(argv: list[str]) -> int:
    """Start an app of the pod in the working directory; one that runs already goes on. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))
    bundle = f"{APPS}/{name}"
    if not os.path.exists(f"{bundle}/config.json"):
        raise NotFoundError(f"app {shown(name)} is not in the pod")
    if is_running(name):
        return 0
    runtime = Runtime.load()
    groups = recorded_groups()

    def inside() -> bytes:
        delete_container(runtime, name)
        create_container(runtime, name, groups, post_stop=os.path.isdir(f"{bundle}/{POST_STOP}"))
        if os.path.isdir(f"{bundle}/{PRE_START}"):
            for number in sorted(os.listdir(f"{bundle}/{PRE_START}")):
                run_handler(runtime, name, f"{bundle}/{PRE_START}/{number}")
        start_container(runtime, name)
        return b""

    in_pod(inside)
    return 0
