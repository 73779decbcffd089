"""Where images and snapshots are kept: a directory for each, named by the digest of all that it was made from.

$RKTPY_VM_CACHE, else ~/.cache/rktpy/vm
    lock                        held by the one that builds or runs: two machines at a time are too much for a host
    kvm-<digest>                whether KVM boots here
    image-<profile>-<digest>/   disk.img, kernel, initrd
    boot-<profile>-<digest>/    booted.qcow2 (over the image's disk.img), memory
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: How many of a kind are kept: other checkouts may use the cache too.
_KEPT = 3


class HostError(Exception):
    """The host could not be built, booted or used; the text says what and why."""


def cache_directory() -> Path:
    """The cache; made if it is not there."""
    named = os.environ.get("RKTPY_VM_CACHE")
    path = Path(named) if named else Path.home() / ".cache" / "rktpy" / "vm"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: object) -> str:
    """A short digest of texts, bytes and tuples of texts: equal parts, equal digest."""
    made = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode()
        made.update(len(data).to_bytes(8, "big") + data)
    return made.hexdigest()[:16]


@contextmanager
def only_one(patience: float = 1800.0) -> Iterator[None]:
    """Hold the lock; wait up to ``patience`` seconds for another. Raises HostError."""
    with open(cache_directory() / "lock", "w") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HostError("another test host is running") from None
                time.sleep(0.2)
        yield


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The directory ``<kind>-<key>``; made by ``make`` in a directory beside it if it is not there. Older ones go.

    Called with the lock held.
    """
    top = cache_directory()
    path = top / f"{kind}-{key}"
    if not path.exists():
        for left in top.glob(f"{kind}-*.part"):
            shutil.rmtree(left)
        part = top / f"{kind}-{key}.part"
        part.mkdir()
        try:
            make(part)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(path)
    os.utime(path)
    for old in sorted(top.glob(f"{kind}-*"), key=lambda one: one.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(old)
    return path
