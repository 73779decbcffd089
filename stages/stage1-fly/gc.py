"""Entry point ``gc`` of stage1-fly: kill what is left in the pod's control groups and remove them.

Mounts need no cleaning: they were made in a namespace that ended with the pod. May be called again after it failed or was killed.
Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.entry_arguments import parse_arguments
from rktpy.log import set_debug
from rktpy.stage1.fly.limits import CGROUPS_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree


def main(argv: list[str]) -> int:
    """Clean up after the pod in the working directory. Raises OSError or TimeoutError when a group does not go away."""
    arguments = parse_arguments(argv, ("debug",), ("local-config",))
    if arguments.is_set("debug"):
        set_debug(True)
    subtree = pod_cgroups()
    if subtree is not None:
        subtree.kill()
        subtree.remove()
    return 0


def pod_cgroups() -> Subtree | None:
    """The control groups of the pod in the working directory, None when it has none."""
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
