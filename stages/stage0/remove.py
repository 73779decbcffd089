"""Removing one pod at once, whatever its age (``rm``). Behaviour and messages as rkt's ``rkt/rm.go``. Hot-path module."""

from __future__ import annotations

from rktpy.errors import StateError
from rktpy.log import note
from rktpy.stage0.delete import Deleter
from rktpy.stage0.pod_states import (
    ABORTED_PREPARE,
    DELETING,
    EMBRYO,
    EXITED,
    EXITED_DELETING,
    PREPARED,
    PREPARING,
    RUNNING,
    quoted,
)
from rktpy.stage0.pods import find_pod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod


def remove(g: Globals, uuid: str) -> None:
    """Remove a pod that does not run, named by its UUID or a prefix. Raises StateError when it is in use, RktpyError, OSError."""
    with find_pod(g.data_dir, uuid, "cannot get pod") as pod:
        _discard(pod)
        if not pod.lock():
            raise StateError(f"pod {quoted(pod.uuid)} is currently being deleted")
        Deleter(g).delete(pod)


def _discard(pod: Pod) -> None:
    """Move a pod to one of the garbage directories. What another command has moved since is found by the lock that follows."""
    state = pod.state
    name = quoted(pod.uuid)
    if state == RUNNING:
        raise StateError(f"pod {name} is currently running")
    if state in (EMBRYO, PREPARING):
        raise StateError(f"pod {name} is currently being prepared")
    if state in (DELETING, EXITED_DELETING):
        raise StateError(f"pod {name} is currently being deleted")
    if state == ABORTED_PREPARE:
        note("rm", f"moving failed prepare {name} to garbage")
        pod.to_garbage(sync=False)
    elif state == PREPARED:
        note("rm", f"moving expired prepared pod {name} to garbage")
        if not pod.to_garbage(sync=False) and pod.refresh() == RUNNING:
            raise StateError(f"pod {name} is currently running")
    elif state == EXITED:
        pod.to_exited_garbage(sync=False)
