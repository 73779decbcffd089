"""A directory-backed sink for transports, in the shape of the store's blob methods but with nothing behind it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class DirectoryPartial:
    """Bytes on their way, in ``<key>.part`` with ``<key>.json`` beside it, under a lock file of their own."""

    def __init__(self, sink: DirectorySink, key: str) -> None:
        self._sink = sink
        name = key.replace(":", "-")
        self.path = str(sink.tmp / f"{name}.part")
        self._facts = sink.tmp / f"{name}.json"
        self._lock_path = sink.tmp / f"{name}.lock"
        self._lock = -1
        self._fd = -1
        self.size = 0

    def __enter__(self) -> Self:
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self._fd).st_size
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)
        if self.size == 0:
            Path(self.path).unlink(missing_ok=True)
            self._facts.unlink(missing_ok=True)
        os.close(self._lock)

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if self._sink.full_after is not None and self.size + len(view) > self._sink.full_after:
            raise OSError(28, "No space left on device", self.path)
        while view:
            n = os.write(self._fd, view)
            self.size += n
            view = view[n:]

    def restart(self) -> None:
        os.ftruncate(self._fd, 0)
        self.size = 0

    def validator(self) -> dict[str, Any] | None:
        try:
            value: dict[str, Any] = json.loads(self._facts.read_bytes())
            return value
        except FileNotFoundError:
            return None

    def set_validator(self, value: dict[str, Any] | None) -> None:
        if value is None:
            self._facts.unlink(missing_ok=True)
        else:
            self._facts.write_text(json.dumps(value))

    def commit(self, digest: str) -> None:
        os.rename(self.path, self._sink.blob_path(digest))
        self._facts.unlink(missing_ok=True)
        self._sink.commits.append(digest)

    def discard(self) -> None:
        self.restart()
        self._facts.unlink(missing_ok=True)


class DirectorySink:
    """Blobs in ``<directory>/blobs/<algorithm>/<hex>``. ``commits`` lists what came through a partial, in order.

    ``full_after`` makes a partial fail like a full disk once it would hold more bytes than that.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tmp = directory / "tmp"
        self.commits: list[str] = []
        self.full_after: int | None = None
        self.tmp.mkdir(parents=True, exist_ok=True)
        for algorithm in ("sha256", "sha512"):
            (directory / "blobs" / algorithm).mkdir(parents=True, exist_ok=True)

    def blob_path(self, digest: str) -> str:
        algorithm, _, encoded = digest.partition(":")
        return str(self.directory / "blobs" / algorithm / encoded)

    def blob_size(self, digest: str) -> int | None:
        try:
            return os.stat(self.blob_path(digest)).st_size
        except FileNotFoundError:
            return None

    def read_blob(self, digest: str, limit: int = 4 << 20) -> bytes:
        data = Path(self.blob_path(digest)).read_bytes()
        assert len(data) <= limit
        assert hashlib.new(digest.partition(":")[0], data).hexdigest() == digest.partition(":")[2]
        return data

    def put_blob(self, data: bytes, digest: str | None = None) -> str:
        digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
        assert hashlib.new(digest.partition(":")[0], data).hexdigest() == digest.partition(":")[2]
        temporary = self.tmp / f"put-{os.getpid()}-{threading.get_ident()}"
        temporary.write_bytes(data)
        os.rename(temporary, self.blob_path(digest))
        return digest

    def partial(self, key: str) -> DirectoryPartial:
        return DirectoryPartial(self, key)

    def partial_files(self) -> list[str]:
        """The names of unfinished downloads."""
        return sorted(path.name for path in self.tmp.glob("*.part"))
