"""Entry point ``app/stop`` of stage1-systemd: stop an app of a running mutable pod. Hot-path module."""

from __future__ import annotations

from rktpy.errors import Stage1Error
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.isolate.plan import shown
from rktpy.log import set_debug
from rktpy.pod.added_app import named_app
from rktpy.stage1.systemd.inside import in_pod
from rktpy.stage1.systemd.manager import Manager, ManagerError

#: What systemctl ends with for a unit that is not loaded; scripts written for rkt know it.
NO_SUCH_UNIT = 5


def main(argv: list[str]) -> int:
    """Stop an app of the pod in the working directory; 5 when it does not run. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))

    def inside() -> bytes:
        try:
            return Manager().stop(f"{name}.service").encode()
        except ManagerError as error:
            if error.name == "org.freedesktop.systemd1.NoSuchUnit":
                return b""
            raise

    result = in_pod(inside).decode()
    if result not in ("", "done"):
        raise Stage1Error(f"app {shown(name)} was not stopped: {result}")
    return 0 if result else NO_SUCH_UNIT
