"""Entry point ``app/rm`` of stage1-systemd: let a stopped app of a running mutable pod go. stage0 removes its files.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.linux.constants import MNT_DETACH, UMOUNT_NOFOLLOW
from rktpy.linux.syscalls import umount2
from rktpy.log import set_debug
from rktpy.pod.added_app import named_app, replace_in_report
from rktpy.stage1.systemd.inside import in_pod
from rktpy.stage1.systemd.manager import Manager, ManagerError
from rktpy.stage1.systemd.pod_paths import UNITS_DIR


def main(argv: list[str]) -> int:
    """Remove the units and mounts of an app from the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))

    def inside() -> bytes:
        units = [file for file in os.listdir(f"/{UNITS_DIR}") if _belongs(file, name)]
        manager = Manager()
        for unit in units:
            try:
                manager.stop(unit)
                manager.reset_failed(unit)
            except ManagerError:
                pass  # not loaded: never started, or forgotten already
            os.unlink(f"/{UNITS_DIR}/{unit}")
        try:
            umount2(f"/{names.STAGE2_DIR}/{name}/rootfs", MNT_DETACH | UMOUNT_NOFOLLOW)
        except OSError:
            pass  # a copied root is no mount, and one that is gone is fine
        return b""

    in_pod(inside)
    replace_in_report(name)
    return 0


def _belongs(unit: str, app: str) -> bool:
    """Whether a unit file is one of the app's; an app may be called as a template of ours, but has no ``@`` in its name."""
    if unit.startswith(f"{app}@"):
        return unit.endswith(".socket")
    return unit == f"{app}.service" or unit.endswith(f"@{app}.service")
