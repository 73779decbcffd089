"""Times as rkt prints them: exact in the local time zone, or as a distance from now. Hot-path module."""

from __future__ import annotations

from time import localtime, time_ns

_SECOND_NS = 1_000_000_000
_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_MONTH = 30 * _DAY
_YEAR = 12 * _MONTH

# (below this many seconds, text, divisor of the number of seconds)
_DISTANCES = (
    (1, "now", 0),
    (2, "1 second", 0),
    (_MINUTE, "seconds", 1),
    (2 * _MINUTE, "1 minute", 0),
    (_HOUR, "minutes", _MINUTE),
    (2 * _HOUR, "1 hour", 0),
    (_DAY, "hours", _HOUR),
    (2 * _DAY, "1 day", 0),
    (_WEEK, "days", _DAY),
    (2 * _WEEK, "1 week", 0),
    (_MONTH, "weeks", _WEEK),
    (2 * _MONTH, "1 month", 0),
    (_YEAR, "months", _MONTH),
    (18 * _MONTH, "1 year", 0),
    (2 * _YEAR, "2 years", 0),
    (37 * _YEAR, "years", _YEAR),
)


def exact(when_ns: int) -> str:
    """A time in ns since the epoch as Go's layout ``2006-01-02 15:04:05.999 -0700 MST`` in the local time zone."""
    seconds, rest = divmod(when_ns, _SECOND_NS)
    t = localtime(seconds)
    milliseconds = rest // 1_000_000
    fraction = f".{milliseconds:03}".rstrip("0") if milliseconds else ""
    offset = t.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset), 60)
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}{fraction}"
        f" {sign}{hours:02}{minutes:02} {t.tm_zone}"
    )


def distance(when_ns: int, now_ns: int | None = None) -> str:
    """How long ago a time is, in words: ``2 minutes ago``. Both in ns since the epoch; ``now_ns`` is now if not given."""
    now = time_ns() if now_ns is None else now_ns
    seconds = abs(now // _SECOND_NS - when_ns // _SECOND_NS)
    label = "from now" if when_ns > now else "ago"
    for limit, text, divisor in _DISTANCES:
        if seconds < limit:
            if limit == 1:
                return text
            return f"{seconds // divisor} {text} {label}" if divisor else f"{text} {label}"
    return f"a long while {label}"
