"""Telling a service manager that a long download is alive (sd_notify(3)): EXTEND_TIMEOUT_USEC= and STATUS=."""

from __future__ import annotations

import threading
import time

from rktpy.fetch.progress import Progress
from rktpy.linux.service_manager import notify, still_working

_SECONDS = 1.0


class NotifyProgress(Progress):
    """Reports to ``$NOTIFY_SOCKET`` at most once a second, and passes everything on to ``shown``."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._lock = threading.Lock()
        self._items: dict[str, tuple[int, int | None]] = {}
        self._last = 0.0

    def begin(self, item: str, label: str, size: int | None, done: int = 0) -> None:
        """See :class:`Progress`."""
        self._shown.begin(item, label, size, done)
        self._tell(item, done, size)

    def advance(self, item: str, done: int, size: int | None = None) -> None:
        """See :class:`Progress`."""
        self._shown.advance(item, done, size)
        self._tell(item, done, size)

    def end(self, item: str, outcome: str) -> None:
        """See :class:`Progress`."""
        self._shown.end(item, outcome)

    def close(self) -> None:
        """See :class:`Progress`."""
        self._shown.close()

    def _tell(self, item: str, done: int, size: int | None) -> None:
        with self._lock:
            known = self._items.get(item, (0, None))[1]
            self._items[item] = (done, size if size is not None else known)
            now = time.monotonic()
            if self._last and now - self._last < _SECONDS:
                return
            self._last = now
            have = sum(pair[0] for pair in self._items.values())
            sizes = [pair[1] for pair in self._items.values()]
        status = f"fetching: {have / 1e6:.1f} MB"
        total = sum(size for size in sizes if size is not None)
        if total and None not in sizes:
            status += f" of {total / 1e6:.1f} MB"
        notify(f"{still_working()}\nSTATUS={status}")
