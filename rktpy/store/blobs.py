"""Blobs: immutable bytes named by their digest.

A blob that arrives belongs to no image until the image's record is written. While a process has such blobs it holds the shared
*lease* on ``imagelocks/blobs``; blobs are removed only by someone who gets that lock exclusively at the first try, and who
otherwise leaves them to the next garbage collection.

Hot-path module.
"""

from __future__ import annotations

from posix import O_CLOEXEC, O_NOFOLLOW, O_RDONLY, close, fstat, lstat, read, stat
from posix import open as open_fd

from rktpy.errors import DigestMismatch, NotFoundError, StoreError
from rktpy.store.paths import BLOB_MODE, split_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.store.paths import Layout


def blob_size(layout: Layout, digest: str) -> int | None:
    """Size in bytes of a stored blob, None if it is not there."""
    try:
        return lstat(layout.blob(digest)).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot examine {digest}") from error


def hash_of(algorithm: str, data: bytes) -> str:
    """Hex digest of ``data``, by the interpreter's own C modules."""
    if algorithm == "sha256":
        from _sha256 import sha256

        return sha256(data).hexdigest()
    from _sha512 import sha512

    return sha512(data).hexdigest()


def open_blob(layout: Layout, digest: str) -> int:
    """A descriptor on a blob, for reading. Raises :class:`NotFoundError` or :class:`StoreError`."""
    try:
        return open_fd(layout.blob(digest), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    except FileNotFoundError:
        raise NotFoundError(f"{digest} is not in the store") from None
    except OSError as error:
        raise StoreError(f"cannot read {digest}") from error


def read_blob(layout: Layout, digest: str, limit: int) -> bytes:
    """A small blob's bytes, checked against the digest.

    Raises NotFoundError, StoreError when it has more than ``limit`` bytes, DigestMismatch when the disk holds something else.
    """
    fd = open_blob(layout, digest)
    try:
        size = fstat(fd).st_size
        if size > limit:
            raise StoreError(f"{digest} has {size} bytes, at most {limit} are read at once")
        chunks: list[bytes] = []
        while chunk := read(fd, 1 << 20):
            chunks.append(chunk)
    except OSError as error:
        raise StoreError(f"cannot read {digest}") from error
    finally:
        close(fd)
    data = b"".join(chunks)
    algorithm, value = split_digest(digest)
    if hash_of(algorithm, data) != value:
        raise DigestMismatch(f"{digest} is damaged in the store")
    return data


def put_blob(layout: Layout, data: bytes, digest: str | None) -> str:
    """Store bytes durably and return their digest (sha256 if none is given).

    Raises DigestMismatch when they do not have the ``digest``, StoreError when they cannot be stored.
    """
    from rktpy.store.temporary import create_file, sync_directory, write_all

    algorithm, value = split_digest(digest) if digest else ("sha256", "")
    actual = hash_of(algorithm, data)
    if value and actual != value:
        raise DigestMismatch(f"the bytes have the digest {algorithm}:{actual}, not {digest}")
    digest = f"{algorithm}:{actual}"
    path = layout.blob(digest)
    try:
        try:
            if stat(path).st_size == len(data):
                return digest
        except FileNotFoundError:
            pass
        with create_file(layout, "blob") as temporary:
            from posix import fchmod, fsync

            fchmod(temporary.fd, BLOB_MODE)
            write_all(temporary.fd, data)
            fsync(temporary.fd)
            temporary.rename(path)
        sync_directory(path.rpartition("/")[0])
    except OSError as error:
        raise StoreError(f"cannot store {digest}") from error
    return digest


def hash_blob(layout: Layout, digest: str) -> tuple[str, int]:
    """Read a whole blob: (the digest it really has, its size in bytes). Raises NotFoundError or StoreError."""
    import hashlib

    algorithm, _ = split_digest(digest)
    fd = open_blob(layout, digest)
    try:
        state = hashlib.new(algorithm)
        size = 0
        while chunk := read(fd, 1 << 20):
            state.update(chunk)
            size += len(chunk)
    except OSError as error:
        raise StoreError(f"cannot read {digest}") from error
    finally:
        close(fd)
    return f"{algorithm}:{state.hexdigest()}", size
