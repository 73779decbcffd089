"""/etc/mtab of an app's root, as rkt makes it. Hot-path module."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.user_range import UserRange


def link_mtab(directory_fd: int, rootfs: str, users: UserRange | None = None) -> None:
    """Give an image that has /etc but no /etc/mtab the usual link. Symbolic links of the image are not followed.

    ``rootfs`` is the app's root relative to the open directory; ``users`` are the pod's, who are to own the link.
    """
    try:
        root = os.open(f"{rootfs}/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    except OSError:
        return
    try:
        os.symlink("../proc/self/mounts", "mtab", dir_fd=root)
        if users is not None:
            os.chown("mtab", users.shift, users.shift, dir_fd=root, follow_symlinks=False)
    except OSError:
        pass
    finally:
        os.close(root)
