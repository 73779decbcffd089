"""Half-made things under ``cas/tmp``, each with a living owner or none.

::

    <purpose>.<16 hex>      a file or directory that becomes a blob, a record, a tree, or is on its way out ("trash");
                            its owner holds a flock on it from its first moment to its rename or removal
    <key>.part              a download that may be resumed; flocked while someone downloads it
    <key>.json              its validator (ETag and the like)

So whoever can lock an entry knows that its owner is dead (flocks end with their process, also under kill -9) and may remove
it. An owner checks after locking that its entry has not been swept in between.

Hot-path module: imports only ``fcntl``, ``posix`` and the store's own.
"""

from __future__ import annotations

from fcntl import LOCK_EX, LOCK_NB, flock
from posix import (
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_RDONLY,
    O_RDWR,
    close,
    fsync,
    listdir,
    lstat,
    mkdir,
    rename,
    unlink,
    urandom,
    utime,
    write,
)
from posix import open as open_fd

from rktpy.errors import StoreError
from rktpy.store.locks import same_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from rktpy.store.paths import Layout


class Temporary:
    """An owned temporary file or directory: ``path`` and the locked descriptor ``fd``.

    A context manager: what was not renamed away when it ends is removed.
    """

    def __init__(self, path: str, fd: int, directory: bool) -> None:
        self.path = path
        self.fd = fd
        self.directory = directory

    def rename(self, target: str) -> None:
        """Give it its final name. The caller has made it durable."""
        rename(self.path, target)
        self.path = ""

    def remove(self) -> None:
        """Remove it, if it still has its temporary name."""
        path, self.path = self.path, ""
        if path:
            _remove(path, self.directory)

    def close(self) -> None:
        """Remove what is left and end the ownership."""
        try:
            self.remove()
        finally:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def create_file(layout: Layout, purpose: str, mode: int = 0o600) -> Temporary:
    """A new empty file, open for reading and writing. Raises OSError."""
    while True:
        path = f"{layout.temporary}/{purpose}.{urandom(8).hex()}"
        fd = open_fd(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
        if _own(fd, path):
            return Temporary(path, fd, False)


def create_directory(layout: Layout, purpose: str, mode: int = 0o700) -> Temporary:
    """A new empty directory. Raises OSError."""
    while True:
        path = f"{layout.temporary}/{purpose}.{urandom(8).hex()}"
        mkdir(path, mode)
        try:
            fd = open_fd(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
        except FileNotFoundError:
            continue
        if _own(fd, path):
            return Temporary(path, fd, True)


def take_out(layout: Layout, directory: str) -> Temporary | None:
    """Move a directory out of sight in one step, so that it can be removed at leisure; None if it is not there.

    Whoever calls holds the lock that guards ``directory``. Raises OSError.
    """
    try:
        fd = open_fd(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        flock(fd, LOCK_EX)
        path = f"{layout.temporary}/trash.{urandom(8).hex()}"
        rename(directory, path)
    except BaseException:
        close(fd)
        raise
    return Temporary(path, fd, True)


def _own(fd: int, path: str) -> bool:
    try:
        flock(fd, LOCK_EX)
        if same_file(fd, path):
            return True
    except BaseException:
        close(fd)
        raise
    close(fd)
    return False


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """write(2) until everything is written."""
    view = memoryview(data)
    while len(view):
        view = view[write(fd, view) :]


def sync_directory(path: str) -> None:
    """Make renames and removals in a directory durable."""
    fd = open_fd(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    try:
        fsync(fd)
    finally:
        close(fd)


def write_durably(layout: Layout, target: str, data: bytes, mode: int, *, mtime_ns: int | None = None) -> None:
    """Create or replace a small file in one step, durably. Raises :class:`StoreError`."""
    from posix import fchmod

    try:
        with create_file(layout, "record") as temporary:
            fchmod(temporary.fd, mode)
            write_all(temporary.fd, data)
            if mtime_ns is not None:
                utime(temporary.fd, ns=(mtime_ns, mtime_ns))
            fsync(temporary.fd)
            temporary.rename(target)
        sync_directory(target.rpartition("/")[0])
    except OSError as error:
        raise StoreError(f"cannot write {target}") from error


def _remove(path: str, directory: bool) -> None:
    if directory:
        from rktpy.linux.remove_tree import remove_tree

        remove_tree(path)
    else:
        try:
            unlink(path)
        except FileNotFoundError:
            pass


def is_download(name: str) -> bool:
    """Whether an entry of ``cas/tmp`` belongs to a download that may be resumed."""
    return name.endswith((".part", ".json"))


def abandoned(layout: Layout) -> list[str]:
    """Names of the entries of ``cas/tmp`` whose owner is dead, downloads that may be resumed excepted."""
    names: list[str] = []
    for name in _names(layout):
        if is_download(name):
            continue
        fd = _lock_entry(f"{layout.temporary}/{name}")
        if fd >= 0:
            names.append(name)
            close(fd)
    return sorted(names)


def sweep(layout: Layout, downloads_before_ns: int) -> list[str]:
    """Remove what nobody owns: abandoned entries, and downloads last written before ``downloads_before_ns``.

    Returns the names removed. Raises OSError.
    """
    from rktpy.store.partial import sweep_download

    removed: list[str] = []
    for name in _names(layout):
        path = f"{layout.temporary}/{name}"
        if is_download(name):
            if sweep_download(path, downloads_before_ns):
                removed.append(name)
            continue
        fd = _lock_entry(path)
        if fd < 0:
            continue
        try:
            _remove(path, lstat(path).st_mode & 0o170000 == 0o040000)
        finally:
            close(fd)
        removed.append(name)
    return sorted(removed)


def _names(layout: Layout) -> list[str]:
    try:
        return listdir(layout.temporary)
    except FileNotFoundError:
        return []


def _lock_entry(path: str) -> int:
    """A descriptor that holds the lock of an abandoned entry, or -1 if its owner lives or it is gone."""
    try:
        fd = open_fd(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            return -1
        raise StoreError(f"cannot examine {path}") from error
    try:
        flock(fd, LOCK_EX | LOCK_NB)
        if same_file(fd, path):
            return fd
    except BlockingIOError:
        pass
    close(fd)
    return -1
