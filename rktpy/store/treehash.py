"""The content hash of a rendered tree: two trees have the same one exactly when an app could not tell them apart.

What counts for each path: type, permissions, owner, modification time, extended attributes, and the bytes, target or device
number; which names are hard links of one file counts too. Access and change times, inode numbers and block layout do not.

The hash is the sha256 of one line for each path, in the order of a walk that goes into directories by the order of their bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from rktpy.errors import StoreError
from rktpy.formats.tar_fields import printable
from rktpy.store.attributes import FOREIGN
from rktpy.store.directories import Directories

_READ = 1 << 18
_SMALL = 1 << 16
_AHEAD = 64


def hash_tree(path: str) -> str:
    """The content hash of the directory ``path``, ``sha256:<hex>``. The tree must not change meanwhile.

    Raises :class:`StoreError`.
    """
    total = hashlib.sha256(b"rktpy tree 1\n")
    for _name, line in _lines(path):
        total.update(line)
    return "sha256:" + total.hexdigest()


def differences(path: str, other: str, limit: int = 20) -> list[str]:
    """Where two trees differ: at most ``limit`` descriptions, ``missing``, ``added`` or ``changed`` and the name in ``path``.

    ``other`` is how it should be. Empty when both have the same content hash. Raises :class:`StoreError`.
    """
    found: list[str] = []
    actual, wanted = _lines(path), _lines(other)
    have, want = next(actual, None), next(wanted, None)
    while (have or want) and len(found) < limit:
        if have is None or (want is not None and _order(want[0]) < _order(have[0])):
            assert want is not None
            found.append(f"missing {printable(want[0])}")
            want = next(wanted, None)
        elif want is None or _order(have[0]) < _order(want[0]):
            found.append(f"added {printable(have[0])}")
            have = next(actual, None)
        else:
            if have[1] != want[1]:
                found.append(f"changed {printable(have[0]) or 'the root'}")
            have, want = next(actual, None), next(wanted, None)
    actual.close()
    wanted.close()
    return found


def _order(path: bytes) -> list[bytes]:
    return path.split(b"/") if path else []


def _lines(root: str) -> Generator[tuple[bytes, bytes], None, None]:
    """(path, line) of everything below and including ``root``. Contents of large files are hashed in a second thread."""
    try:
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        directories = Directories(root_fd, 1 << 20, 1 << 30, lambda _path: False)
        pool = ThreadPoolExecutor(1)
        ahead: deque[tuple[bytes, bytes, bytes | Future[bytes]]] = deque()
        try:
            for path, line, content in _facts(directories, pool):
                ahead.append((path, line, content))
                while len(ahead) > _AHEAD or (ahead and isinstance(ahead[0][2], bytes)):
                    yield _finished(*ahead.popleft())
            while ahead:
                yield _finished(*ahead.popleft())
        finally:
            pool.shutdown()  # each of them closes its file
            directories.close()
            os.close(root_fd)
    except OSError as error:
        raise StoreError(f"cannot read the tree {root}") from error


def _finished(path: bytes, line: bytes, content: bytes | Future[bytes]) -> tuple[bytes, bytes]:
    return path, line + (content if isinstance(content, bytes) else content.result()) + b"\n"


def _facts(directories: Directories, pool: ThreadPoolExecutor) -> Iterator[tuple[bytes, bytes, bytes | Future[bytes]]]:
    first_names: dict[tuple[int, int], bytes] = {}
    root_fd = directories.root.fd
    yield b"", _described(b"", os.fstat(root_fd), root_fd), b""
    pending: list[tuple[bytes, list[bytes]]] = [(b"", _names(root_fd))]
    while pending:
        above, names = pending[-1]
        directory = directories.existing(above)
        if directory is None:
            raise FileNotFoundError(2, "the tree is changing", above)
        while names:
            name = names.pop()
            path = above + b"/" + name if above else name
            status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                opened = directories.existing(path)
                if opened is None:
                    raise FileNotFoundError(2, "the tree is changing", path)
                yield path, _described(path, status, opened.fd), b""
                pending.append((path, _names(opened.fd)))
                break
            at = b"/proc/self/fd/%d/%b" % (directory.fd, name)
            line = _described(path, status, at)
            if status.st_nlink > 1:
                first = first_names.setdefault((status.st_dev, status.st_ino), path)
                if first != path:
                    yield path, line + b"same as " + _text(first), b""
                    continue
            if kind == stat.S_IFREG:
                yield path, line, _content(name, directory.fd, status.st_size, pool)
            elif kind == stat.S_IFLNK:
                yield path, line + _text(os.readlink(name, dir_fd=directory.fd)), b""
            else:
                yield path, line + b"%d" % status.st_rdev, b""
        else:
            pending.pop()


def _names(fd: int) -> list[bytes]:
    """The names in a directory, last one first."""
    return sorted([os.fsencode(name) for name in os.listdir(fd)], reverse=True)


def _described(path: bytes, status: os.stat_result, file: int | bytes) -> bytes:
    """What ``status`` and the attributes of a file tell about it. Sizes are implied by contents."""
    follow = isinstance(file, int)
    attributes = b""
    for name in sorted(os.listxattr(file, follow_symlinks=follow)):
        encoded = os.fsencode(name)
        if not encoded.startswith(FOREIGN):
            attributes += _text(encoded) + _text(os.getxattr(file, name, follow_symlinks=follow))
    return b"%b %o %d %d %d %b " % (_text(path), status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, attributes)


def _text(value: bytes) -> bytes:
    """``value`` with its length, so that no two different sequences of values look the same."""
    return b"%d:%b" % (len(value), value)


def _content(name: bytes, dir_fd: int, size: int, pool: ThreadPoolExecutor) -> bytes | Future[bytes]:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    if size > _SMALL:
        return pool.submit(_digest, fd)
    return _digest(fd)


def _digest(fd: int) -> bytes:
    try:
        state = hashlib.sha256()
        while data := os.read(fd, _READ):
            state.update(data)
        return state.hexdigest().encode()
    finally:
        os.close(fd)
