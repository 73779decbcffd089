"""How progress is shown: bars on a terminal, JSON lines for programs, status messages for a service manager.

The JSON lines (``--progress=json``, on standard error) are objects with the members

* ``event``: ``begin``, ``progress`` or ``end``
* ``item``: what is transferred, a digest or URL; ``label``: its short name (``begin`` only)
* ``done`` and ``size``: bytes so far and in all, ``size`` is null while unknown (``begin`` and ``progress``)
* ``outcome``: ``done``, ``exists`` (nothing had to be transferred) or ``failed`` (``end`` only)
"""

from __future__ import annotations

import os
import threading
import time

from rktpy.errors import UsageError
from rktpy.fetch.progress import Progress
from rktpy.formats import jsondoc
from rktpy.log import debugging

_FRAME_SECONDS = 0.1
_BAR = 20
_LABEL = 18
_UNITS = ("B", "KB", "MB", "GB", "TB")


def open_progress(mode: str, *, fd: int = 2) -> Progress:
    """The progress display for ``mode``: ``auto``, ``json`` or ``none``, written to ``fd``.

    ``auto`` is silent unless ``fd`` is a terminal, and with ``--debug``, whose lines a moving bar would tear apart. Close it.
    """
    if mode == "json":
        shown: Progress = JSONProgress(fd)
    elif mode == "auto":
        shown = BarProgress(fd) if os.isatty(fd) and not debugging() else Progress()
    elif mode == "none":
        shown = Progress()
    else:
        raise UsageError(f"unknown progress mode {mode!r}, expected auto, json or none")
    if not os.environ.get("NOTIFY_SOCKET"):
        return shown
    from rktpy.fetch.notify import NotifyProgress

    return NotifyProgress(shown)


class JSONProgress(Progress):
    """One JSON object per line. Lines of one transfer are at least a fifth of a second apart."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def begin(self, item: str, label: str, size: int | None, done: int = 0) -> None:
        """See :class:`Progress`."""
        self._write({"event": "begin", "item": item, "label": label, "done": done, "size": size})

    def advance(self, item: str, done: int, size: int | None = None) -> None:
        """See :class:`Progress`."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(item, 0.0) < 2 * _FRAME_SECONDS and done != size:
                return
            self._last[item] = now
        self._write({"event": "progress", "item": item, "done": done, "size": size})

    def end(self, item: str, outcome: str) -> None:
        """See :class:`Progress`."""
        self._write({"event": "end", "item": item, "outcome": outcome})

    def _write(self, record: dict[str, object]) -> None:
        write_all(self._fd, jsondoc.dump(record) + b"\n")


class _Bar:
    def __init__(self, label: str, size: int | None, done: int) -> None:
        self.label = label
        self.size = size
        self.done = done
        self.began = time.monotonic()
        self.start = done
        self.outcome = ""

    def line(self, width: int) -> str:
        """The bar as text of fewer than ``width`` columns."""
        label = self.label if len(self.label) <= _LABEL else self.label[: _LABEL - 1] + "…"
        if self.outcome == "exists":
            return f"{label:{_LABEL}} already here"[: width - 1]
        seconds = max(time.monotonic() - self.began, 0.001)
        speed = f"{human(int((self.done - self.start) / seconds))}/s"
        if self.outcome == "failed":
            speed = "failed"
        if not self.size:
            return f"{label:{_LABEL}} {human(self.done)}  {speed}"[: width - 1]
        share = min(self.done / self.size, 1.0)
        filled = int(share * _BAR)
        bar = "=" * filled + (">" if filled < _BAR else "") + " " * (_BAR - filled - 1)
        return f"{label:{_LABEL}} [{bar}] {share:4.0%}  {human(self.done)} of {human(self.size)}  {speed}"[: width - 1]


class BarProgress(Progress):
    """A line per transfer, redrawn in place ten times a second; finished lines stay above the moving ones."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._bars: dict[str, _Bar] = {}
        self._drawn = 0
        self._last = 0.0

    def begin(self, item: str, label: str, size: int | None, done: int = 0) -> None:
        """See :class:`Progress`."""
        printable = "".join(c if c.isprintable() else "?" for c in label)
        with self._lock:
            self._bars[item] = _Bar(printable, size, done)
            self._draw(())

    def advance(self, item: str, done: int, size: int | None = None) -> None:
        """See :class:`Progress`."""
        with self._lock:
            bar = self._bars.get(item)
            if bar is None:
                return
            bar.done = done
            bar.size = size if size is not None else bar.size
            if time.monotonic() - self._last >= _FRAME_SECONDS:
                self._draw(())

    def end(self, item: str, outcome: str) -> None:
        """See :class:`Progress`."""
        with self._lock:
            bar = self._bars.pop(item, None)
            if bar is not None:
                bar.outcome = outcome
                self._draw((bar,))

    def close(self) -> None:
        """See :class:`Progress`."""
        with self._lock:
            left = tuple(self._bars.values())
            self._bars.clear()
            self._draw(left)

    def _draw(self, finished: tuple[_Bar, ...]) -> None:
        try:
            width = os.get_terminal_size(self._fd).columns or 80
        except OSError:
            width = 80
        lines = [bar.line(width) for bar in (*finished, *self._bars.values())]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        write_all(self._fd, (up + "".join(f"\r{line}\x1b[K\n" for line in lines)).encode("utf-8", "replace"))
        self._drawn = len(self._bars)
        self._last = time.monotonic()


def human(size: int) -> str:
    """A size in bytes for people, in powers of 1000."""
    value = float(size)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def write_all(fd: int, data: bytes) -> None:
    """Write what can be written; a closed terminal is no reason to stop a download."""
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        pass
