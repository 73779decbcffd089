"""The log of a pod: the journal that journald keeps in the pod's stage1.

Source: rkt 1.30 ``rkt/api_service_sdjournal.go`` and the form of the lines in go-systemd's ``sdjournal``. The pod may be hostile:
no symbolic link in it is followed.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any

from systemd import journal

from rktpy.errors import NotFoundError
from rktpy.linux.constants import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS
from rktpy.linux.syscalls import openat2
from rktpy.stage0.pod_states import RUNNING, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rktpy.stage0.pods import Pod

_WAIT_S = 0.5
_SECOND_US = 1_000_000
# What is later than the year 5000 does not fit into a journal's microseconds.
_MOST_S = 100_000_000_000
# How much is handed on at once; gRPC's clients take messages of up to 4 MiB.
_LINES = 500
_BYTES = 1 << 20


class Wanted:
    """What of a log is wanted. ``apps``: their names; ``lines``: the last so many entries, 0 for all.

    ``since_s`` and ``until_s`` are seconds since the epoch, 0 for no bound; the entries at ``until_s`` are not wanted.
    """

    def __init__(self, apps: list[str], lines: int = 0, since_s: int = 0, until_s: int = 0) -> None:
        self.apps = apps
        self.lines = lines
        self.since_us = min(since_s, _MOST_S) * _SECOND_US
        self.until_us = min(until_s, _MOST_S) * _SECOND_US


def read_log(pod: Pod, wanted: Wanted, goes_on: Callable[[], bool] | None = None) -> Iterator[list[str]]:
    """The lines of a pod's log, oldest first, in portions.

    With ``goes_on`` what comes later is waited for, until the pod has ended or ``goes_on()`` is false. Raises NotFoundError when
    the pod keeps no log, OSError.
    """
    directory = _open(pod)
    try:
        with journal.Reader(path=directory, converters={"MESSAGE": _as_is, "__REALTIME_TIMESTAMP": _as_is}) as reader:
            for app in wanted.apps:
                reader.add_disjunction()
                reader.add_match(SYSLOG_IDENTIFIER=app)
                reader.add_disjunction()
                reader.add_match(_SYSTEMD_UNIT=f"{app}.service")
            entries = _entries(reader, wanted)
            yield from _portions(entries)
            if goes_on is not None:
                yield from _later(pod, reader, wanted, goes_on)
    finally:
        os.close(directory)


def _later(pod: Pod, reader: Any, wanted: Wanted, goes_on: Callable[[], bool]) -> Iterator[list[str]]:
    ended = False
    while goes_on() and not ended:
        # Looked at before the journal, so that nothing of a pod that ends now is missed.
        ended = pod.refresh() != RUNNING or bool(wanted.until_us and time.time() * _SECOND_US >= wanted.until_us)
        if not ended:
            reader.wait(_WAIT_S)
        yield from _portions(_following(reader, wanted, reader.get_next()))


def _open(pod: Pod) -> int:
    path = f"{pod.stage1_rootfs()}/var/log/journal/{pod.uuid.replace('-', '')}"
    resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
    try:
        directory = openat2(pod.fileno(), path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, resolve)
    except OSError as error:
        raise NotFoundError(f"logging unsupported for pod {quoted(pod.uuid)}") from error
    for name in os.listdir(directory):
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            os.close(directory)
            raise NotFoundError(f"the log of pod {quoted(pod.uuid)} has other files than a journal's in it")
    return directory


def _entries(reader: Any, wanted: Wanted) -> Iterator[Any]:
    if wanted.lines:
        if wanted.until_us:
            # The last entry up to that time, and the one at that very time is not wanted.
            reader.seek_realtime(wanted.until_us - 1)
        else:
            reader.seek_tail()
        return _following(reader, wanted, reader.get_previous(wanted.lines))
    if wanted.since_us:
        reader.seek_realtime(wanted.since_us)
    return _following(reader, wanted, reader.get_next())


def _following(reader: Any, wanted: Wanted, entry: Any) -> Iterator[Any]:
    while entry:
        at = entry["__REALTIME_TIMESTAMP"]
        if wanted.until_us and at >= wanted.until_us:
            return
        if at >= wanted.since_us:
            yield entry
        entry = reader.get_next()


def _portions(entries: Iterator[Any]) -> Iterator[list[str]]:
    lines: list[str] = []
    size = 0
    for entry in entries:
        for line in _lines_of(entry):
            lines.append(line)
            size += len(line)
        if len(lines) >= _LINES or size >= _BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _lines_of(entry: Any) -> list[str]:
    message = entry.get("MESSAGE", b"")
    if isinstance(message, list):
        # journald keeps fields that were sent twice.
        message = b"\n".join(message)  # pyright: ignore[reportUnknownArgumentType]
    text = f"{_time(entry['__REALTIME_TIMESTAMP'])} {bytes(message).decode('utf-8', 'replace')}"
    return [line for line in text.split("\n") if line]


def _time(at_us: int) -> str:
    """A time as Go prints it: ``2006-01-02 15:04:05.999999 -0700 MST``, without zeros at the end of the fraction."""
    seconds, fraction = divmod(at_us, _SECOND_US)
    local = time.localtime(seconds)
    point = f".{fraction:06d}".rstrip("0") if fraction else ""
    return time.strftime(f"%Y-%m-%d %H:%M:%S{point} %z %Z", local)


def _as_is(value: Any) -> Any:
    return value
