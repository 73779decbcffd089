"""Downloads in progress, and their resumption after the downloading process died.

The bytes of one key live in ``cas/tmp/<key>.part``, locked by whoever downloads them; their validator (ETag, length, whatever
the transport compares before it resumes) in ``<key>.json``. Leaving a :class:`Partial` without a commit keeps both.
"""

from __future__ import annotations

import hashlib
from errno import EAGAIN
from fcntl import LOCK_EX, LOCK_NB, flock
from os import (
    O_CLOEXEC,
    O_CREAT,
    O_NOFOLLOW,
    O_RDWR,
    close,
    fchmod,
    fstat,
    fsync,
    ftruncate,
    lseek,
    rename,
    replace,
    unlink,
)
from os import (
    open as open_fd,
)
from typing import TYPE_CHECKING, Any

from rktpy.errors import FormatError, StoreError, UsageError
from rktpy.formats import jsondoc
from rktpy.store.locks import same_file
from rktpy.store.paths import BLOB_MODE, split_digest
from rktpy.store.temporary import create_file, sync_directory, write_all
from rktpy.store.writeback import start_writeback

if TYPE_CHECKING:
    from typing import Self

    from rktpy.store.paths import Layout

# How much is written before the kernel is asked to begin to write it out, so that the final fsync has little left to wait for.
WRITEBACK_STEP = 8 << 20


def download_name(key: str) -> str:
    """The file name (without suffix) of a download's key: readable for digests, a hash of anything else."""
    try:
        algorithm, value = split_digest(key)
    except UsageError:
        return "key-" + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{algorithm}-{value}"


class Partial:
    """The one writer of a download. ``path`` names the bytes so far, ``size`` counts them.

    A context manager; entering waits until no one else downloads the same key. What is written becomes visible to nobody
    before :meth:`commit`, but may be read at ``path`` by someone who checks it on his own account.
    """

    def __init__(self, layout: Layout, key: str) -> None:
        self._layout = layout
        base = f"{layout.temporary}/{download_name(key)}"
        self.key = key
        self.path = base + ".part"
        self.size = 0
        self._validator_path = base + ".json"
        self._fd = -1
        self._flushed = 0

    def __enter__(self) -> Self:
        try:
            self._fd = fd = _lock_download(self.path, wait=True)
            self.size = self._flushed = fstat(fd).st_size
            lseek(fd, self.size, 0)
        except OSError as error:
            raise StoreError(f"cannot keep the download of {self.key}") from error
        return self

    def __exit__(self, *_error: object) -> None:
        if self._fd >= 0:
            if self.size == 0:
                self.discard()
            else:
                self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        close(fd)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises :class:`StoreError` (a full disk is the usual reason); bytes before it stay for a resumption."""
        try:
            write_all(self._fd, data)
        except OSError as error:
            self.size = fstat(self._fd).st_size
            raise StoreError(f"cannot store {self.key}") from error
        self.size += len(data)
        if self.size - self._flushed >= WRITEBACK_STEP:
            start_writeback(self._fd, self._flushed, self.size - self._flushed)
            self._flushed = self.size

    def restart(self) -> None:
        """Forget the bytes so far and their validator."""
        self.set_validator(None)
        ftruncate(self._fd, 0)
        lseek(self._fd, 0, 0)
        self.size = self._flushed = 0

    def validator(self) -> dict[str, Any] | None:
        """What :meth:`set_validator` was told for the bytes so far, also by an earlier process; None if that is unknown."""
        try:
            with open(self._validator_path, "rb") as file:
                return jsondoc.parse_object(file.read(1 << 20), "download validator")
        except (FileNotFoundError, FormatError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self._validator_path}") from error

    def set_validator(self, validator: dict[str, Any] | None) -> None:
        """Remember, or forget, by what the source will know these bytes again."""
        try:
            if validator is None:
                try:
                    unlink(self._validator_path)
                except FileNotFoundError:
                    pass
                return
            with create_file(self._layout, "validator") as temporary:
                write_all(temporary.fd, jsondoc.dump(validator))
                replace(temporary.path, self._validator_path)
                temporary.path = ""
        except OSError as error:
            raise StoreError(f"cannot keep the download of {self.key}") from error

    def commit(self, digest: str) -> None:
        """Make the bytes the blob ``digest``, durably. The caller has checked that they have that digest."""
        target = self._layout.blob(digest)
        try:
            fchmod(self._fd, BLOB_MODE)
            fsync(self._fd)
            rename(self.path, target)
            sync_directory(target.rpartition("/")[0])
        except OSError as error:
            raise StoreError(f"cannot store {digest}") from error
        self.set_validator(None)
        self._close()

    def discard(self) -> None:
        """Drop the bytes so far: they are wrong, or not wanted any more."""
        self.set_validator(None)
        try:
            unlink(self.path)
        except FileNotFoundError:
            pass
        self.size = 0
        self._close()


def _lock_download(path: str, *, wait: bool) -> int:
    while True:
        fd = open_fd(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        try:
            flock(fd, LOCK_EX | (0 if wait else LOCK_NB))
            # The bytes may have become a blob, or been discarded, while we waited for their lock.
            if same_file(fd, path):
                return fd
        except BaseException:
            close(fd)
            raise
        close(fd)


def sweep_download(path: str, before_ns: int) -> bool:
    """Remove one file of a download (``.part`` or ``.json``) that nobody works on and that is old.

    ``before_ns``: only what was last written before that time. A validator without bytes is always rubbish. Returns whether
    it was removed. Raises OSError.
    """
    base = path.rpartition(".")[0]
    part = base + ".part"
    try:
        fd = _lock_download(part, wait=False)
    except OSError as error:
        if error.errno == EAGAIN:
            return False
        raise
    try:
        facts = fstat(fd)
        if facts.st_size and facts.st_mtime_ns >= before_ns:
            return False
        for name in (base + ".json", part):
            try:
                unlink(name)
            except FileNotFoundError:
                pass
        return True
    finally:
        close(fd)
