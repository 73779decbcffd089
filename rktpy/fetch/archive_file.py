"""A tar archive on the local disk whose entries are read in any order (oci-archive, docker-archive).

Entries are found once, by name and position; nothing is unpacked, and names are only ever compared. An archive that is compressed
as a whole, or that comes from a pipe, is first written to the sink's temporary space.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial

from rktpy.errors import ArchiveError, FetchError, FormatError, NotFoundError
from rktpy.fetch.blob_copy import CHUNK
from rktpy.fetch.sink import Partial, Sink
from rktpy.formats.decompress import StreamLimits, compression_of, open_stream
from rktpy.formats.oci.digest import digest_of
from rktpy.formats.oci.docker_archive import link_key, member_key
from rktpy.formats.tar import TarReader

MAX_MEMBERS = 100_000
"""Most entries of one archive."""

MAX_SPOOLED = 64 << 30
"""Most bytes that a compressed archive may unpack to."""

_MAX_LINKS = 8
_BLOCK = 512


class _Member:
    __slots__ = ("duplicate", "link", "offset", "size")

    def __init__(self, offset: int, size: int, link: bytes | None) -> None:
        self.offset = offset  # of the data in the file; -1 when it is not an ordinary file
        self.size = size
        self.link = link  # key of the entry that this one links to
        self.duplicate = False


class MemberBlob:
    """One file of the archive, open for reading. ``size`` is in bytes."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self._offset = offset
        self._left = size
        self.size = size

    def read(self, n: int, /) -> bytes:
        """Up to ``n`` bytes, nothing at the end."""
        data = os.pread(self._fd, min(n, self._left), self._offset)
        self._offset += len(data)
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Nothing to do: the archive stays open."""


class _Headers:
    """Feeds a tar reader with the headers of a seekable file, and with zeros in place of the data that it passes over."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._skip = 0
        self.position = 0

    def read(self, n: int) -> bytes:
        """One block at most, so that the reader never holds bytes beyond the header that it has understood."""
        if self._skip:
            n = min(n, self._skip, CHUNK)
            self._skip -= n
            self.position += n
            return bytes(n)
        data = os.pread(self._fd, min(n, _BLOCK - self.position % _BLOCK), self.position)
        self.position += len(data)
        return data

    def pass_over(self, n: int) -> None:
        """The next ``n`` bytes are data that nobody wants."""
        self._skip = n


class ArchiveFile:
    """The files of a tar archive. A context manager; ``name`` is what errors call it."""

    def __init__(self, path: str, kind: str, sink: Sink) -> None:
        self.name = f"{kind} {path}"
        self._path = path
        self._sink = sink
        self._fd = -1
        self._spool: Partial | None = None
        self._members: dict[bytes, _Member] = {}

    def __enter__(self) -> ArchiveFile:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(f"{self.name}: there is no such file") from None
        except OSError as error:
            raise FetchError(f"cannot open {self.name}") from error
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._fd)
        if self._spool is not None:
            self._spool.discard()
            self._spool.__exit__(None, None, None)
            self._spool = None

    def _prepare(self) -> None:
        mode = os.fstat(self._fd).st_mode
        try:
            if stat.S_ISDIR(mode):
                raise FetchError(f"{self.name}: is a directory; a layout in a directory is written oci:{self._path}")
            if not stat.S_ISREG(mode) or compression_of(os.pread(self._fd, 6, 0)) != "none":
                self._unpack_whole()
            self._scan()
        except OSError as error:
            raise FetchError(f"cannot read {self.name}") from error

    def _unpack_whole(self) -> None:
        spool = self._sink.partial("archive-" + digest_of(os.fsencode(self._path), "sha256")[7:])
        spool.__enter__()
        self._spool = spool
        spool.restart()
        stream = open_stream(partial(os.read, self._fd), self.name, StreamLimits(max_unpacked_bytes=MAX_SPOOLED))
        while data := stream.read(CHUNK):
            spool.write(data)
        fd = os.open(spool.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.close(self._fd)
        self._fd = fd

    def _scan(self) -> None:
        headers = _Headers(self._fd)
        reader = TarReader(headers.read, self.name)
        count = 0
        while (entry := reader.next()) is not None:
            count += 1
            if count > MAX_MEMBERS:
                raise ArchiveError(f"{self.name}: has more than {MAX_MEMBERS} entries")
            position, data = headers.position, reader.remaining
            headers.pass_over(data + -data % _BLOCK)
            key = member_key(entry.name)
            if not key or entry.type == "dir":
                continue
            link: bytes | None = None
            usable = entry.type == "file" and entry.sparse is None
            if entry.type == "symlink":
                link = link_key(key, entry.link)
            elif entry.type == "hardlink":
                link = member_key(entry.link)
            member = _Member(position if usable else -1, data, link)
            if key in self._members:
                self._members[key].duplicate = True
            else:
                self._members[key] = member

    def __contains__(self, name: str) -> bool:
        key = member_key(os.fsencode(name))
        return key is not None and key in self._members

    def open_member(self, name: str, *, unique: bool = False) -> MemberBlob:
        """A file by its name; links are followed inside the archive.

        With ``unique`` a second entry of that name is an error: two readers could see different files. Raises
        :class:`NotFoundError` and :class:`ArchiveError`.
        """
        key = member_key(os.fsencode(name))
        for _ in range(_MAX_LINKS):
            member = None if key is None else self._members.get(key)
            if member is None:
                raise NotFoundError(f"{self.name}: {ascii(name)[1:-1]} is missing")
            if unique and member.duplicate:
                raise ArchiveError(f"{self.name}: {ascii(name)[1:-1]} occurs more than once")
            if member.offset >= 0:
                return MemberBlob(self._fd, member.offset, member.size)
            key = member.link
        raise ArchiveError(f"{self.name}: {ascii(name)[1:-1]} is behind too many links")

    def read_document(self, name: str, limit: int) -> bytes:
        """A small file, at most ``limit`` bytes. Raises :class:`RktpyError`."""
        blob = self.open_member(name, unique=True)
        if blob.size > limit:
            raise FormatError(f"{self.name}: {ascii(name)[1:-1]}", "", f"is larger than {limit} bytes")
        data = b"".join(iter(_reader(blob), b""))
        if len(data) != blob.size:
            raise ArchiveError(f"{self.name}: truncated")
        return data

    def open_blob(self, digest: str) -> MemberBlob:
        """A blob of a layout by its digest. Raises :class:`NotFoundError` when the archive does not hold it."""
        return self.open_member(f"blobs/{digest.replace(':', '/', 1)}")


def _reader(blob: MemberBlob) -> Callable[[], bytes]:
    return lambda: blob.read(CHUNK)
