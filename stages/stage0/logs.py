"""What the apps of a pod wrote, wherever its stage1 keeps it: in the pod's journal, or in a log file for each app.

Hot-path module: what reads is imported by the function that needs it.
"""

from __future__ import annotations

from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rktpy.stage0.pods import Pod

#: The bundled stage1s whose pods have log files.
_FILES = ("oci",)


class Query(Record):
    """Which entries are wanted.

    ``app`` is one app's, None all apps'; ``since_us`` and ``until_us`` are microseconds since the epoch, both included; ``lines``
    how many of the last ones, None all; ``follow`` says to go on until the pod ends (or until ``until_us``).
    """

    app: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    lines: int | None = None
    follow: bool = False


class Entry(Record):
    """One entry: a line that an app wrote, or with ``partial`` the beginning of a very long one.

    ``fields`` are all that is known, by the journal's names: text, bytes where they are not UTF-8, or a list of these.
    """

    when_us: int
    app: str
    pid: str
    message: bytes
    partial: bool
    fields: dict[str, Any]


def has_log(pod: Pod) -> bool:
    """Whether there is a log of the pod (already). Raises RktpyError."""
    if pod.bundled_stage1 in _FILES:
        from rktpy.stage0.log_files import has_files

        return has_files(pod)
    from rktpy.stage0.journal import has_journal

    return has_journal(pod)


def entries(pod: Pod, query: Query, hangup_fd: int = -1) -> Iterator[list[Entry]]:
    """The entries, oldest first, in batches: one ends where there is nothing more to read for the moment.

    Following also ends when the descriptor ``hangup_fd`` becomes readable. Refreshes the pod's state. Raises RktpyError when the
    log cannot be read.
    """
    if pod.bundled_stage1 in _FILES:
        from rktpy.stage0 import log_files

        return log_files.entries(pod, query, hangup_fd)
    from rktpy.stage0 import journal

    return journal.entries(pod, query, hangup_fd)
