"""Walking the groups below one that a pod could write in: as deep as it liked, and changing while we look.

Neither PATH_MAX nor the number of descriptors bounds the depth: a step down or up is taken from the directory where we stand.
Hot-path module.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk(top: str) -> Iterator[tuple[int, str, int]]:
    """``top`` and all groups below it, children first: (descriptor of the parent, name, descriptor of the group).

    The descriptors are good until the next step; the group may be removed in that step. Nothing when ``top`` is not there.
    Raises OSError, also when a directory vanishes under us, which a second walk may get past.
    """
    above_top, _slash, name = top.rpartition("/")
    try:
        parent = os.open(above_top or "/", _OPEN)
    except FileNotFoundError:
        return
    fd = -1
    try:
        try:
            fd = os.open(name, _OPEN, dir_fd=parent)
        except FileNotFoundError:
            return
        names = [name]
        pending = [_children(fd)]
        while names:
            if pending[-1]:
                child = pending[-1].pop()
                try:
                    below = os.open(child, _OPEN, dir_fd=fd)
                except FileNotFoundError:
                    continue
                os.close(fd)
                fd = below
                names.append(child)
                pending.append(_children(fd))
                continue
            above = os.open("..", _OPEN, dir_fd=fd) if len(names) > 1 else os.dup(parent)
            try:
                yield above, names.pop(), fd
            except BaseException:
                os.close(above)
                raise
            pending.pop()
            os.close(fd)
            fd = above
    finally:
        if fd >= 0:
            os.close(fd)
        os.close(parent)


def _children(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
