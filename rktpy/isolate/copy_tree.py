"""Copy a directory tree as it is: owners, modes, times, links, devices, extended attributes, holes closed.

The source may be an image's: it is walked by directory descriptors and no symlink is followed. Cold: used only for volumes that
start with an image's content.
"""

from __future__ import annotations

import os
import stat

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def copy_tree(source: int, target: str) -> None:
    """Copy the content and the metadata of the open directory ``source`` onto the existing directory ``target``.

    Stays on the source's file system: what is mounted below it comes out as an empty directory. Raises OSError.
    """
    fd = os.open(target, _OPEN_DIRECTORY)
    try:
        _directory(source, fd, os.fstat(source).st_dev, {}, fd)
    finally:
        os.close(fd)


def _directory(source: int, target: int, device: int, links: dict[int, str], top: int, prefix: str = "") -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=target)
            inner_target = os.open(name, _OPEN_DIRECTORY, dir_fd=target)
            try:
                inner = os.open(name, _OPEN_DIRECTORY, dir_fd=source)
                try:
                    if status.st_dev == device:
                        _directory(inner, inner_target, device, links, top, f"{prefix}{name}/")
                    else:
                        _metadata(inner_target, os.fstat(inner))
                finally:
                    os.close(inner)
            finally:
                os.close(inner_target)
            continue
        if status.st_nlink > 1:
            first = links.setdefault(status.st_ino, prefix + name)
            if first != prefix + name:
                os.link(first, name, src_dir_fd=top, dst_dir_fd=target, follow_symlinks=False)
                continue
        if kind == stat.S_IFREG:
            _file(source, target, name)
            continue
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif kind == stat.S_IFSOCK:
            continue  # a socket file is nothing without the process that made it
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)
    _attributes(source, target)
    _metadata(target, os.fstat(source))


def _file(source: int, target: int, name: str) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while chunk := os.read(reader, _CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(writer, view) :]
            _metadata(writer, os.fstat(reader))
            _attributes(reader, writer)  # after the owner: chown drops file capabilities
            os.utime(writer, ns=(os.fstat(reader).st_atime_ns, os.fstat(reader).st_mtime_ns))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _metadata(target: int, status: os.stat_result) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attributes(source: int, target: int) -> None:
    for name in os.listxattr(source):
        if name.startswith("trusted.overlay."):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError:
            if name.startswith(("user.", "security.capability")):
                raise
