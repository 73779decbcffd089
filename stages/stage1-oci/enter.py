"""Entry point ``enter`` of stage1-oci: one more process in a running app, by the runtime's ``exec``.

It gets the user, capabilities, environment, labels and no-new-privileges of the app's own process, and the runtime puts it into
the app's namespaces and control groups, under its system call filter; on a terminal of its own where ours is one. What such an
entrance must not do (CVE-2019-5736, CVE-2024-21626) is the runtime's to see to. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import FormatError, StateError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.executable import find_executable
from rktpy.isolate.holder import open_holder, read_pid
from rktpy.isolate.plan import shown
from rktpy.isolate.pod_app import load_apps, read_file
from rktpy.isolate.root import Root
from rktpy.log import set_debug
from rktpy.stage1.oci.containers import container_pid, has_ended
from rktpy.stage1.oci.paths import APPS, MONITOR_FILE
from rktpy.stage1.oci.runtime import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(argv: list[str]) -> int:
    """Run a command in an app of the pod in the working directory; the process becomes the runtime, which returns its status.

    ``argv`` is ``--pid=N --appname=A -- COMMAND ARGS``. Raises RktpyError or OSError.
    """
    arguments = parse_arguments(argv, ("debug",), ("pid", "appname"))
    if arguments.is_set("debug"):
        set_debug(True)
    if not arguments.rest:
        raise UsageError("no command given")
    app = _app(arguments.text("appname"))
    monitor = open_holder(read_pid(MONITOR_FILE))
    if monitor is None:
        raise StateError("no process of the pod is running")
    monitor.close()
    process = _process(app)
    with Root(f"/proc/{container_pid(app)}/root") as root:
        if has_ended(app):
            raise StateError(f"app {app} is not running")
        search = next((text[5:] for text in process["env"] if text.startswith("PATH=")), names.DEFAULT_PATH)
        program = find_executable(root, arguments.rest[0], search, "/")
    terminal = os.isatty(0) and os.isatty(1)
    if terminal and not any(text.startswith("TERM=") for text in process["env"]):
        process["env"].append(f"TERM={os.environ.get('TERM', 'vt220')}")
    process.update(args=[program, *arguments.rest[1:]], cwd="/", terminal=terminal)
    specification = os.memfd_create("process", 0)
    os.write(specification, jsondoc.dump(process))
    runtime = Runtime.load()
    command = runtime.command("exec", "--process", f"/proc/self/fd/{specification}", app)
    os.execve(command[0], command, {"PATH": os.environ.get("PATH", names.DEFAULT_PATH)})


def _app(name: str) -> str:
    _manifest, apps = load_apps("")
    for app in apps:
        if app.name == name or (not name and len(apps) == 1):
            return app.name
    raise UsageError(f"app {shown(name)} is not in the pod")


def _process(app: str) -> dict[str, Any]:
    """``process`` of the app's bundle. Raises StateError for an app that was not started."""
    path = f"{APPS}/{app}/config.json"
    try:
        document = jsondoc.parse_object(read_file(path), path)
    except FileNotFoundError:
        raise StateError(f"app {app} is not running") from None
    process = document.get("process")
    if type(process) is not dict:
        raise FormatError(path, "process", "must be an object")
    return process  # pyright: ignore[reportUnknownVariableType]
