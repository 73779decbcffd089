"""The directories of a tree that is being unpacked, reached component by component from its root.

Every component is opened with O_NOFOLLOW relative to the descriptor of the one above, so no name in an archive leads out of the
root, whatever symbolic links lie in the tree, and paths may be longer than PATH_MAX. Descriptors of the directories used last are
kept: archives come ordered, so nearly every entry finds its directory open.

Nobody else may change the tree meanwhile; renderers work in a private directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from rktpy.errors import ArchiveError
from rktpy.formats.tar_fields import printable
from rktpy.linux.remove_tree import remove_tree

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT = 96
_AS_ROOT = os.geteuid() == 0 and os.getegid() == 0


class Directory(NamedTuple):
    """An open directory. ``owned``: what is made in it is user and group 0's, and has its own mode, without being told."""

    fd: int
    owned: bool


class Directories:
    """Open directories below ``root_fd`` by their path, and the modification times that they get in the end.

    ``max_depth`` bounds the components of a path, ``max_bytes`` its length. ``made_here(path)`` says whether a path was made by
    the layer that is being unpacked. ``times`` are the modification times, in nanoseconds since the epoch, and ``inherited`` the
    default ACLs that directories get in the end; ``implied`` counts directories that were made without having been asked for.
    ``replaced`` tells whether anything has been removed again.
    """

    def __init__(self, root_fd: int, max_depth: int, max_bytes: int, made_here: Callable[[bytes], bool]) -> None:
        self._open: dict[bytes, Directory] = {b"": Directory(root_fd, _owned(root_fd))}
        self._max_depth = max_depth
        self._max_bytes = max_bytes
        self._made_here = made_here
        self.times: dict[bytes, int] = {}
        self.inherited: dict[bytes, bytes] = {}
        self.implied = 0
        self.replaced = False
        self.names_bytes = 0

    @property
    def root(self) -> Directory:
        """The root of the tree."""
        return self._open[b""]

    def get(self, path: bytes, mtime_ns: int) -> Directory:
        """The directory ``path``; what is missing on the way is made, with mode 0755, owned by root, dated ``mtime_ns``.

        A file or symbolic link of a lower layer in the way gives place to a directory. One of the same layer is an
        :class:`ArchiveError`: no file is written through a link.
        """
        found = self._open.get(path)
        return found if found is not None else self._walk(path, mtime_ns)

    def existing(self, path: bytes) -> Directory | None:
        """The directory ``path``, None when it is not there, is no directory or is behind a symbolic link."""
        found = self._open.get(path)
        if found is None:
            try:
                found = self._walk(path, None)
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found

    def remove(self, directory: Directory, path: bytes, name: bytes) -> None:
        """Remove ``name`` in ``directory``, whatever it is; ``path`` is its whole path. Raises OSError."""
        self.replaced = True
        try:
            os.unlink(name, dir_fd=directory.fd)
        except IsADirectoryError:
            self.forget(path)
            remove_tree(name, dir_fd=directory.fd)
            # A directory that comes in its place is another one.
            below = path + b"/"
            for gone in [known for known in self.inherited if known == path or known.startswith(below)]:
                del self.inherited[gone]

    def forget(self, path: bytes) -> None:
        """Close what is open at ``path`` and below: it is about to go away or to get another owner."""
        below = path + b"/"
        for known in [known for known in self._open if known == path or known.startswith(below)]:
            if known:
                os.close(self._open.pop(known).fd)

    def close(self) -> None:
        """Close everything but the root."""
        for path, directory in self._open.items():
            if path:
                os.close(directory.fd)
        self._open = {b"": self._open[b""]}

    def refresh_root(self) -> None:
        """The root's owner has changed."""
        fd = self._open[b""].fd
        self._open[b""] = Directory(fd, _owned(fd))

    def _walk(self, path: bytes, mtime_ns: int | None) -> Directory:
        if path.count(b"/") + 2 > self._max_depth:
            raise ArchiveError(f"{printable(path)}: more than {self._max_depth} levels deep")
        if len(path) > self._max_bytes:
            raise ArchiveError(f"{printable(path)}: the path is longer than {self._max_bytes} bytes")
        above = path
        while (current := self._open.get(above)) is None:
            above = above.rpartition(b"/")[0]
        names = path[len(above) + 1 if above else 0 :].split(b"/")
        owned_fd = -1
        try:
            for name in names:
                fd = self._step(current, above, name, mtime_ns)
                above = above + b"/" + name if above else name
                if owned_fd >= 0:
                    os.close(owned_fd)
                owned_fd = fd
                current = Directory(fd, _owned(fd))
            owned_fd = -1
        finally:
            if owned_fd >= 0:
                os.close(owned_fd)
        if len(self._open) > _KEPT:
            for old in list(self._open)[1 : _KEPT // 2]:
                os.close(self._open.pop(old).fd)
        self._open[path] = current
        return current

    def _step(self, above: Directory, above_path: bytes, name: bytes, mtime_ns: int | None) -> int:
        try:
            return os.open(name, _OPEN, dir_fd=above.fd)
        except FileNotFoundError:
            if mtime_ns is None:
                raise
        except NotADirectoryError:
            if mtime_ns is None:
                raise
            path = above_path + b"/" + name if above_path else name
            if self._made_here(path):
                raise ArchiveError(f"passes through {printable(path)}, which is no directory") from None
            self.replaced = True
            os.unlink(name, dir_fd=above.fd)
        os.mkdir(name, 0o755, dir_fd=above.fd)
        fd = os.open(name, _OPEN, dir_fd=above.fd)
        os.fchmod(fd, 0o755)
        if not above.owned:
            os.fchown(fd, 0, 0)
        self.set_time(above_path + b"/" + name if above_path else name, mtime_ns)
        self.implied += 1
        return fd

    def set_time(self, path: bytes, mtime_ns: int) -> None:
        """Note what modification time the directory ``path`` gets in the end."""
        self.times[path] = mtime_ns
        self.names_bytes += len(path)


def _owned(fd: int) -> bool:
    # A new file gets our group, or its directory's where that has the setgid bit or the file system is mounted so. A directory
    # also gets the bit itself.
    status = os.fstat(fd)
    return _AS_ROOT and status.st_gid == 0 and not status.st_mode & stat.S_ISGID
