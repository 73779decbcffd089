"""Stopping a running pod by its stage1. Hot-path module."""

from __future__ import annotations

from rktpy.errors import StateError
from rktpy.stage0.entrypoints import call
from rktpy.stage0.pod_states import RUNNING, quoted
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals


def stop(g: Globals, uuid: str, force: bool = False) -> None:
    """Ask the stage1 of a running pod to stop it: in order, or with ``force`` at once (SIGKILL).

    Returns when the stage1 has been told, which may be before the pod has ended. Raises StateError when the pod does not run,
    Stage1Error when the stage1 could not.
    """
    with find_pod(g.data_dir, uuid, "cannot get pod") as pod:
        if pod.state != RUNNING:
            raise StateError(f"pod {quoted(pod.uuid)} is not running")
        call(g, pod, "stop", [*(["--force"] if force else []), pod.uuid])
