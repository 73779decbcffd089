"""The log of a pod as lines, in portions that fit into messages.

Source: rkt 1.30 ``rkt/api_service_sdlogs.go``, and go-systemd's ``sdjournal`` for the form of the lines.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rktpy.errors import NotFoundError
from rktpy.stage0 import logs
from rktpy.stage0.pod_states import RUNNING, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rktpy.stage0.pods import Pod

_SECOND_US = 1_000_000
# What is later than the year 5000 does not fit into a journal's microseconds.
_MOST_S = 100_000_000_000
# In characters, which take up to four bytes; gRPC's clients take messages of up to 4 MiB.
_PORTION = 1 << 18
# Stages whose pods have no log, however long one waits: fly keeps none, and of foreign ones it is not known.
_WITHOUT = ("fly", None)


def query(app: str, *, lines: int, since_s: int, until_s: int, follow: bool) -> logs.Query:
    """What of a log is wanted, in the terms of the API: empty text and 0 stand for no restriction.

    ``since_s`` and ``until_s`` are seconds since the epoch; what is logged at ``until_s`` is not wanted any more.
    """
    return logs.Query(
        app or None,
        min(since_s, _MOST_S) * _SECOND_US if since_s else None,
        min(until_s, _MOST_S) * _SECOND_US - 1 if until_s else None,
        lines or None,
        follow,
    )


def read_log(pod: Pod, wanted: logs.Query, hangup_fd: int) -> Iterator[list[str]]:
    """The lines, oldest first. When ``hangup_fd`` becomes readable nobody wants to follow any longer.

    Raises NotFoundError when the pod keeps no log, RktpyError when it cannot be read.
    """
    if not logs.has_log(pod) and (pod.state != RUNNING or pod.bundled_stage1 in _WITHOUT):
        raise NotFoundError(f"logging unsupported for pod {quoted(pod.uuid)}")
    for batch in logs.entries(pod, wanted, hangup_fd):
        yield from _portions(line for entry in batch for line in _lines(entry))


def _portions(lines: Iterable[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    size = 0
    for line in lines:
        if size + len(line) > _PORTION and portion:
            yield portion
            portion, size = [], 0
        portion.append(line)
        size += len(line)
    if portion:
        yield portion


def _lines(entry: logs.Entry) -> Iterator[str]:
    text = f"{_time(entry.when_us)} {entry.message.decode('utf-8', 'replace')}"
    for line in text.split("\n"):
        for start in range(0, len(line), _PORTION):
            yield line[start : start + _PORTION]


def _time(when_us: int) -> str:
    """A time as Go prints it: ``2006-01-02 15:04:05.999999 -0700 MST``, without zeros at the end of the fraction."""
    seconds, rest = divmod(when_us, _SECOND_US)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return time.strftime(f"%Y-%m-%d %H:%M:%S{fraction} %z %Z", time.localtime(seconds))
