"""Copy blobs from local sources into the sink: size and digest are checked while the bytes pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from rktpy.errors import DigestMismatch
from rktpy.fetch.sink import LayerObserver, Sink
from rktpy.formats.oci.digest import digest_of, parse_digest

CHUNK = 1 << 20


class BlobReader(Protocol):
    """A blob of a local source, open for reading. ``size`` is in bytes."""

    size: int

    def read(self, n: int, /) -> bytes:
        """1 to ``n`` bytes, or nothing at the end."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def check_document(data: bytes, digest: str, size: int, what: str) -> None:
    """Check that ``data`` is the content that was promised. Raises :class:`DigestMismatch` naming ``what``."""
    if len(data) != size:
        raise DigestMismatch(f"{what}: {digest} is {len(data)} bytes long, not {size}")
    actual = digest_of(data, parse_digest(digest, what, "")[0])
    if actual != digest:
        raise DigestMismatch(f"{what}: the content of {digest} has the digest {actual}")


def digest_stream(read: Callable[[int], bytes]) -> str:
    """The sha256 digest of everything that ``read`` gives."""
    hasher = hashlib.sha256()
    while data := read(CHUNK):
        hasher.update(data)
    return f"sha256:{hasher.hexdigest()}"


def copy_blob(
    opener: Callable[[], BlobReader], digest: str, size: int, sink: Sink, what: str, observer: LayerObserver | None = None
) -> None:
    """Bring one blob into ``sink``, unless it is there already.

    ``opener`` opens the blob at its source; ``size`` in bytes is what the manifest promises; ``observer``, if any, is told of a
    layer. Nothing is left behind on failure. Raises :class:`DigestMismatch`, and whatever the source raises.
    """
    try:
        if not _is_there(digest, size, sink, what):
            _transfer(opener, digest, size, sink, what, observer)
        elif observer is not None:
            observer.layer_started(digest, sink.blob_path(digest))
            observer.layer_progress(digest, size)
    except BaseException as error:
        if observer is not None:
            observer.layer_failed(digest, error)
        raise
    if observer is not None:
        observer.layer_done(digest)


def _is_there(digest: str, size: int, sink: Sink, what: str) -> bool:
    have = sink.blob_size(digest)
    if have is not None and have != size:
        raise DigestMismatch(f"{what}: {digest} is {have} bytes long, not {size}")
    return have is not None


def _transfer(
    opener: Callable[[], BlobReader], digest: str, size: int, sink: Sink, what: str, observer: LayerObserver | None
) -> None:
    with sink.partial(digest) as partial:
        if _is_there(digest, size, sink, what):  # somebody else was faster while we waited for the lock
            if observer is not None:
                observer.layer_started(digest, sink.blob_path(digest))
                observer.layer_progress(digest, size)
            return
        blob = opener()
        try:
            if blob.size != size:
                raise DigestMismatch(f"{what}: {digest} is {blob.size} bytes long, not {size}")
            partial.restart()
            if observer is not None:
                observer.layer_started(digest, partial.path)
            hasher = hashlib.new(parse_digest(digest, what, "")[0])
            done = 0
            while data := blob.read(CHUNK):
                done += len(data)
                if done > size:
                    raise DigestMismatch(f"{what}: {digest} is longer than {size} bytes")
                hasher.update(data)
                partial.write(data)
                if observer is not None:
                    observer.layer_progress(digest, done)
            if done < size:
                raise DigestMismatch(f"{what}: {digest} ends after {done} of {size} bytes")
            actual = f"{hasher.name}:{hasher.hexdigest()}"
            if actual != digest:
                raise DigestMismatch(f"{what}: the content of {digest} has the digest {actual}")
            partial.commit(digest)
        except BaseException:
            # The source is at hand: starting again costs less than telling good bytes from bad ones.
            partial.discard()
            raise
        finally:
            blob.close()
