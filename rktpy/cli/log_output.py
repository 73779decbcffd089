"""The forms in which ``logs`` prints an entry."""

from __future__ import annotations

from time import localtime

from rktpy.formats import jsondoc
from rktpy.log import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.stage0.logs import Entry

FORMS = ("short", "cat", "json")


def entry_bytes(entry: Entry, form: str) -> bytes:
    """An entry as ``--output`` wants it, with its newline."""
    if form == "json":
        return json_line(entry)
    if form == "cat":
        # As the app wrote it: a very long line comes in pieces.
        return entry.message if entry.partial else entry.message + b"\n"
    # What was written to a terminal ends in a carriage return.
    text = harmless(entry.message.decode("utf-8", "backslashreplace").rstrip("\r"))
    process = f"{entry.app}[{entry.pid}]" if entry.pid else entry.app
    head = f"{_time(entry.when_us)} {process}: "
    return "".join([f"{head}{line}\n" for line in text.split("\n")]).encode()


def json_line(entry: Entry) -> bytes:
    """The fields of the journal as journalctl -o json shows them: text, or a list of numbers for what is not UTF-8."""
    document: dict[str, Any] = {}
    for name, value in entry.fields.items():
        if name == "__MONOTONIC_TIMESTAMP":
            document[name] = str(value[0])
        elif type(value) is list:
            values: list[object] = value  # pyright: ignore[reportUnknownVariableType]
            document[name] = [_shown(one) for one in values]
        else:
            document[name] = _shown(value)
    return jsondoc.dump(document) + b"\n"


def _shown(value: object) -> str | list[int]:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return list(value)
    return str(value)


def _time(when_us: int) -> str:
    seconds, rest = divmod(when_us, 1_000_000)
    t = localtime(seconds)
    offset = t.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset), 60)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}.{rest:06}"
        f"{sign}{hours:02}:{minutes:02}"
    )
