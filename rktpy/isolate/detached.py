"""A descriptor of a directory from which nothing above the directory can be reached.

An open directory is a way out of a chroot: ``openat(fd, "../../..")``. Opened through a detached bind mount, the directory is
the root of its mount, and ``..`` stays there. Locks are the inode's, so flock(2) on such a descriptor excludes those on
ordinary ones. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.linux.constants import AT_FDCWD, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE
from rktpy.linux.syscalls import open_tree


def open_detached(path: str, directory_fd: int = AT_FDCWD) -> int:
    """Open the directory ``path`` read-only, close-on-exec, without a way up. Needs CAP_SYS_ADMIN; raises OSError."""
    tree = open_tree(directory_fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)
