"""Starting and stopping an app of a running mutable pod, as rkt 1.30's ``stage0/app_{start,stop}.go``. Hot-path module."""

from __future__ import annotations

from rktpy.errors import RktpyError, StateError
from rktpy.stage0 import app_files, mutable
from rktpy.stage0.crossing import NO_SUCH_UNIT, call_app, in_namespace, require_success
from rktpy.stage0.pod_states import quoted
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals


def start(g: Globals, uuid: str, app: str) -> None:
    """Start an app, for the first time or again. Raises RktpyError."""
    mutable.check_app_name(app)
    with find_pod(g.data_dir, uuid, "problem retrieving pod") as pod:
        mutable.require_running(pod)
        try:
            with mutable.lock_manifest(pod):
                mutable.require_app(pod, app, "cannot start application")
                in_namespace(pod, lambda fd, base: app_files.mark_started(fd, base, app))
            # Without the lock: an app may take its time to become ready, and others can be added meanwhile.
            try:
                require_success(call_app(pod, "app_start", app, _arguments(g, app)), "app_start")
            except (RktpyError, OSError):
                in_namespace(pod, lambda fd, base: app_files.unmark_started(fd, base, app))
                raise
        except (RktpyError, OSError) as error:
            raise RktpyError("error starting app") from error


def stop(g: Globals, uuid: str, app: str) -> bool:
    """Stop an app. False when the whole pod has ended already. Raises RktpyError."""
    mutable.check_app_name(app)
    with find_pod(g.data_dir, uuid, "problem retrieving pod") as pod:
        if pod.is_after_run:
            return False
        mutable.require_running(pod)
        try:
            # No lock: an app must be stoppable while another one takes its time to be added.
            mutable.require_app(pod, app, "cannot stop application")
            status = call_app(pod, "app_stop", app, _arguments(g, app))
            if status == NO_SUCH_UNIT:
                raise StateError(f"app {quoted(app)} is not running")
            require_success(status, "app_stop")
        except (RktpyError, OSError) as error:
            raise RktpyError("error stopping app") from error
        return True


def _arguments(g: Globals, app: str) -> list[str]:
    return [f"--debug={'true' if g.debug else 'false'}", f"--app={app}"]
