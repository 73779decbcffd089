"""An OCI layout in a directory, read without trusting it.

Every file is opened below the directory's descriptor, component by component, and symbolic links are refused: a layout that was
unpacked from somewhere cannot make us read files elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat

from rktpy.errors import FetchError, FormatError, NotFoundError, RktpyError
from rktpy.formats.oci.digest import parse_digest

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class FileBlob:
    """A regular file, open for reading. ``size`` is in bytes."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def read(self, n: int, /) -> bytes:
        """Up to ``n`` bytes, nothing at the end."""
        return os.read(self._fd, n)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class LayoutDirectory:
    """The files of a layout. A context manager; ``name`` is what errors call it."""

    def __init__(self, path: str) -> None:
        self.name = f"oci layout {path}"
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"{self.name}: there is no such directory") from None
        except OSError as error:
            raise FetchError(f"cannot open {self.name}") from error

    def __enter__(self) -> LayoutDirectory:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)

    def read_document(self, name: str, limit: int) -> bytes:
        """A small file at the top of the layout; ``limit`` in bytes. Raises :class:`RktpyError`."""
        blob = self._open((name,), name)
        try:
            if blob.size > limit:
                raise FormatError(f"{self.name}: {name}", "", f"is larger than {limit} bytes")
            data = b""
            while len(data) <= limit and (chunk := blob.read(limit + 1 - len(data))):
                data += chunk
        finally:
            blob.close()
        if len(data) > limit:
            raise FormatError(f"{self.name}: {name}", "", f"is larger than {limit} bytes")
        return data

    def open_blob(self, digest: str) -> FileBlob:
        """A blob by its digest. Raises :class:`NotFoundError` when the layout does not hold it."""
        algorithm, encoded = parse_digest(digest, self.name, "")
        return self._open(("blobs", algorithm, encoded), digest)

    def _open(self, path: tuple[str, ...], shown: str) -> FileBlob:
        directory = self._fd
        try:
            for part in path[:-1]:
                below = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=directory)
                if directory != self._fd:
                    os.close(directory)
                directory = below
            fd = os.open(path[-1], _FLAGS | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)
        except OSError as error:
            raise self._refused(error, shown) from None
        finally:
            if directory != self._fd:
                os.close(directory)
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            os.close(fd)
            raise FetchError(f"{self.name}: {shown} is not a regular file")
        return FileBlob(fd, facts.st_size)

    def _refused(self, error: OSError, shown: str) -> RktpyError:
        if error.errno == errno.ENOENT:
            return NotFoundError(f"{self.name}: {shown} is missing")
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return FetchError(f"{self.name}: {shown} is behind a symbolic link or a file, which is refused")
        return FetchError(f"{self.name}: cannot open {shown}: {(error.strerror or '').lower()}")
