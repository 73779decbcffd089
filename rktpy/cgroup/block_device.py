"""Which disk is behind a directory: what limits on block I/O are set for. Hot-path module."""

from __future__ import annotations

import os

from rktpy.cgroup.hierarchy import unescape


def block_device(directory: str) -> str:
    """``major:minor`` of the whole disk (not the partition, the kernel limits disks) that ``directory`` is on.

    For an overlay name its upper directory. Raises LookupError that says why there is none, OSError.
    """
    device = os.stat(directory).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    if os.path.isdir(f"/sys/dev/block/{name}"):
        return _disk(name)
    kind, source = _mounted(name)
    try:
        # btrfs has a device number of its own; a file system on several disks is limited on the one that it was mounted by.
        status = os.stat(source)
    except OSError:
        status = None
    if status is not None and source.startswith("/dev/") and status.st_rdev:
        return _disk(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
    raise LookupError(f"no block device is behind {directory} ({kind or 'unknown file system'})")


def _disk(name: str) -> str:
    path = os.path.realpath(f"/sys/dev/block/{name}")
    if not os.path.exists(f"{path}/partition"):
        return name
    with open(f"{os.path.dirname(path)}/dev", "rb", buffering=0) as file:
        return file.read().decode().strip()


def _mounted(name: str) -> tuple[str, str]:
    """Type and source of a mount of the file system with device number ``name``."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _dash, right = line.partition(" - ")
            if left.split(" ")[2] == name:
                kind, source, *_options = right.split(" ")
                return kind, unescape(source)
    return "", ""
