"""What is mounted below a pod's directory in this mount namespace, and taking it down.

rktpy itself mounts nothing there (see ``run``); foreign stage1 images may, and a bind mount that is left behind may be the host's
own directory. Each mount is reached without following symbolic links, made private first, so that taking it down is not
propagated to where its content comes from, and then detached with everything below it. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import StateError
from rktpy.linux.constants import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MNT_DETACH,
    MS_PRIVATE,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)
from rktpy.linux.syscalls import mount_setattr, openat2, umount2
from rktpy.log import debug

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_ROUNDS = 100


def mounts_below(path: bytes) -> list[bytes]:
    """The mount points below a directory, relative to it, without those below another one of them; sorted."""
    prefix = path.rstrip(b"/") + b"/"
    with open("/proc/self/mountinfo", "rb") as file:
        found = sorted({point for line in file if (point := _unescaped(line.split(b" ", 5)[4])).startswith(prefix)})
    top: list[bytes] = []
    for point in found:
        if not top or not point.startswith(top[-1] + b"/"):
            top.append(point)
    return [point[len(prefix) :] for point in top]


def _unescaped(field: bytes) -> bytes:
    if b"\\" not in field:
        return field
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\043", b"#")):
        field = field.replace(code, character)
    return field.replace(b"\\134", b"\\")


def unmount_below(dir_fd: int, path: str) -> None:
    """Take down every mount below the directory ``path``, which is open as ``dir_fd``. Raises StateError, OSError."""
    for _ in range(_ROUNDS):
        points = mounts_below(os.fsencode(path))
        if not points:
            return
        for point in points:
            debug("stage0", f"unmounting {os.fsdecode(point)} of {path}")
            # Mounts on top of one another come off one in each round.
            fd = openat2(dir_fd, point, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE)
            try:
                mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, 0, 0, MS_PRIVATE, 0)
                umount2(f"/proc/self/fd/{fd}", MNT_DETACH)
            finally:
                os.close(fd)
    raise StateError(f"{path}: mounts keep coming back")
