"""A line of a container's log file as the Kubernetes CRI wants it, see ``cri_log``.

Imports nothing of this package: the multiplexer in a pod has a copy of this file beside it. Hot-path module.
"""

from __future__ import annotations

from time import gmtime


def log_line(when_ns: int, stream: str, message: bytes, *, partial: bool = False) -> bytes:
    """The lines, each with its newline, for one piece of output that was written at ``when_ns`` (since the epoch, UTC).

    ``stream`` is ``stdout`` or ``stderr``; ``partial`` says that the last line is not finished. A newline inside ``message``
    begins a new line.
    """
    head = f"{_time(when_ns)} {stream} ".encode()
    *whole, last = message.split(b"\n")
    lines = [b"%sF %s\n" % (head, line) for line in whole]
    lines.append(b"%s%s %s\n" % (head, b"P" if partial else b"F", last))
    return b"".join(lines)


def _time(when_ns: int) -> str:
    seconds, rest = divmod(when_ns, 1_000_000_000)
    t = gmtime(seconds)
    return f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}.{rest:09}Z"
