"""Taking an ACI file into the store: its uncompressed tar becomes a blob, named by the sha512 that is the image's ID.

Source: appc/spec 0.8.11 ``spec/aci.md`` (Image Archives, Image ID). The file is read once: what is decompressed is written,
hashed and checked (layout, manifest, limits) on the way. Nothing is visible before all of it has been found good.
"""

from __future__ import annotations

import hashlib
import os
from os import fchmod, fsync
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING

from rktpy.errors import ArchiveError, DigestMismatch, FetchError, StoreError
from rktpy.formats.aci.archive import ArchiveRules
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.decompress import open_stream
from rktpy.formats.tar import TarReader
from rktpy.record import Record
from rktpy.store.blobs import open_blob
from rktpy.store.limits import Limits, limits_in_force
from rktpy.store.partial import WRITEBACK_STEP
from rktpy.store.paths import BLOB_MODE
from rktpy.store.temporary import create_file, sync_directory, write_all
from rktpy.store.writeback import start_writeback

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import RawIOBase

    from rktpy.store.paths import Layout

_CHUNK = 1 << 20


class ImportedACI(Record):
    """A stored tar that is a valid ACI: ``size`` in bytes, uncompressed; ``digest`` of its blob."""

    id: str
    manifest: ImageManifest
    size: int
    manifest_bytes: bytes
    digest: str


class _Writer(Thread):
    """Writes and hashes chunks beside the thread that decompresses them. ``error`` is what stopped it."""

    def __init__(self, fd: int) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self._chunks: Queue[bytes | None] = Queue(8)
        self.hash = hashlib.sha512()
        self.size = 0
        self.error: OSError | None = None

    def put(self, chunk: bytes) -> None:
        """Hand over a chunk. Raises the OSError that stopped the writing of an earlier one."""
        self._chunks.put(chunk)
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Wait until everything has been written, or has failed."""
        self._chunks.put(None)
        self.join()

    def run(self) -> None:
        flushed = 0
        while (chunk := self._chunks.get()) is not None:
            if self.error is not None:
                continue
            self.hash.update(chunk)
            try:
                write_all(self._fd, chunk)
            except OSError as error:
                # The queue is emptied all the same, so that nobody waits for room in it for ever.
                self.error = error
                continue
            self.size += len(chunk)
            if self.size - flushed >= WRITEBACK_STEP:
                start_writeback(self._fd, flushed, self.size - flushed)
                flushed = self.size


def import_aci(
    layout: Layout, path: str, *, what: str = "", expected_id: str | None = None, limits: Limits | None = None
) -> ImportedACI:
    """Store the uncompressed tar of the ACI file at ``path`` (any compression).

    ``what`` is what messages call it, if that is not the path.

    ``expected_id`` is the image ID that it must have (rkt's shorter form will do). The tar is an image of the store only once
    its record is added. Raises FetchError when the file cannot be read, ArchiveError or FormatError when it is no ACI,
    DigestMismatch, StoreError.
    """
    limits = limits or limits_in_force()
    what = what or path
    try:
        source = open(path, "rb", buffering=0)
    except OSError as error:
        raise FetchError(f"cannot open image {what}") from error
    with source:
        try:
            with create_file(layout, "blob", BLOB_MODE) as temporary:
                writer = _Writer(temporary.fd)
                writer.start()
                try:
                    manifest = _copy(reading(source, what), what, writer, limits)
                finally:
                    writer.end()
                if writer.error is not None:
                    raise writer.error
                value = writer.hash.hexdigest()
                if expected_id is not None and not f"sha512-{value}".startswith(expected_id):
                    raise DigestMismatch(f"image {what} has the ID sha512-{value}, not {expected_id}")
                digest = f"sha512:{value}"
                target = layout.blob(digest)
                fchmod(temporary.fd, BLOB_MODE)
                fsync(temporary.fd)
                temporary.rename(target)
            sync_directory(target.rpartition("/")[0])
        except OSError as error:
            raise StoreError(f"cannot store image {what}") from error
    return ImportedACI(f"sha512-{value}", ImageManifest.from_bytes(manifest), writer.size, manifest, digest)


def reading(source: RawIOBase, path: str) -> Callable[[int], bytes]:
    """``read(n)`` of an open file, whose errors are the file's and not the store's."""

    def read(n: int) -> bytes:
        try:
            return source.read(n) or b""
        except OSError as error:
            raise FetchError(f"cannot read image {path}") from error

    return read


def _copy(read: Callable[[int], bytes], what: str, writer: _Writer, limits: Limits) -> bytes:
    """Decompress all of the file into the writer, and check it as an archive; returns the manifest's bytes."""
    stream = open_stream(read, what, limits)

    def through(n: int) -> bytes:
        data = stream.read(n)
        if data:
            writer.put(data)
        return data

    reader = TarReader(through, what)
    rules = ArchiveRules(what)
    manifest = b""
    entries = 0
    while (entry := reader.next()) is not None:
        entries += 1
        if entries > limits.max_entries:
            raise ArchiveError(f"{what} has more than {limits.max_entries} entries")
        if rules.add(entry) == "manifest":
            manifest = reader.read()
            ImageManifest.from_bytes(manifest)
    rules.finish()
    # Whatever stands behind the end mark counts for the image ID.
    while through(_CHUNK):
        pass
    return manifest


def stored_manifest(layout: Layout, digest: str) -> bytes:
    """The manifest of a stored ACI, read from its blob. Raises NotFoundError, ArchiveError, FormatError, StoreError."""
    fd = open_blob(layout, digest)
    try:
        reader = TarReader(lambda n: os.read(fd, n), digest)
        rules = ArchiveRules(digest)
        while (entry := reader.next()) is not None:
            if rules.add(entry) == "manifest":
                manifest = reader.read()
                ImageManifest.from_bytes(manifest)
                return manifest
    except OSError as error:
        raise StoreError(f"cannot read {digest}") from error
    finally:
        os.close(fd)
    raise ArchiveError(f"{digest}: no image manifest found in layout")
