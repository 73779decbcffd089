"""Log files of containers as the Kubernetes CRI wants them, made of entries of a pod's journal.

A line is ``<time> <stream> <tag> <text>``: the time in RFC 3339 with nanoseconds, ``stdout`` or ``stderr``, and ``F`` for a line
that ends here or ``P`` for one that goes on in the next. Source: Kubernetes ``docs/proposals/kubelet-cri-logging.md``; where the
file goes is said by the annotations of formats/stage1.py (rkt 1.30's ``logmode=k8s-plain``).

The journal does not tell standard output from standard error. What writes to it marks lines of standard error by the priority
``err`` (3) or worse; :data:`STDOUT_MARK` and :data:`STDERR_MARK` are how a line on a stream that goes to the journal says so.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.cri_line import log_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LOG_MODE_PLAIN = "k8s-plain"  # the value of the annotation LOG_MODE

#: sd-daemon(3) prefixes, which journald takes off where SyslogLevelPrefix=yes.
STDOUT_MARK = b"<6>"
STDERR_MARK = b"<3>"
_WORST_OF_STDOUT = 4


def log_line_of_entry(entry: Mapping[str, Any]) -> bytes:
    """The lines for an entry of the journal: its fields by name, text or bytes; empty when it has no message.

    ``__REALTIME_TIMESTAMP`` is in microseconds since the epoch.
    """
    message = entry.get("MESSAGE")
    if message is None:
        return b""
    if isinstance(message, list):  # an entry may have a field several times
        message = message[-1]  # pyright: ignore[reportUnknownVariableType]
    data: bytes = message if isinstance(message, bytes) else str(message).encode("utf-8", "surrogateescape")  # pyright: ignore[reportUnknownArgumentType]
    return log_line(
        int(entry["__REALTIME_TIMESTAMP"]) * 1000,
        stream_of(entry.get("PRIORITY")),
        data,
        partial=_text(entry.get("_LINE_BREAK")) == "line-max",
    )


def stream_of(priority: object) -> str:
    """The stream that an entry of this priority (as the journal has it, or None) was written to."""
    text = _text(priority)
    return "stderr" if len(text) == 1 and "0" <= text < str(_WORST_OF_STDOUT) else "stdout"


def parse_log_line(line: bytes, what: str = "line of a log") -> tuple[int, str, bytes, bool]:
    """When it was written (nanoseconds since the epoch), its stream, the text, and whether the line goes on in the next.

    ``line`` is without its newline. Raises FormatError.
    """
    words = line.split(b" ", 3)
    if len(words) != 4 or words[1] not in (b"stdout", b"stderr") or words[2].split(b":")[0] not in (b"F", b"P"):
        raise FormatError(what, "", "is not of the form of Kubernetes")
    return _nanoseconds(words[0].decode("ascii", "replace"), what), words[1].decode(), words[3], words[2][:1] == b"P"


def _nanoseconds(text: str, what: str) -> int:
    """A time of RFC 3339 since the epoch."""
    from calendar import timegm

    date, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    whole, _dot, fraction = date.partition(".")
    numbers = [whole[:4], whole[5:7], whole[8:10], whole[11:13], whole[14:16], whole[17:19], zone[1:3], zone[4:6]]
    if len(whole) != 19 or not all(number.isascii() and number.isdigit() for number in [*numbers, fraction or "0"]):
        raise FormatError(what, "", f"{text!r} is no time of RFC 3339")
    year, month, day, hour, minute, second, hours, minutes = map(int, numbers)
    offset = (hours * 60 + minutes) * (-60 if zone[:1] == "-" else 60)
    seconds = timegm((year, month, day, hour, minute, second)) - offset
    return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def log_file_name(path: str) -> str:
    """The name inside the log directory that the annotation ``kubernetes-log-path`` gives.

    Raises FormatError unless it is a path without ``..`` that stays in the directory.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in path or path[:1] == "/":
        raise FormatError("annotation kubernetes-log-path", "", f"{path!r} is not a path inside the log directory")
    return "/".join(parts)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)
