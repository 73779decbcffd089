"""Moving the calling process into groups. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.hierarchy import discover
from rktpy.cgroup.subtree import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.hierarchy import Hierarchy


def join_groups(groups: tuple[Hierarchy, ...]) -> None:
    """Move this process into the control groups of the app where it is not in them already. Raises OSError."""
    mine = {hierarchy.mount: hierarchy.own for hierarchy in discover()}
    for hierarchy in groups:
        if mine.get(hierarchy.mount) != hierarchy.own:
            write(f"{hierarchy.directory(hierarchy.own)}/cgroup.procs", "0")
