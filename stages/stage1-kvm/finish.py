"""The end of a pod, and the end of a start that failed: networks are disconnected, control groups removed.

If the process that does this is killed, ``gc`` does it again. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.cgroup.recorded import recorded_groups
from rktpy.errors import RktpyError, innermost
from rktpy.log import note


def clean_up() -> None:
    """Undo what was written down in the working directory; what cannot be undone is told, and left for gc."""
    from rktpy.net.disconnect import disconnect

    _wait_for_children()
    for step in (_remove_groups, disconnect):
        try:
            step()
        except (RktpyError, OSError) as error:
            note("stage1", innermost(error))


def _wait_for_children() -> None:
    """QEMU has been killed; the kernel takes its memory down."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def _remove_groups() -> None:
    groups = recorded_groups()
    if groups is not None:
        groups.kill()
        groups.remove()
