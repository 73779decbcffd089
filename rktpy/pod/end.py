"""The end of a pod: networks are disconnected, control groups removed. What was killed before the end is left for ``gc``, which
does the same again. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.recorded import recorded_groups
from rktpy.errors import RktpyError, innermost
from rktpy.log import note
from rktpy.pod.disconnect import disconnect


def clean_up() -> None:
    """Undo what was written down in the working directory; what cannot be undone is told, and left for gc."""
    for step in (remove_groups, disconnect):
        try:
            step()
        except (RktpyError, OSError) as error:
            note("stage1", innermost(error))


def remove_groups() -> None:
    """Kill what is left in the control groups of the pod in the working directory and remove them. Raises RktpyError, OSError."""
    groups = recorded_groups()
    if groups is not None:
        groups.kill()
        groups.remove(but_own=True)
