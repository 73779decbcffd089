"""Dates and times of the Internet (RFC 3339) as seconds since the epoch. Hot-path module."""

from __future__ import annotations

from rktpy.formats.aci.types import is_date
from rktpy.formats.der import days_since_epoch

_LONGEST = 64


def seconds_of(text: str) -> int:
    """The whole second that an RFC 3339 date and time lies in (``2024-05-06T07:08:09Z``), counted from the epoch.

    Raises ValueError for other text, and for times before 1970.
    """
    if len(text) > _LONGEST or not text.isascii() or not is_date(text):
        raise ValueError("is not an RFC 3339 time")
    days = days_since_epoch(int(text[:4]), int(text[5:7]), int(text[8:10]))
    seconds = days * 86400 + int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
    if not text.endswith("Z"):
        shift = int(text[-5:-3]) * 3600 + int(text[-2:]) * 60
        seconds += shift if text[-6] == "-" else -shift
    if seconds < 0:
        raise ValueError("is a time before 1970")
    return seconds


def text_of(seconds: int) -> str:
    """A time in seconds since the epoch in UTC (``2024-05-06T07:08:09Z``)."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
