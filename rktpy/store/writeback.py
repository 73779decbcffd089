"""Asking the kernel to write data out early, so that a later fsync is short."""

from __future__ import annotations

SYNC_FILE_RANGE_WRITE = 2


def start_writeback(fd: int, offset: int, size: int) -> None:
    """Begin to write ``size`` bytes at ``offset`` to the disk without waiting. Best effort: not every file system can."""
    from rktpy.linux.syscalls import sync_file_range

    try:
        sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE)
    except OSError:
        pass
