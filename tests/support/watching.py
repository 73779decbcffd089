"""A layer observer that reads along."""

from __future__ import annotations

import hashlib
import os

from rktpy.formats.oci.descriptor import Descriptor


class Watching:
    """Remembers what it was told, and reads the bytes of a layer as they become available, as one who unpacks would.

    ``hashes`` holds the digest of what it read of each finished layer; ``available`` the numbers it was told.
    """

    def __init__(self) -> None:
        self.diff_ids: tuple[str, ...] = ()
        self.events: dict[str, list[str]] = {}
        self.hashes: dict[str, str] = {}
        self.available: dict[str, list[int]] = {}
        self._files: dict[str, int] = {}
        self._read: dict[str, bytearray] = {}

    def layers_known(self, diff_ids: tuple[str, ...], layers: tuple[Descriptor, ...]) -> None:
        self.diff_ids = diff_ids
        assert len(layers) == len(diff_ids)

    def layer_started(self, digest: str, path: str) -> None:
        self.events.setdefault(digest, []).append("started")
        self._files[digest] = os.open(path, os.O_RDONLY)
        self._read[digest] = bytearray()

    def layer_progress(self, digest: str, available: int) -> None:
        self.events[digest].append("progress")
        self.available.setdefault(digest, []).append(available)
        have = len(self._read[digest])
        data = os.pread(self._files[digest], available - have, have)
        assert len(data) == available - have
        self._read[digest] += data

    def layer_done(self, digest: str) -> None:
        self.events[digest].append("done")
        data = self._read[digest]
        while more := os.pread(self._files[digest], 1 << 20, len(data)):
            data += more
        os.close(self._files[digest])
        self.hashes[digest] = "sha256:" + hashlib.sha256(data).hexdigest()

    def layer_failed(self, digest: str, error: BaseException) -> None:
        self.events.setdefault(digest, []).append("failed")
