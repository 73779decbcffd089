"""The end of a pod: what the monitor becomes when the pod's processes are gone, and what a launch that failed does.

Nothing of the pod outlives this but its directory: networks are disconnected, control groups removed. If this is killed, ``gc``
does it again. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import FormatError, RktpyError, innermost
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import note, set_debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree

#: File of the pod directory that lists the control groups that were made.
CGROUPS_FILE = "cgroups"


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory; ``argv`` ends with its UUID and exit status, which is returned."""
    arguments = parse_arguments(argv, ("debug",), ())
    if arguments.is_set("debug"):
        set_debug(True)
    try:
        # The pod's first process may still be dying: the kernel takes its mounts and files down.
        os.waitpid(-1, 0)
    except ChildProcessError:
        pass
    clean_up()
    return int(arguments.rest[-1])


def clean_up() -> None:
    """Undo what was written down in the working directory; what cannot be undone is told, and left for gc."""
    from rktpy.stage1.systemd.disconnect import disconnect

    for step in (_remove_groups, disconnect):
        try:
            step()
        except (RktpyError, OSError) as error:
            note("stage1", innermost(error))


def pod_groups() -> Subtree | None:
    """The control groups of the pod in the working directory, None when it has none. Raises FormatError, OSError."""
    from rktpy.cgroup.subtree import Subtree

    try:
        with open(CGROUPS_FILE, "rb", buffering=0) as file:
            text = file.readall() or b""
    except FileNotFoundError:
        return None
    try:
        return Subtree.from_text(text.decode())
    except ValueError as error:
        raise FormatError(CGROUPS_FILE, "", str(error)) from None


def _remove_groups() -> None:
    groups = pod_groups()
    if groups is not None:
        groups.kill()
        groups.remove()
