"""Which mount namespace is the host's, and whether this process has one of its own already.

stage0 unshares before it mounts the app's overlay and calls this stage1 in the same process; a foreign stage0 does not. A
namespace that differs from the parent's was made for us. Hot-path module.
"""

from __future__ import annotations

import os


def host_namespace() -> str:
    """The path of the mount namespace that this process was started from: its parent's. Empty when it cannot be looked at."""
    path = f"/proc/{os.getppid()}/ns/mnt"
    return path if os.access(path, os.R_OK) else ""


def shared_mounts() -> frozenset[str]:
    """Mount points that the host shares: their mounts have peers, or (in a slave namespace) receive from them."""
    found: set[str] = set()
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        for line in (file.readall() or b"").decode("utf-8", "surrogateescape").splitlines():
            fields = line.partition(" - ")[0].split(" ")
            if any(field.startswith(("shared:", "master:")) for field in fields[6:]):
                found.add(fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))
    return frozenset(found)


def has_own_mount_namespace() -> bool:
    """False also when the parent cannot be looked at: one more namespace does no harm."""
    try:
        return os.readlink("/proc/self/ns/mnt") != os.readlink(f"/proc/{os.getppid()}/ns/mnt")
    except OSError:
        return False
