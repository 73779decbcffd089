"""What stage0 keeps of one app below the root of a pod's stage1, for mutable pods.

The root is the running supervisor's; whatever a pod has made of it, nothing here follows a symbolic link. ``base`` is where the
root is, relative to the pod's directory, which is open as ``pod_fd``. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.formats.stage1 import STAGE2_DIR, STATUS_DIR
from rktpy.linux.constants import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from rktpy.linux.syscalls import openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS


def open_directory(dir_fd: int, path: str) -> int:
    """Open a directory below an open one, without following links. Raises OSError."""
    return openat2(dir_fd, path, _DIRECTORY, 0, _RESOLVE)


def make_directory(dir_fd: int, path: str, mode: int = 0o755) -> int:
    """Open a directory below an open one, made with its parents where it is missing. Raises OSError."""
    fd = os.dup(dir_fd)
    for part in path.split("/"):
        try:
            os.mkdir(part, mode, dir_fd=fd)
        except FileExistsError:
            pass
        except OSError:
            os.close(fd)
            raise
        try:
            inner = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def write_at(dir_fd: int, name: str, data: bytes = b"", mode: int = 0o644) -> None:
    """Write a file anew: whatever had the name is replaced, never written through. Raises OSError."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def make_app_directory(pod_fd: int, base: str, app: str, manifest: bytes) -> int:
    """The open directory of an app, with the image's manifest in it. Raises OSError."""
    fd = make_directory(pod_fd, f"{base}/{STAGE2_DIR}/{app}")
    try:
        write_at(fd, "manifest", manifest, 0o640)
    except BaseException:
        os.close(fd)
        raise
    return fd


def mark_created(pod_fd: int, base: str, app: str) -> None:
    """Note that the app is there now. Raises OSError."""
    fd = make_directory(pod_fd, f"{base}/{STATUS_DIR}")
    try:
        write_at(fd, f"{app}-created")
    finally:
        os.close(fd)


def mark_started(pod_fd: int, base: str, app: str) -> None:
    """Note that the app is started now; what is known of an earlier run goes. Raises OSError."""
    fd = make_directory(pod_fd, f"{base}/{STATUS_DIR}")
    try:
        # In this order, as rkt: seen half-way, an app that ran before is not running.
        _unlink(fd, f"{app}-started")
        _unlink(fd, app)
        write_at(fd, f"{app}-started")
    finally:
        os.close(fd)


def unmark_started(pod_fd: int, base: str, app: str) -> None:
    """Take :func:`mark_started` back, for an app that could not be started. Raises OSError."""
    remove_names(pod_fd, f"{base}/{STATUS_DIR}", (f"{app}-started",))


def remove_names(pod_fd: int, directory: str, names: tuple[str, ...]) -> None:
    """Remove files of a directory; what is not there is no error. Raises OSError."""
    try:
        fd = open_directory(pod_fd, directory)
    except FileNotFoundError:
        return
    try:
        for name in names:
            _unlink(fd, name)
    finally:
        os.close(fd)


def _unlink(dir_fd: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
