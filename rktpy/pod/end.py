"""The end of a pod: networks are disconnected, control groups removed. What was killed before the end is left for ``gc``, which
does the same again. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.recorded import recorded_groups
from rktpy.errors import RktpyError, innermost
from rktpy.log import note
from rktpy.pod.disconnect import disconnect


def clean_up() -> None:
    """Undo what was written down in the working directory; what cannot be undone is told, and left for gc."""
    for step in (_remove_all_but_own, disconnect):
        try:
            step()
        except (RktpyError, OSError) as error:
            note("stage1", innermost(error))


def _remove_all_but_own() -> None:
    remove_groups(but_own=True)


def remove_groups(*, but_own: bool = False) -> None:
    """Kill what is left in the control groups of the pod in the working directory and remove them. Raises RktpyError, OSError.

    ``but_own`` is for a process that is in one of them, see :meth:`Subtree.remove`.
    """
    groups = recorded_groups()
    if groups is not None:
        groups.kill()
        groups.remove(but_own=but_own)
