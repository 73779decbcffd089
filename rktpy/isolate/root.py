"""An app's root directory, and paths inside it that a hostile image cannot lead outside.

Every path is resolved by the kernel with openat2(2) RESOLVE_IN_ROOT: absolute symlinks and ``..`` stay in the root, magic links
are refused. Missing mount targets are created one component at a time in directories that were resolved that way.

Hot-path module.
"""

from __future__ import annotations

import os
import stat
from errno import EAGAIN, ELOOP, ENAMETOOLONG

from rktpy.linux.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from rktpy.linux.syscalls import openat2

_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_MOST_LINKS = 40
_MOST_RETRIES = 100


class Root:
    """An open root directory. ``path`` is how the host names it. Close it, or use it as a context manager.

    ``owner`` is the user and group that what is created belongs to: the root of the pod's user namespace if it has one.
    """

    __slots__ = ("fd", "owner", "path")

    def __init__(self, path: str, owner: int = 0) -> None:
        self.path = path
        self.owner = owner
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    @classmethod
    def from_descriptor(cls, fd: int, path: str) -> Root:
        """The root that is open as ``fd``, which stays the caller's; ``path`` is for messages."""
        root = cls.__new__(cls)
        root.owner = 0
        root.path = path
        root.fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        return root

    def __enter__(self) -> Root:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def reopen(self) -> None:
        """Open the path again, after something was mounted on it."""
        self.close()
        self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
        """Open ``path`` inside the root (close-on-exec). Raises OSError with ``path`` as seen from inside."""
        for _ in range(_MOST_RETRIES):
            try:
                return openat2(self.fd, path, flags | os.O_CLOEXEC, mode, _RESOLVE)
            except OSError as error:
                # EAGAIN: somebody renamed a directory or mounted while ".." was walked; it may not be safe.
                if error.errno != EAGAIN:
                    raise
        raise OSError(EAGAIN, os.strerror(EAGAIN), path)

    def stat(self, path: str) -> os.stat_result | None:
        """The file that ``path`` leads to, None when there is none."""
        try:
            fd = self.open(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def read(self, path: str, limit: int = 16 << 20) -> bytes | None:
        """The content of a regular file of at most ``limit`` bytes, None when there is no such file."""
        try:
            fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            chunks: list[bytes] = []
            while limit > 0:
                chunk = os.read(fd, min(limit, 1 << 20))
                if not chunk:
                    break
                chunks.append(chunk)
                limit -= len(chunk)
            return b"".join(chunks)
        finally:
            os.close(fd)

    def target(self, path: str, *, directory: bool, mode: int = 0o755) -> int:
        """An O_PATH descriptor of ``path``, which is created with its missing parents (0755) when it is not there.

        ``directory`` says what to create; what exists is opened whatever it is. A dangling symlink's target is created.
        """
        try:
            return self.open(path)
        except FileNotFoundError:
            pass
        self._create(path, directory, mode)
        return self.open(path)

    def _create(self, path: str, directory: bool, mode: int) -> None:
        todo = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if done:
                    done.pop()
                continue
            parent = self.open("/" + "/".join(done), os.O_PATH | os.O_DIRECTORY)
            try:
                link = _link(parent, name)
                if link is not None:
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(ELOOP, os.strerror(ELOOP), path)
                    if len(link) + sum(map(len, todo)) > 1 << 16:
                        raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG), path)
                    if link.startswith("/"):
                        done.clear()
                    todo += link.split("/")[::-1]
                    continue
                try:
                    if directory or any(part not in ("", ".") for part in todo):
                        os.mkdir(name, mode if not todo else 0o755, dir_fd=parent)
                    else:
                        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                        os.close(os.open(name, flags, 0o644, dir_fd=parent))
                    if self.owner:
                        os.chown(name, self.owner, self.owner, dir_fd=parent, follow_symlinks=False)
                except FileExistsError:
                    pass
            finally:
                os.close(parent)
            done.append(name)


def _link(parent: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:  # not there, or not a symlink
        return None
