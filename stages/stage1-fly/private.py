"""Whether this process has a mount namespace of its own already.

stage0 unshares before it mounts the app's overlay and calls this stage1 in the same process; a foreign stage0 does not. A
namespace that differs from the parent's was made for us. Hot-path module.
"""

from __future__ import annotations

import os


def has_own_mount_namespace() -> bool:
    """False also when the parent cannot be looked at: one more namespace does no harm."""
    try:
        return os.readlink("/proc/self/ns/mnt") != os.readlink(f"/proc/{os.getppid()}/ns/mnt")
    except OSError:
        return False
