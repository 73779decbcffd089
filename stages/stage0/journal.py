"""Reading what the apps of a pod wrote from the pod's own journal, while it runs and until it is removed.

The journal is that of the pod's journald, below the root of its stage1: ``var/log/journal/<UUID without dashes>``, as in rkt.
It is opened by descriptor, so that the pod may move meanwhile, and without following links that a pod may have planted.

Following waits for the journal's file notifications and for the end of the pod's process at once; it polls only while the pod is
just starting. Nothing else of rktpy imports systemd-python.
"""

from __future__ import annotations

import os
import select
import time

from systemd import journal

from rktpy.errors import RktpyError
from rktpy.formats.stage1 import JOURNAL_DIR, app_of_unit, journal_units
from rktpy.linux.syscalls import pidfd_open
from rktpy.stage0.app_files import open_directory
from rktpy.stage0.logs import Entry, Query
from rktpy.stage0.pod_states import RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rktpy.stage0.pods import Pod

_BATCH = 500
_LARGEST_FIELD = 4 << 20
_STARTING_S = 0.1
_LOCK_S = 5.0
_SECOND_LOOK_MS = 1000
# Fields as text where they are text, never as numbers, dates or UUIDs.
_CONVERTERS: dict[str, Any] = {
    **dict.fromkeys(journal.DEFAULT_CONVERTERS, bytes.decode),
    "MESSAGE": bytes,
    "__REALTIME_TIMESTAMP": int,
    "__MONOTONIC_TIMESTAMP": tuple,
    "__CURSOR": str,
}


def has_journal(pod: Pod) -> bool:
    """Whether the pod has a journal (already)."""
    fd = _open(pod)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def entries(pod: Pod, query: Query, hangup_fd: int = -1) -> Iterator[list[Entry]]:
    """The entries in the order of the journal, in batches: one ends where there is nothing more to read for the moment.

    Following also ends when the descriptor ``hangup_fd`` becomes readable. Refreshes the pod's state. Raises RktpyError when the
    journal cannot be read.
    """
    fd = _open(pod)
    while fd < 0:
        if not query.follow or pod.refresh() != RUNNING or _is_over(query) or _hung_up(hangup_fd):
            return
        time.sleep(_STARTING_S)
        fd = _open(pod)
    try:
        # It uses the descriptor as long as it is open, and does not close it.
        reader = journal.Reader(path=fd, converters=_CONVERTERS)
        try:
            yield from _Journal(pod, query, reader, hangup_fd).entries()
        finally:
            reader.close()
    except OSError as error:
        raise RktpyError("cannot read the pod's journal") from error
    finally:
        os.close(fd)


def _open(pod: Pod) -> int:
    """The open directory of the journal, -1 when there is none."""
    try:
        fd = open_directory(pod.fileno(), f"{pod.stage1_rootfs()}/{JOURNAL_DIR}/{pod.uuid.replace('-', '')}")
    except (FileNotFoundError, NotADirectoryError):
        return -1
    except OSError as error:
        raise RktpyError("cannot read the pod's journal") from error
    try:
        # sd_journal follows the links in it, and one to the host's own journal would show that as the pod's.
        with os.scandir(fd) as files:
            strange = [file.name for file in files if file.is_symlink()]
    except OSError as error:
        os.close(fd)
        raise RktpyError("cannot read the pod's journal") from error
    if strange:
        os.close(fd)
        raise RktpyError(f"the pod's journal has links in it: {', '.join(sorted(strange))}")
    return fd


def _hung_up(hangup_fd: int) -> bool:
    if hangup_fd < 0:
        return False
    poll = select.poll()
    poll.register(hangup_fd, select.POLLIN)
    return bool(poll.poll(0))


def _is_over(query: Query) -> bool:
    return query.until_us is not None and time.time_ns() // 1000 > query.until_us


class _Journal:
    def __init__(self, pod: Pod, query: Query, reader: journal.Reader, hangup_fd: int) -> None:
        self._pod = pod
        self._hangup_fd = hangup_fd
        self._query = query
        self._reader = reader
        self._apps = frozenset(pod.app_names())
        self._mutable = pod.is_mutable
        reader.data_threshold = _LARGEST_FIELD
        if query.app is not None:
            for unit in journal_units(query.app):
                reader.add_match(_SYSTEMD_UNIT=unit)

    def entries(self) -> Iterator[list[Entry]]:
        follow = self._query.follow
        if follow:
            # The watch is set by the first call, and has to be there before the journal is read to its end.
            self._reader.fileno()
        self._seek()
        with _End(self._pod) as end:
            while True:
                # Looked at before the journal is: what was written before the end is read after it.
                over = not follow or end.came() or _is_over(self._query) or _hung_up(self._hangup_fd)
                self._reader.process()
                yield from self._present()
                if over:
                    return
                self._wait(end)

    def _present(self) -> Iterator[list[Entry]]:
        """Everything from here to the present end of the journal."""
        until = self._query.until_us
        batch: list[Entry] = []
        while fields := self._reader.get_next():
            entry = self._entry(fields)
            if entry is None or (until is not None and entry.when_us > until):
                continue
            batch.append(entry)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _entry(self, fields: dict[str, Any]) -> Entry | None:
        """The entry, None when it is not an app's or older than wanted."""
        app = app_of_unit(_one(fields.get("_SYSTEMD_UNIT")))
        if self._query.app is None and not self._is_app(app, fields):
            return None
        when: int = fields["__REALTIME_TIMESTAMP"]
        if self._query.since_us is not None and when < self._query.since_us:
            return None
        message = fields.get("MESSAGE", b"")
        if isinstance(message, list):
            message = message[-1]  # pyright: ignore[reportUnknownVariableType]
        data: bytes = message if isinstance(message, bytes) else str(message).encode()  # pyright: ignore[reportUnknownArgumentType]
        partial = _one(fields.get("_LINE_BREAK")) == "line-max"
        return Entry(when, app, _one(fields.get("_PID")), data, partial, fields)

    def _is_app(self, app: str, fields: dict[str, Any]) -> bool:
        if app in self._apps:
            return True
        # Apps that have been removed, or were added since. Of what is not an app, only output of the supervisor's own units
        # comes this way, and these are systemd's.
        return self._mutable and bool(app) and not app.startswith("systemd-") and _one(fields.get("_TRANSPORT")) == "stdout"

    def _seek(self) -> None:
        reader, query = self._reader, self._query
        if query.lines is None:
            if query.since_us is None:
                reader.seek_head()
            else:
                reader.seek_realtime(query.since_us)
            return
        if query.until_us is None:
            reader.seek_tail()
        else:
            reader.seek_realtime(query.until_us + 1)
        cursor = ""
        count = 0
        fields = reader.get_previous()
        if not fields:
            reader.seek_head()
            return
        if query.lines == 0:
            # After this one comes what is written from now on.
            return
        while fields:
            if query.since_us is not None and fields["__REALTIME_TIMESTAMP"] < query.since_us:
                break
            if self._entry(fields) is not None and self._is_before_end(fields):
                cursor = fields["__CURSOR"]
                count += 1
                if count == query.lines:
                    break
            fields = reader.get_previous()
        if cursor:
            reader.seek_cursor(cursor)
        elif query.since_us is not None:
            reader.seek_realtime(query.since_us)
        else:
            reader.seek_head()

    def _is_before_end(self, fields: dict[str, Any]) -> bool:
        return self._query.until_us is None or fields["__REALTIME_TIMESTAMP"] <= self._query.until_us

    def _wait(self, end: _End) -> None:
        """Wait until the journal has changed, the pod has ended or the time is up."""
        poll = select.poll()
        poll.register(self._reader.fileno(), self._reader.get_events())
        if self._hangup_fd >= 0:
            poll.register(self._hangup_fd, select.POLLIN)
        limits = [self._reader.get_timeout_ms(), end.register(poll)]
        if self._query.until_us is not None:
            limits.append(max((self._query.until_us - time.time_ns() // 1000) // 1000 + 1, 0))
        wanted = [limit for limit in limits if limit >= 0]
        poll.poll(min(wanted) if wanted else None)


class _End:
    """The end of a pod: that of the process it is recorded by, then the release of its lock."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._process = -1
        self._process_ended = False

    def __enter__(self) -> _End:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process >= 0:
            os.close(self._process)

    def came(self) -> bool:
        """Whether the pod has ended. Waits a moment for the lock when its process has."""
        if self._process >= 0:
            poll = select.poll()
            poll.register(self._process, select.POLLIN)
            if poll.poll(0):
                os.close(self._process)
                self._process = -1
                self._process_ended = True
                self._pod.wait_exited(_LOCK_S)
        return self._pod.refresh() != RUNNING

    def register(self, poll: select.poll) -> int:
        """Have the end of the process wake ``poll``; how many ms to wait at most because it cannot, -1 when it can."""
        if self._process < 0 and not self._process_ended:
            pid = self._pod.pid()
            if pid is None:
                return int(_STARTING_S * 1000)
            try:
                self._process = pidfd_open(pid, 0)
            except OSError:
                self._process_ended = True
        if self._process < 0:
            # Its process is gone, and somebody holds its lock all the same.
            return _SECOND_LOOK_MS
        poll.register(self._process, select.POLLIN)
        return -1


def _one(value: object) -> str:
    """The text of a field that has one value; empty when it is not there."""
    if isinstance(value, list):
        value = value[-1]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)  # pyright: ignore[reportUnknownArgumentType]
