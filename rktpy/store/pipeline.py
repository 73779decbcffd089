"""What lies between the bytes of a layer and the loop that writes its files.

One thread reads and decompresses, one thread hashes the plain bytes, and the caller's thread parses and writes. All three spend
nearly all their time outside the interpreter lock. The queues between them are short and made of big chunks, so that memory stays
bounded and the lock changes hands rarely.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread

from rktpy.errors import FetchError
from rktpy.formats.decompress import open_stream
from rktpy.record import Record
from rktpy.store.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, Self
else:
    Protocol = object

_CHUNK = 1 << 20
_QUEUED = 4
# The largest block for which malloc learns, see retain_memory.
_LARGE = 30 << 20


class Readable(Protocol):
    """A source of bytes: 1 to n at a time, ``b""`` at the end."""

    def read(self, n: int, /) -> bytes:
        """Up to ``n`` bytes, waiting until there are some."""
        ...

    def close(self) -> None:
        """Let the source go. Nobody reads any more."""
        ...


class Cancellable:
    """A source whose reads may wait for long."""

    def cancel(self) -> None:
        """Make a read that waits in another thread end with an error."""
        raise NotImplementedError


class LayerSource(Record):
    """A layer of an OCI image: ``open()`` gives its bytes as they are transported.

    ``digest`` is that of those bytes, ``diff_id`` that of the plain tar, ``size`` in transported bytes. What ``open()`` delivers
    is not checked against ``digest`` here: the diff ID proves what is unpacked.
    """

    open: Callable[[], Readable]
    digest: str
    diff_id: str
    media_type: str = ""
    size: int = 0


class FileSource:
    """A whole file as a source."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)

    def read(self, n: int, /) -> bytes:
        """Up to ``n`` bytes of the file."""
        return self._file.read(n)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class GrowingFile:
    """A file that somebody is still writing, for any number of readers.

    The writer calls :meth:`advance` with the number of bytes that may be read, then :meth:`done` or :meth:`fail`; from any
    thread. The file is opened at once, so that it may be renamed while it grows.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._changed = Condition()
        self._available = 0
        self._complete = False
        self._error: BaseException | None = None
        self._users = 1

    def advance(self, available: int) -> None:
        """The first ``available`` bytes are there (fewer than before when the writer began again: same bytes, later)."""
        with self._changed:
            self._available = available
            self._changed.notify_all()

    def done(self) -> None:
        """The file is complete and verified."""
        with self._changed:
            self._available = os.fstat(self._fd).st_size
            self._complete = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """The file will not be completed: every reader gets ``error``."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def open(self) -> Readable:
        """A new reader, from the first byte."""
        with self._changed:
            self._users += 1
        return _GrowingReader(self)

    def close(self) -> None:
        """Let the file go; open readers keep it."""
        with self._changed:
            self._users -= 1
            if self._users == 0:
                os.close(self._fd)
                self._fd = -1

    def read_at(self, offset: int, n: int, cancelled: Callable[[], bool]) -> bytes:
        """1 to ``n`` bytes at ``offset``, once they are there; ``b""`` at the end of the complete file."""
        with self._changed:
            while self._error is None and not self._complete and self._available <= offset:
                if cancelled():
                    raise FetchError("reading was given up")
                self._changed.wait()
            if self._error is not None:
                raise self._error
            n = min(n, self._available - offset)
        data = os.pread(self._fd, n, offset) if n > 0 else b""
        if n > 0 and not data:
            raise FetchError("a file that was being fetched has become shorter")
        return data

    def wake(self) -> None:
        """Make waiting readers look whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()


class _GrowingReader(Cancellable):
    def __init__(self, file: GrowingFile) -> None:
        self._file = file
        self._offset = 0
        self._cancelled = False

    def read(self, n: int, /) -> bytes:
        data = self._file.read_at(self._offset, n, lambda: self._cancelled)
        self._offset += len(data)
        return data

    def cancel(self) -> None:
        self._cancelled = True
        self._file.wake()

    def close(self) -> None:
        self._file.close()


class _Channel:
    """A bounded queue of chunks with one writer and one reader, that either side can break off."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._changed = Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._broken = False

    def put(self, chunk: bytes) -> bool:
        """Append a chunk, once there is room. False when the reader does not want any more."""
        with self._changed:
            while len(self._chunks) >= _QUEUED and not self._broken:
                self._changed.wait()
            self._chunks.append(chunk)
            if len(self._chunks) == 1:
                self._changed.notify()
            return not self._broken

    def end(self, error: BaseException | None = None) -> None:
        """No more chunks; the reader gets ``error`` behind the last one."""
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify()

    def get(self) -> bytes:
        """The next chunk, ``b""`` at the end."""
        with self._changed:
            while not self._chunks:
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return b""
                self._changed.wait()
            chunk = self._chunks.popleft()
            if len(self._chunks) == _QUEUED // 2:
                self._changed.notify()
            return chunk

    def break_off(self) -> None:
        """The reader gives up."""
        with self._changed:
            self._broken = True
            self._changed.notify()


def retain_memory() -> None:
    """Have malloc keep what is freed, instead of giving it back to the kernel, which would clear the same pages again and again.

    glibc takes the size of a large block that is freed as a sign of what will be asked for (mallopt(3), M_MMAP_THRESHOLD and
    M_TRIM_THRESHOLD). The block is never touched, so it costs no memory.
    """
    bytes(_LARGE)


class PlainStream:
    """The decompressed bytes of a source, read ahead, with their digest.

    ``algorithm`` is sha256 or sha512, ``what`` names the stream in errors. A context manager; it closes the source. Reading
    raises :class:`~rktpy.errors.ArchiveError` and what the source raises.
    """

    def __init__(self, source: Readable, algorithm: str, what: str, limits: Limits) -> None:
        self._source = source
        self._what = what
        self._limits = limits
        self._hash = hashlib.new(algorithm)
        self._algorithm = algorithm
        self._plain = _Channel()
        self._to_hash = _Channel()
        self.compression = "none"
        self.size = 0
        self._threads = [
            Thread(target=self._decompress, name=f"decompress {what}", daemon=True),
            Thread(target=self._digest, name=f"hash {what}", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def read(self, _n: int, /) -> bytes:
        """The next chunk, of whatever size it has; ``b""`` at the end."""
        chunk = self._plain.get()
        self.size += len(chunk)
        return chunk

    def finish(self) -> str:
        """Read what is left and return the digest of everything, ``<algorithm>:<hex>``."""
        while self.read(_CHUNK):
            pass
        self._join()
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def close(self) -> None:
        """Give up, if it is not finished, and close the source."""
        self._plain.break_off()
        if isinstance(self._source, Cancellable):
            self._source.cancel()
        self._join()
        # Not before: a descriptor that is closed while a thread reads from it may already be another file.
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _decompress(self) -> None:
        try:
            stream = open_stream(self._source.read, self._what, self._limits)
            self.compression = stream.compression
            while chunk := stream.read(_CHUNK):
                self._to_hash.put(chunk)
                if not self._plain.put(chunk):
                    break
        except BaseException as error:
            self._plain.end(error)
        else:
            self._plain.end()
        finally:
            self._to_hash.end()

    def _digest(self) -> None:
        while chunk := self._to_hash.get():
            self._hash.update(chunk)
