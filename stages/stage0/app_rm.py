"""Removing an app from a mutable pod, running or exited. Behaviour as rkt 1.30's ``stage0/app_rm.go``. Hot-path module.

The stage1 lets go of the app first, then its files go, then the manifest forgets it: after a kill it can be removed again. So can
what an addition left that was killed before the manifest named the app.
"""

from __future__ import annotations

import os

from rktpy.errors import NotFoundError, RktpyError, StateError
from rktpy.formats.stage1 import APPS_INFO_DIR, STAGE2_DIR
from rktpy.linux.constants import MNT_DETACH
from rktpy.linux.syscalls import umount2
from rktpy.stage0 import mutable
from rktpy.stage0.app_files import open_directory
from rktpy.stage0.app_removal import remove_from_root, remove_own
from rktpy.stage0.crossing import NO_SUCH_UNIT, call_app, in_namespace, require_success
from rktpy.stage0.pod_states import RUNNING, quoted
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod


def remove(g: Globals, uuid: str, app: str) -> None:
    """Remove an app, stopping it before if it runs. Raises RktpyError."""
    mutable.check_app_name(app)
    with find_pod(g.data_dir, uuid, "problem retrieving pod") as pod:
        if pod.state == RUNNING and not pod.is_ready:
            raise StateError(f"pod {quoted(pod.uuid)} is running but its supervisor is not ready yet")
        if not pod.has_manifest:
            raise StateError(f"pod {quoted(pod.uuid)} is {pod.state}")
        try:
            with mutable.lock_manifest(pod):
                pod.refresh()
                _remove(g, pod, app)
        except (RktpyError, OSError) as error:
            raise RktpyError("error removing app") from error


def _remove(g: Globals, pod: Pod, app: str) -> None:
    mutable.require_mutable(pod, "cannot remove application, sandbox validation failed")
    known = mutable.has_app(pod, app)
    if not known and not pod.exists(f"{APPS_INFO_DIR}/{app}"):
        raise NotFoundError(f"error: nonexistent app {quoted(app)}")
    if pod.state == RUNNING and known:
        tell_stage1(pod, app, debug=g.debug)
    remove_files(pod, app)
    mutable.forget_app(pod, app)


def tell_stage1(pod: Pod, app: str, *, debug: bool) -> None:
    """Let the stage1 stop the app and forget it. Raises RktpyError, OSError."""
    arguments = [f"--debug={'true' if debug else 'false'}", f"--app={app}"]
    status = call_app(pod, "app_stop", app, arguments)
    if status != NO_SUCH_UNIT:
        require_success(status, "app_stop")
    require_success(call_app(pod, "app_rm", app, arguments), "app_rm")


def remove_files(pod: Pod, app: str) -> None:
    """Remove all files of an app that the stage1 does not have any more. Raises RktpyError, OSError."""

    def below_stage1(pod_fd: int, base: str) -> None:
        if pod.bundled_stage1 is None and pod.uses_overlay:
            _unmount(pod_fd, f"{base}/{STAGE2_DIR}/{app}")
        remove_from_root(pod_fd, base, app)

    try:
        in_namespace(pod, below_stage1)
        remove_own(pod, app)
    except OSError as error:
        raise RktpyError("error removing app info directory") from error


def _unmount(pod_fd: int, directory: str) -> None:
    """Take down the overlay of a foreign stage1's app, if it is mounted in this namespace."""
    try:
        fd = open_directory(pod_fd, directory)
    except FileNotFoundError:
        return
    try:
        root = open_directory(fd, "rootfs")
        try:
            if os.fstat(root).st_dev != os.fstat(fd).st_dev:
                umount2(f"/proc/self/fd/{root}", MNT_DETACH)
        finally:
            os.close(root)
    except FileNotFoundError:
        pass
    finally:
        os.close(fd)
