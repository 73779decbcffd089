"""The control groups that a pod's directory says were made for it. Hot-path module."""

from __future__ import annotations

from rktpy.cgroup.subtree import Subtree
from rktpy.errors import FormatError

#: File of the pod directory that lists the groups, written before they are made.
CGROUPS_FILE = "cgroups"


def recorded_groups() -> Subtree | None:
    """The groups of the pod in the working directory, None when it has none. Raises FormatError, OSError."""
    try:
        with open(CGROUPS_FILE, "rb", buffering=0) as file:
            text = file.readall() or b""
    except FileNotFoundError:
        return None
    try:
        return Subtree.from_text(text.decode())
    except ValueError as error:
        raise FormatError(CGROUPS_FILE, "", str(error)) from None
