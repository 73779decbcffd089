"""Garbage collection of pods.

Two phases, as rkt's ``rkt/gc.go``: exited pods, aborted prepares and expired prepared pods are marked by moving them; a later run
(or the same one, without a grace period) removes what has been marked for long enough, counted from the move. Beyond rkt it also
removes embryos whose maker has died. Whatever is held by another command is left alone. Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from time import time_ns

from rktpy.errors import RktpyError, innermost
from rktpy.log import note
from rktpy.stage0.delete import Deleter
from rktpy.stage0.pod_states import ABORTED_PREPARE, EXITED, is_uuid, pods_dir, quoted, sync_dir
from rktpy.stage0.pods import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.stage0.options import Globals
    from rktpy.stage0.pods import Pod

DEFAULT_GRACE_NS = 30 * 60 * 10**9
DEFAULT_EXPIRATION_NS = 24 * 3600 * 10**9


def gc(
    g: Globals,
    grace_ns: int = DEFAULT_GRACE_NS,
    expire_prepared_ns: int = DEFAULT_EXPIRATION_NS,
    mark_only: bool = False,
    tell: Callable[[str], object] | None = None,
) -> None:
    """Mark pods that are no longer used, and unless ``mark_only`` remove those marked more than ``grace_ns`` ago.

    ``tell`` is called with ``Garbage collecting pod "<uuid>"`` before each removal. What goes wrong with one pod is noted and
    does not keep the others from being collected. Raises RktpyError when some pod could not be marked or removed.
    """
    data_dir = g.data_dir
    failed = _mark(data_dir, "run", EXITED, "moving pod {} to garbage")
    failed += _mark(data_dir, "prepare", ABORTED_PREPARE, "moving failed prepare {} to garbage")
    if not mark_only:
        _remove_embryos(data_dir)
        failed += _expire(data_dir, expire_prepared_ns)
        failed += _remove_marked(g, grace_ns, tell)
        _collect_networks(g)
    if failed:
        raise RktpyError(f"failed to mark or remove {failed} pod(s)")


def _remove_marked(g: Globals, grace_ns: int, tell: Callable[[str], object] | None) -> int:
    """Remove what was marked long enough ago; how many pods could not be removed."""
    deleter = Deleter(g)
    failed = 0
    for pod in walk(g.data_dir, ("exited-garbage", "garbage")):
        if pod.directory == "exited-garbage" and (pod.gc_marked_ns or 0) + grace_ns >= time_ns():
            note("gc", f"pod {quoted(pod.uuid)} not removed: still within grace period ({_duration(grace_ns)})")
            continue
        if not pod.lock():
            continue
        if tell is not None:
            tell(f"Garbage collecting pod {quoted(pod.uuid)}")
        try:
            deleter.delete(pod)
        except (RktpyError, OSError) as error:
            note("gc", innermost(error))
            failed += 1
    return failed


def _collect_networks(g: Globals) -> None:
    """Let plugins that can do so (CNI 1.1) remove what no pod uses in the user's networks. A failure fails nothing else."""
    if not os.path.isdir(f"{g.local_config}/net.d"):
        return
    from rktpy.net.garbage import collect_unused

    try:
        for problem in collect_unused(pods_dir(g.data_dir), g.local_config):
            note("networking", innermost(problem))
    except (RktpyError, OSError) as error:
        note("networking", innermost(error))


def _mark(data_dir: str, directory: str, state: str, message: str) -> int:
    """Mark the pods in a state; how many could not be marked."""
    moved = failed = 0
    for pod in walk(data_dir, (directory,)):
        if pod.state == state:
            note("gc", message.format(quoted(pod.uuid)))
            if _move(pod):
                moved += 1
            else:
                failed += 1
    if moved:
        _sync(data_dir, directory)
    return failed


def _move(pod: Pod) -> bool:
    """Move a pod to a garbage directory, or leave that to the command that was faster. False when it cannot be moved."""
    try:
        # One sync for all of them follows.
        if pod.directory == "run":
            pod.to_exited_garbage(sync=False)
        else:
            pod.to_garbage(sync=False)
    except OSError as error:
        note("gc", f"rename error: {innermost(error)}")
        return False
    return True


def _sync(data_dir: str, source: str) -> None:
    base = pods_dir(data_dir)
    sync_dir(f"{base}/{'exited-garbage' if source == 'run' else 'garbage'}")
    sync_dir(f"{base}/{source}")


def _expire(data_dir: str, expire_prepared_ns: int) -> int:
    """Mark the pods that were prepared too long ago; how many could not be marked."""
    moved = failed = 0
    for pod in walk(data_dir, ("prepared",)):
        if os.fstat(pod.fileno()).st_ctime_ns + expire_prepared_ns < time_ns():
            note("gc", f"moving expired prepared pod {quoted(pod.uuid)} to garbage")
            if _move(pod):
                moved += 1
            else:
                failed += 1
    if moved:
        _sync(data_dir, "prepared")
    return failed


def _remove_embryos(data_dir: str) -> None:
    embryos = f"{pods_dir(data_dir)}/embryo"
    try:
        names = os.listdir(embryos)
    except FileNotFoundError:
        return
    for name in filter(is_uuid, names):
        path = f"{embryos}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A maker that has not come to locking it yet makes another one.
            os.rmdir(path)
        except OSError:
            pass
        finally:
            os.close(fd)


def _duration(ns: int) -> str:
    """A duration as Go prints it: ``30m0s``."""
    seconds, fraction = divmod(ns, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else f"{seconds}"
    return f"{hours}h{minutes}m{text}s" if hours else f"{minutes}m{text}s" if minutes else f"{text}s"
