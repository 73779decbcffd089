"""Removing a directory tree whose content is not ours to trust.

Nothing is reached through a symbolic link, no mount is entered (a bind mount that was left behind may be the host's own
directory), the depth is not bounded by PATH_MAX, by the interpreter's stack or by the number of descriptors.

Hot-path module: imports ``errno``, ``posix`` and the system calls.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOSYS, EPERM, EXDEV
from posix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_RDONLY, close, fstat, listdir, rmdir, strerror, unlink
from posix import open as open_fd

from rktpy.linux.constants import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV
from rktpy.linux.syscalls import openat2

_OPEN = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
_OPEN_FDS = 48


def remove_tree(path: str | bytes, *, dir_fd: int | None = None) -> None:
    """Remove ``path`` (relative to the directory ``dir_fd`` if given) with all that is in it; nothing there is no error.

    What is not a directory is unlinked. Raises OSError that names the path which could not be removed: EBUSY for a mount, EPERM
    for an immutable file.
    """
    root = (path if isinstance(path, str) else path.decode("utf-8", "surrogateescape")).rstrip("/")
    try:
        unlink(root, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        pass
    above, slash, name = root.rpartition("/")
    # How the caller spells the way to the parent is the caller's affair; from there on nothing is followed.
    parent = open_fd(above + slash or ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, dir_fd=dir_fd)
    try:
        _remove_directory(name, parent, above + slash)
    finally:
        close(parent)


def remove_contents(fd: int, shown: str = ".") -> None:
    """Remove all that is in the directory open as ``fd``, which stays. ``shown`` is its path in errors. Raises OSError."""
    for name in listdir(fd):
        try:
            unlink(name, dir_fd=fd)
        except IsADirectoryError:
            _remove_directory(name, fd, shown + "/")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OSError(error.errno, strerror(error.errno or 0), f"{shown}/{name}") from None


class _Frame:
    """A directory on the way down; ``fd`` is -1 while it is closed to save descriptors."""

    __slots__ = ("fd", "identity", "pending")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        status = fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        self.pending = listdir(fd)


def _remove_directory(root: str, dir_fd: int, shown: str) -> None:
    names = [root]
    frames: list[_Frame] = []
    fd = _enter(root, dir_fd, names, shown)
    if fd < 0:
        return
    try:
        while True:
            if fd >= 0:
                frames.append(_Frame(fd))
                fd = -1
                if len(frames) > _OPEN_FDS:
                    _close(frames[-1 - _OPEN_FDS])
            frame = frames[-1]
            below = _unlink_files(frame.fd, frame.pending, names, shown)
            if below is not None:
                names.append(below)
                fd = _enter(below, frame.fd, names, shown)
                if fd < 0:
                    names.pop()
                continue
            if len(frames) > 1 and frames[-2].fd < 0:
                frames[-2].fd = _parent(frame.fd, frames[-2].identity, names, shown)
            frames.pop()
            _close(frame)
            _rmdir(names[-1], frames[-1].fd if frames else dir_fd, names, shown)
            names.pop()
            if not frames:
                return
    finally:
        if fd >= 0:
            close(fd)
        for frame in frames:
            _close(frame)


def _close(frame: _Frame) -> None:
    fd, frame.fd = frame.fd, -1
    if fd >= 0:
        close(fd)


def _unlink_files(fd: int, names: list[str], above: list[str], shown: str) -> str | None:
    """Remove what is not a directory; returns the name of a directory to descend into, None when nothing is left."""
    while names:
        name = names.pop()
        try:
            unlink(name, dir_fd=fd)
        except IsADirectoryError:
            return name
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _named(error.errno or EPERM, [*above, name], shown) from None
    return None


def _enter(name: str, dir_fd: int, names: list[str], shown: str) -> int:
    """Open a directory that is not a mount; -1 if it is not there any more."""
    try:
        try:
            return openat2(dir_fd, name, _OPEN, 0, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in (ENOSYS, EPERM, EINVAL):
                raise
        # An old kernel, or a filter in front of it: then only mounts of other file systems are recognised.
        fd = open_fd(name, _OPEN, dir_fd=dir_fd)
        if fstat(fd).st_dev != fstat(dir_fd).st_dev:
            close(fd)
            raise OSError(EXDEV, "")
        return fd
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise _named(EBUSY if error.errno == EXDEV else error.errno or EPERM, names, shown) from None


def _parent(fd: int, identity: tuple[int, int], names: list[str], shown: str) -> int:
    above = open_fd("..", _OPEN, dir_fd=fd)
    status = fstat(above)
    if (status.st_dev, status.st_ino) != identity:
        close(above)
        raise _named(EBUSY, names, shown)  # somebody is moving directories about
    return above


def _rmdir(name: str, dir_fd: int, names: list[str], shown: str) -> None:
    try:
        rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _named(error.errno or EPERM, names, shown) from None


def _named(number: int, names: list[str], shown: str) -> OSError:
    return OSError(number, strerror(number), shown + "/".join(names))
