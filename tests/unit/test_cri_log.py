"""Lines of Kubernetes log files (formats/cri_log.py)."""

from __future__ import annotations

from typing import Any

import pytest

from rktpy.errors import FormatError
from rktpy.formats.cri_log import log_file_name, log_line, log_line_of_entry, stream_of

WHEN = {"__REALTIME_TIMESTAMP": 1_475_712_000_669_794}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"MESSAGE": b"a b"}, "stdout F a b\n"),
        ({"MESSAGE": "text", "PRIORITY": "6"}, "stdout F text\n"),
        ({"MESSAGE": b"bad", "PRIORITY": b"3"}, "stderr F bad\n"),
        ({"MESSAGE": b"part", "_LINE_BREAK": "line-max", "PRIORITY": 3}, "stderr P part\n"),
        ({"MESSAGE": b"end", "_LINE_BREAK": b"eof"}, "stdout F end\n"),
        ({"MESSAGE": [b"first", b"last"]}, "stdout F last\n"),
        ({"MESSAGE": b""}, "stdout F \n"),
    ],
)
def test_entries(entry: dict[str, Any], line: str) -> None:
    assert log_line_of_entry({**entry, **WHEN}) == f"2016-10-06T00:00:00.669794000Z {line}".encode()


def test_an_entry_without_a_message_is_no_line() -> None:
    assert log_line_of_entry(WHEN) == b""


def test_lines() -> None:
    assert log_line(0, "stdout", b"\xff\x00") == b"1970-01-01T00:00:00.000000000Z stdout F \xff\x00\n"
    assert log_line(1, "stderr", b"a\nb", partial=True) == (
        b"1970-01-01T00:00:00.000000001Z stderr F a\n1970-01-01T00:00:00.000000001Z stderr P b\n"
    )


def test_streams() -> None:
    assert [stream_of(priority) for priority in ("0", 3, b"3")] == ["stderr"] * 3
    assert [stream_of(priority) for priority in ("4", 6, None, "", "33", "x")] == ["stdout"] * 6


def test_file_names() -> None:
    assert log_file_name("hello_0.log") == "hello_0.log"
    assert log_file_name("a//./b.log") == "a/b.log"
    for path in ("", ".", "..", "a/../../b", "/etc/passwd", "a\0b"):
        with pytest.raises(FormatError, match="is not a path inside the log directory"):
            log_file_name(path)
