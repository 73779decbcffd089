"""Calling a stage1's entry points other than ``run`` for a pod that is there: enter, stop, gc.

Those of a bundled stage1 are called in this process; those of a foreign one are programs below its root. The overlay of a foreign
stage1 is mounted for its own processes only, so a child mounts it anew in a namespace of its own: read-only beside a running pod,
as it was after the pod's end. Working directory and arguments as in rkt 1.30's ``stage0/{enter,stop,gc}.go``. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError, Stage1Error, StateError
from rktpy.formats.stage1 import STAGE1_ROOTFS
from rktpy.linux.constants import AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH
from rktpy.linux.syscalls import move_mount
from rktpy.log import debug
from rktpy.stage0 import stage1_image
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod


def call(g: Globals, pod: Pod, name: str, arguments: list[str]) -> None:
    """Call the entry point ``name`` (``stop`` or ``gc``) with the pod's directory as working directory and wait for its end.

    Raises StateError when the stage1 has no such entry point, Stage1Error when it fails.
    """
    bundled = pod.bundled_stage1
    if bundled is not None:
        debug("stage0", f"Calling {name} of stage1 {bundled} {arguments}")
        status = _call_here(pod, bundled, name, arguments)
    else:
        points = stage1_image.entry_points(pod)
        path: str = getattr(points, name)
        if not path:
            raise StateError(f"rktpy {name} not implemented for pod's stage1")
        program = f"{pod.path}/{STAGE1_ROOTFS}/{path}"
        debug("stage0", f"Execing {[program, *arguments]}")
        status = _call_in_child(g, pod, program, arguments)
    if status:
        raise Stage1Error(f"the {name} entry point of stage1 failed with status {status}")


def _call_here(pod: Pod, bundled: str, name: str, arguments: list[str]) -> int:
    module = stage1_image.bundled_module(bundled, name)
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(pod.fileno())
        status: int = module.main(arguments)
        return status
    finally:
        os.fchdir(before)
        os.close(before)


def _call_in_child(g: Globals, pod: Pod, program: str, arguments: list[str]) -> int:
    child = os.fork()
    if child == 0:
        try:
            _prepare_child(g, pod)
            os.execv(program, [program, *arguments])
        except (RktpyError, OSError) as error:
            from rktpy.errors import innermost
            from rktpy.log import note

            note("stage0", f"{program}: {innermost(error)}")
        finally:
            os._exit(254)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _prepare_child(g: Globals, pod: Pod) -> None:
    from rktpy.stage0.overlay import detached_overlay, mount_overlay
    from rktpy.stage0.pod_states import RUNNING
    from rktpy.stage0.private_users import pod_range
    from rktpy.stage0.run import enter_mount_namespace

    os.fchdir(pod.fileno())
    tree_id = pod.stage1_tree_id
    if tree_id is None or not pod.uses_overlay:
        return
    lower = Store(g.data_dir, create=False).tree_path(tree_id) + "/rootfs"
    users = pod_range(pod)
    enter_mount_namespace()
    if pod.state == RUNNING:
        # Two writable overlays must not share their upper layer.
        tree = detached_overlay(pod.path, tree_id, lower)
        move_mount(tree, "", AT_FDCWD, STAGE1_ROOTFS, MOVE_MOUNT_F_EMPTY_PATH)
    else:
        mount_overlay(pod.fileno(), tree_id, lower, STAGE1_ROOTFS, users=users)


def enter_program(g: Globals, pod: Pod) -> str:
    """The path of a foreign stage1's enter program: in its tree, where it can be reached without a mount. Raises StateError."""
    points = stage1_image.entry_points(pod)
    if not points.enter:
        raise StateError("rktpy enter not implemented for pod's stage1")
    tree_id = pod.stage1_tree_id
    if tree_id is not None and pod.uses_overlay:
        return f"{Store(g.data_dir, create=False).tree_path(tree_id)}/rootfs/{points.enter}"
    return f"{pod.path}/{STAGE1_ROOTFS}/{points.enter}"
