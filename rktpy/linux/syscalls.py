"""System calls that Python 3.11's ``os`` lacks: the C extension where it was built, else ctypes.

Paths are str, bytes or (where the call takes a null pointer) None. Every function raises OSError with errno and the path it was
given; interrupted calls are repeated. What each does is in its section 2 manual page. Hot-path module.
"""

from __future__ import annotations

try:
    from rktpy.linux._sys import (
        capget,
        capset,
        close_range,
        fsconfig,
        fsmount,
        fsopen,
        mount,
        mount_setattr,
        move_mount,
        open_tree,
        openat2,
        pidfd_open,
        pidfd_send_signal,
        pivot_root,
        prctl,
        renameat2,
        seccomp_filter,
        setdomainname,
        sethostname,
        setns,
        sync_file_range,
        syncfs,
        umount2,
        unshare,
    )
except ImportError:
    from rktpy.linux._ctypes import (
        capget,
        capset,
        close_range,
        fsconfig,
        fsmount,
        fsopen,
        mount,
        mount_setattr,
        move_mount,
        open_tree,
        openat2,
        pidfd_open,
        pidfd_send_signal,
        pivot_root,
        prctl,
        renameat2,
        seccomp_filter,
        setdomainname,
        sethostname,
        setns,
        sync_file_range,
        syncfs,
        umount2,
        unshare,
    )

__all__ = [
    "capget",
    "capset",
    "close_range",
    "fsconfig",
    "fsmount",
    "fsopen",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pidfd_open",
    "pidfd_send_signal",
    "pivot_root",
    "prctl",
    "renameat2",
    "seccomp_filter",
    "setdomainname",
    "sethostname",
    "setns",
    "sync_file_range",
    "syncfs",
    "umount2",
    "unshare",
]
