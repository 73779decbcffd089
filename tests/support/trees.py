"""What a directory tree is, name by name, to compare trees with each other."""

from __future__ import annotations

import os
import stat
from pathlib import Path

Fact = tuple[object, ...]


def snapshot(root: Path | str, *, times: bool = True) -> dict[bytes, Fact]:
    """For every path below ``root`` (``b""`` is itself): type, mode, owner, time, attributes, and content or target.

    Hard links are told by the first name of their file.
    """
    found: dict[bytes, Fact] = {}
    inodes: dict[tuple[int, int], bytes] = {}
    top = os.fsencode(root)
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(top, path) if path else top
        status = os.lstat(full)
        kind = stat.S_IFMT(status.st_mode)
        detail: object = None
        if kind == stat.S_IFDIR:
            pending.extend(os.path.join(path, name) for name in sorted(os.listdir(full), reverse=True))
        elif kind == stat.S_IFLNK:
            detail = os.readlink(full)
        elif kind == stat.S_IFREG:
            with open(full, "rb") as file:
                detail = file.read()
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            detail = status.st_rdev
        first = inodes.setdefault((status.st_dev, status.st_ino), path) if kind != stat.S_IFDIR else path
        attributes = {name: os.getxattr(full, name, follow_symlinks=False) for name in os.listxattr(full, follow_symlinks=False)}
        found[path] = (
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns if times else 0,
            tuple(sorted(attributes.items())),
            detail,
            first,
        )
    return found


def names(root: Path | str) -> list[str]:
    """All paths below ``root``, sorted."""
    return sorted(os.fsdecode(path) for path in snapshot(root) if path)
