"""Reading what the apps of a pod wrote from log files, one for each app, as conmon writes them for the Kubernetes CRI.

A line is ``<time> <stream> <tag> <text>`` (kubernetes ``kubelet-cri-logging.md``), see :mod:`rktpy.formats.cri_log`. Files are
opened by descriptor, so that the pod may move meanwhile, and without following links.
"""

from __future__ import annotations

import os
import select
import time
from heapq import merge

from rktpy.errors import FormatError, RktpyError
from rktpy.formats.cri_log import parse_log_line
from rktpy.formats.stage1 import OCI_LOGS
from rktpy.stage0.logs import Entry, Query
from rktpy.stage0.pod_states import RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rktpy.stage0.pods import Pod

_BATCH = 500
_CHUNK = 1 << 16
#: A line that is longer comes in pieces; conmon's own are shorter.
_LONGEST_LINE = 1 << 20
#: How often a log that is followed is looked at, in milliseconds.
_STEP_MS = 50
_SUFFIX = ".log"


def has_files(pod: Pod) -> bool:
    """Whether any app of the pod has a log file (already)."""
    return any(True for _app in _apps(pod))


def entries(pod: Pod, query: Query, hangup_fd: int) -> Iterator[list[Entry]]:
    """See :func:`rktpy.stage0.logs.entries`."""
    files: dict[str, _File] = {}
    first = True
    try:
        while True:
            # Looked at before the files are: what was written before the end is read after it.
            over = not query.follow or pod.refresh() != RUNNING or _passed(query) or _hung_up(hangup_fd, 0)
            for app in _apps(pod):
                if app not in files and query.app in (None, app):
                    files[app] = _File(pod, app)
            new = [[*file.new(), *(file.unfinished() if over else ())] for file in files.values()]
            found = [entry for entry in merge(*new, key=_when) if _wanted(query, entry)]
            if first and query.lines is not None:
                found = found[len(found) - min(query.lines, len(found)) :]
            first = False
            for start in range(0, len(found), _BATCH):
                yield found[start : start + _BATCH]
            if over:
                return
            _hung_up(hangup_fd, _STEP_MS)
    except OSError as error:
        raise RktpyError("cannot read the pod's log") from error
    finally:
        for file in files.values():
            file.close()


def _when(entry: Entry) -> int:
    return entry.when_us


def _wanted(query: Query, entry: Entry) -> bool:
    return (query.since_us is None or entry.when_us >= query.since_us) and (
        query.until_us is None or entry.when_us <= query.until_us
    )


def _apps(pod: Pod) -> Iterator[str]:
    try:
        fd = os.open(OCI_LOGS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=pod.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        names = sorted(os.listdir(fd))
    finally:
        os.close(fd)
    for name in names:
        if name.endswith(_SUFFIX) and len(name) > len(_SUFFIX):
            yield name.removesuffix(_SUFFIX)


class _File:
    """The log of an app, read as it grows."""

    def __init__(self, pod: Pod, app: str) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._fd = os.open(f"{OCI_LOGS}/{app}{_SUFFIX}", flags, dir_fd=pod.fileno())
        self._app = app
        self._rest = b""
        #: By stream, the beginning of a line that goes on: when it was written, and its text.
        self._begun: dict[str, tuple[int, bytes]] = {}

    def close(self) -> None:
        os.close(self._fd)

    def new(self) -> Iterator[Entry]:
        """The entries that have come since."""
        while chunk := os.read(self._fd, _CHUNK):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                lines.append(self._rest)
                self._rest = b""
            for line in lines:
                entry = self._entry(line)
                if entry is not None:
                    yield entry

    def _entry(self, line: bytes) -> Entry | None:
        """None for what is no line of a log: the app's file is whole, but a full disk may have cut one."""
        try:
            when_ns, stream, text, partial = parse_log_line(line)
        except FormatError:
            return None
        when_us, before = self._begun.pop(stream, (when_ns // 1000, b""))
        text = before + text
        if partial and len(text) < _LONGEST_LINE:
            self._begun[stream] = when_us, text
            return None
        return self._made(when_us, stream, text, partial)

    def unfinished(self) -> Iterator[Entry]:
        """The beginnings of lines that nobody ended."""
        for stream, (when_us, text) in self._begun.items():
            yield self._made(when_us, stream, text, True)
        self._begun = {}

    def _made(self, when_us: int, stream: str, message: bytes, partial: bool) -> Entry:
        fields = {
            "__REALTIME_TIMESTAMP": when_us,
            "MESSAGE": message,
            "PRIORITY": "3" if stream == "stderr" else "6",
            "SYSLOG_IDENTIFIER": self._app,
        }
        return Entry(when_us, self._app, "", message, partial, fields)


def _passed(query: Query) -> bool:
    return query.until_us is not None and time.time_ns() // 1000 > query.until_us


def _hung_up(fd: int, wait_ms: int) -> bool:
    """Whether the descriptor has become readable, waiting for at most so long."""
    poll = select.poll()
    if fd >= 0:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(wait_ms))
