"""Advisory locks (flock(2)) on files of the store; the order in which they are taken is drawn in ``paths``.

A lock file may be unlinked by whoever holds it exclusively, so a waiter looks again, once it has the lock, whether the file
it locked is still the one with that name.

Hot-path module: imports only ``fcntl``, ``posix`` and ``errno``.
"""

from __future__ import annotations

from errno import EACCES, EAGAIN, EROFS
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from posix import O_CLOEXEC, O_CREAT, O_NOFOLLOW, O_RDONLY, O_RDWR, close, fchmod, fstat, stat, unlink
from posix import open as open_fd

from rktpy.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Lock:
    """A held lock; a context manager that lets it go. ``fd`` is -1 where nobody can change anything (read-only store)."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    def release(self) -> None:
        """Let the lock go. Doing so twice is harmless."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            close(fd)

    def forget_file(self) -> None:
        """Remove the lock file itself. Only for the holder of an exclusive lock, when what it guards is gone."""
        if self.fd >= 0:
            try:
                unlink(self.path)
            except FileNotFoundError:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


def acquire(path: str, *, exclusive: bool) -> Lock:
    """Wait for the lock on ``path``, which is created if need be.

    A shared lock on a read-only store is granted without a file. Raises :class:`StoreError`.
    """
    lock = _acquire(path, exclusive, 0)
    assert lock is not None
    return lock


def try_acquire(path: str, *, exclusive: bool) -> Lock | None:
    """Like :func:`acquire`, but None when someone else holds it in a way that excludes us."""
    return _acquire(path, exclusive, LOCK_NB)


def _acquire(path: str, exclusive: bool, wait: int) -> Lock | None:
    while True:
        try:
            fd = _open(path, exclusive)
        except OSError as error:
            raise StoreError(f"cannot lock {path}") from error
        if fd < 0:
            return Lock(-1, path)
        keep = False
        try:
            flock(fd, (LOCK_EX if exclusive else LOCK_SH) | wait)
            keep = same_file(fd, path)
            if keep:
                return Lock(fd, path)
        except OSError as error:
            if error.errno in (EAGAIN, EACCES):
                return None
            raise StoreError(f"cannot lock {path}") from error
        finally:
            if not keep:
                close(fd)


def _open(path: str, exclusive: bool) -> int:
    try:
        try:
            return open_fd(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        except FileNotFoundError:
            fd = open_fd(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o660)
            try:
                # The umask would keep the group out.
                fchmod(fd, 0o660)
            except PermissionError:
                # Somebody else was faster, and it is his.
                pass
            return fd
    except OSError as error:
        if exclusive or error.errno not in (EROFS, EACCES):
            raise
    # A reader of a store that it may not write: lock the file if it is there, otherwise there is nothing to lock against.
    try:
        return open_fd(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    except (FileNotFoundError, PermissionError):
        return -1


def same_file(fd: int, path: str) -> bool:
    """Whether ``path`` still names the open file ``fd``."""
    try:
        named = stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    opened = fstat(fd)
    return opened.st_ino == named.st_ino and opened.st_dev == named.st_dev


def sweep(directory: str, names: list[str]) -> None:
    """Remove the lock files ``names`` that nobody holds: what they guarded is gone. Raises StoreError."""
    for name in names:
        lock = try_acquire(f"{directory}/{name}", exclusive=True)
        if lock is not None:
            with lock:
                lock.forget_file()
