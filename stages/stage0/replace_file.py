"""Replacing a file of a pod's directory. Hot-path module."""

from __future__ import annotations

import os

from rktpy.linux.constants import RENAME_EXCHANGE
from rktpy.linux.syscalls import renameat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.pods import Pod


def replace_file(pod: Pod, name: str, data: bytes) -> None:
    """Replace a file in the pod's directory; a reader sees the old one or the whole new one. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{name}.new", flags, 0o640, dir_fd=pod.fileno())
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)
    try:
        # ext4 writes a file out when it is renamed over another one, which takes milliseconds; not when the two change places.
        renameat2(pod.fileno(), f"{name}.new", pod.fileno(), name, RENAME_EXCHANGE)
    except OSError:
        os.rename(f"{name}.new", name, src_dir_fd=pod.fileno(), dst_dir_fd=pod.fileno())
    else:
        os.unlink(f"{name}.new", dir_fd=pod.fileno())
