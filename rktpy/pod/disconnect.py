"""Taking the pod's networks down at its end. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names

#: What the pod's directory has when there are networks to take down.
_TRACES = (names.NETNS_FILE, names.NET_INFO_FILE)


def disconnect() -> None:
    """Disconnect the pod in the working directory from all networks. May be called again. Raises RktpyError, OSError."""
    if not any(os.path.exists(name) for name in _TRACES):
        return
    from rktpy.net.tear_down import tear_down

    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tear_down(here)
    finally:
        os.close(here)
