"""Times on the command line of ``logs``: points in time, or how long ago."""

from __future__ import annotations

from datetime import datetime

from rktpy.cli.durations import parse_duration
from rktpy.cli.usage import ArgumentsError
from rktpy.errors import UsageError


def parse_time(text: str, flag: str, now_us: int) -> int:
    """The time that ``text`` means, in microseconds since the epoch; ``now_us`` is now. Raises :class:`ArgumentsError`.

    A duration (``1h30m``) is that long ago; a number with or without ``@`` before it is seconds since the epoch; ``now`` is now;
    anything else a date and time of ISO 8601, in the local time zone if it names none.
    """
    if text == "now":
        return now_us
    number = text.removeprefix("@")
    if number.replace(".", "", 1).isdecimal() and number.isascii() and len(number) < 30:
        whole, _point, fraction = number.partition(".")
        return int(whole or "0") * 1_000_000 + int((fraction + "000000")[:6])
    try:
        return now_us - abs(parse_duration(text)) // 1000
    except UsageError:
        pass
    try:
        when = datetime.fromisoformat(text)
        return int(when.astimezone().timestamp() * 1_000_000)
    except (ValueError, OverflowError, OSError):
        raise ArgumentsError(f"--{flag}: {text!r} is neither a time nor a duration") from None
