"""Tables, times and sizes as rkt prints them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.cli.sizes import binary_size
from rktpy.cli.tabular import align
from rktpy.cli.times import distance, exact
from tests.conftest import ROOT

S = 10**9


@pytest.mark.parametrize(
    ("text", "aligned"),
    [
        ("", ""),
        ("a", "a"),
        ("a\tb", "a\tb"),
        ("a\tb\nlong name\tc", "a\t\tb\nlong name\tc"),
        ("1234567\tx\n12345678\ty", "1234567\t\tx\n12345678\ty"),
        # An empty cell still ends in a tab, and the last cell of a line is in no column.
        ("a\t\tb", "a\t\tb"),
        ("a\tlonger than all\nbb\tc\td", "a\tlonger than all\nbb\tc\td"),
        # A line without a cell in a column ends the column above it.
        ("123456789\tx\n\nab\ty", "123456789\tx\n\nab\ty"),
        ("a\tb\tc\naaaaaaaaa\tb\nb\tbbbbbbbbbb\tc", "a\t\tb\tc\naaaaaaaaa\tb\nb\t\tbbbbbbbbbb\tc"),
        ("é\tx\n12345678\ty", "é\t\tx\n12345678\ty"),
        ("x\t\nyyyyyyyyy\t", "x\t\t\nyyyyyyyyy\t"),
    ],
)
def test_columns(text: str, aligned: str) -> None:
    assert align(text) == aligned


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(st.text("ab", max_size=20), min_size=n, max_size=n), min_size=1)))
def test_cells_below_one_another_start_at_the_same_stop(rows: list[list[str]]) -> None:
    starts = [0]
    for column in zip(*rows, strict=True):
        starts.append(starts[-1] + (max(map(len, column)) // 8 + 1) * 8)
    for line, row in zip(align("\n".join("\t".join(row) for row in rows)).split("\n"), rows, strict=True):
        shown = line.expandtabs(8)
        for start, cell in zip(starts, row, strict=False):
            assert shown[start : start + len(cell)] == cell
        assert len(shown) == starts[len(row) - 1] + len(row[-1])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (1, "1 second ago"),
        (12, "12 seconds ago"),
        (30, "30 seconds ago"),
        (60, "1 minute ago"),
        (119, "1 minute ago"),
        (120, "2 minutes ago"),
        (3600, "1 hour ago"),
        (7200, "2 hours ago"),
        (86400, "1 day ago"),
        (2 * 86400, "2 days ago"),
        (7 * 86400, "1 week ago"),
        (14 * 86400, "2 weeks ago"),
        (30 * 86400, "1 month ago"),
        (60 * 86400, "2 months ago"),
        (360 * 86400, "1 year ago"),
        (540 * 86400, "2 years ago"),
        (3 * 360 * 86400, "3 years ago"),
        (37 * 360 * 86400, "a long while ago"),
        (-30, "30 seconds from now"),
    ],
)
def test_distances(seconds: int, text: str) -> None:
    now = 2 * 10**18
    assert distance(now - seconds * S, now) == text


@pytest.mark.parametrize(
    ("zone", "when", "text"),
    [
        ("UTC", 1453736552 * S + 563 * 10**6, "2016-01-25 15:42:32.563 +0000 UTC"),
        ("Europe/Berlin", 1453736552 * S + 563 * 10**6, "2016-01-25 16:42:32.563 +0100 CET"),
        ("Europe/Berlin", 1467360000 * S, "2016-07-01 10:00:00 +0200 CEST"),
        ("America/St_Johns", 1453736552 * S + 100 * 10**6, "2016-01-25 12:12:32.1 -0330 NST"),
        ("UTC", 1453736552 * S + 50 * 10**6, "2016-01-25 15:42:32.05 +0000 UTC"),
        ("UTC", 1453736552 * S + 999_999, "2016-01-25 15:42:32 +0000 UTC"),
    ],
)
def test_exact_times(zone: str, when: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists(f"/usr/share/zoneinfo/{zone}"):
        pytest.skip("no time zone data")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert exact(when) == text
    finally:
        monkeypatch.undo()
        time.tzset()


def test_exact_times_are_those_of_datetime() -> None:
    program = "from rktpy.cli.times import exact; print(exact(1700000000123456789))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"TZ": "UTC"}, capture_output=True, text=True, check=True
    )
    when = datetime.fromtimestamp(1700000000, UTC)
    assert done.stdout == f"{when:%Y-%m-%d %H:%M:%S}.123 +0000 UTC\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (9, "9B"),
        (10, "10B"),
        (1023, "1023B"),
        (1024, "1.0KiB"),
        (1536, "1.5KiB"),
        (10 * 1024, "10KiB"),
        (82854982, "79MiB"),
        (12 * 2**20, "12MiB"),
        (150_994_944, "144MiB"),
        (2**30 + 2**29, "1.5GiB"),
        (2**60, "1.0EiB"),
        (10762, "10KiB"),
        (11 * 1024 + 512, "12KiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert binary_size(size) == text


@given(st.integers(10, 2**62))
def test_sizes_are_near(size: int) -> None:
    text = binary_size(size)
    digits = text.rstrip("KMGTPEiB")
    power = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(text[len(digits) :])
    assert abs(float(digits) * 1024**power - size) <= (0.051 if "." in digits else 0.551) * 1024**power
