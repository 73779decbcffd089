"""Extended attributes of unpacked files: capabilities, POSIX ACLs, user and trusted attributes."""

from __future__ import annotations

import os
from errno import ENODATA, ENOTSUP, EPERM

from rktpy.errors import ArchiveError
from rktpy.formats.tar_fields import printable
from rktpy.log import debug

_DEFAULT_ACL = b"system.posix_acl_default"
# No part of an image: overlayfs reads the first ones in the trees that pods mount, and an archive must not command it; labels
# and measurements are the host's to give.
FOREIGN = (b"trusted.overlay.", b"user.overlay.", b"security.selinux", b"security.ima", b"security.evm", b"security.SMACK")


class Attributes:
    """Sets extended attributes. ``left_out`` counts those that were not set; ``postponed`` takes default ACLs by path.

    ``max_bytes`` bounds the names and values of one file.
    """

    def __init__(self, max_bytes: int, postponed: dict[bytes, bytes]) -> None:
        self._max_bytes = max_bytes
        self.left_out = 0
        self._postponed = postponed

    def set_file(self, fd: int, attributes: dict[bytes, bytes]) -> None:
        """Set the attributes of a file open for writing. Raises ArchiveError, OSError."""
        self._check(attributes)
        for name, value in attributes.items():
            self._set(fd, name, value)

    def set_directory(self, fd: int, path: bytes, attributes: dict[bytes, bytes], fresh: bool) -> None:
        """Make ``attributes`` the ones of a directory: those that a lower layer gave it go, unless it is ``fresh``."""
        self._check(attributes)
        self._postponed.pop(path, None)
        if not fresh:
            for known in self._present(fd):
                if os.fsencode(known) not in attributes and not os.fsencode(known).startswith(FOREIGN):
                    os.removexattr(fd, known)
        for name, value in attributes.items():
            if name == _DEFAULT_ACL:
                self._postponed[path] = value
            else:
                self._set(fd, name, value)

    def set_inherited(self, fd: int, value: bytes) -> None:
        """Set a default ACL, now that no file is created below it any more."""
        self._set(fd, _DEFAULT_ACL, value)

    def set_at(self, dir_fd: int, name: bytes, attributes: dict[bytes, bytes]) -> None:
        """Set the attributes of what cannot be opened: a symbolic link, fifo or device."""
        self._check(attributes)
        path = b"/proc/self/fd/%d/%b" % (dir_fd, name)
        for attribute, value in attributes.items():
            self._set(path, attribute, value)

    def _check(self, attributes: dict[bytes, bytes]) -> None:
        if attributes and sum(len(name) + len(value) for name, value in attributes.items()) > self._max_bytes:
            raise ArchiveError(f"more than {self._max_bytes} bytes of extended attributes")

    def _present(self, fd: int) -> list[str]:
        try:
            return os.listxattr(fd)
        except OSError as error:
            if error.errno == ENOTSUP:
                return []
            raise

    def _set(self, file: int | bytes, name: bytes, value: bytes) -> None:
        if name.startswith(FOREIGN):
            self._leave_out(name, "belongs to the host")
            return
        try:
            os.setxattr(file, name, value, follow_symlinks=isinstance(file, int))
        except OSError as error:
            # The kernel keeps user attributes for files and directories only.
            if error.errno == ENOTSUP or (error.errno in (EPERM, ENODATA) and isinstance(file, bytes)):
                self._leave_out(name, "not supported here")
            else:
                raise OSError(error.errno, f"extended attribute {printable(name)}: {error.strerror}") from None

    def _leave_out(self, name: bytes, reason: str) -> None:
        self.left_out += 1
        if self.left_out == 1:
            debug("image", f"extended attribute {printable(name)} is left out: {reason}")
