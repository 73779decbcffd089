"""Entry point ``app/rm`` of stage1-oci: let a stopped app of a running mutable pod go. stage0 removes its files, its log stays.
Hot-path module.
"""

from __future__ import annotations

from rktpy.formats import stage1 as names
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.linux.constants import MNT_DETACH, UMOUNT_NOFOLLOW
from rktpy.linux.remove_tree import remove_tree
from rktpy.linux.syscalls import umount2
from rktpy.log import set_debug
from rktpy.pod.added_app import named_app, replace_in_report
from rktpy.stage1.oci.containers import delete_container, is_running
from rktpy.stage1.oci.halt import stop_apps
from rktpy.stage1.oci.inside import in_pod
from rktpy.stage1.oci.paths import APPS
from rktpy.stage1.oci.runtime import Runtime


def main(argv: list[str]) -> int:
    """Remove the container and root of an app from the pod in the working directory. Raises RktpyError, OSError."""
    arguments = parse_arguments(argv, ("debug",), ("app",))
    if arguments.is_set("debug"):
        set_debug(True)
    name = named_app(arguments.text("app"))
    runtime = Runtime.load()
    if is_running(name):
        stop_apps(runtime, [name])
    delete_container(runtime, name)

    def inside() -> bytes:
        try:
            umount2(names.app_rootfs(name), MNT_DETACH | UMOUNT_NOFOLLOW)
        except OSError:
            pass  # a copied root is no mount, and one that is gone is fine
        return b""

    in_pod(inside)
    try:
        remove_tree(f"{APPS}/{name}")
    except FileNotFoundError:
        pass
    replace_in_report(name)
    return 0
