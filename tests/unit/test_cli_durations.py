"""Durations and truth values as Go reads them (cases from the documentation of time.ParseDuration and strconv.ParseBool)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.cli.durations import parse_bool, parse_duration
from rktpy.errors import UsageError

S = 10**9
UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": S, "m": 60 * S, "h": 3600 * S}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("5s", 5 * S),
        ("+5s", 5 * S),
        ("-5s", -5 * S),
        ("1478s", 1478 * S),
        ("5.s", 5 * S),
        (".5s", S // 2),
        ("1.004s", 1_004_000_000),
        ("100.00100s", 100_001_000_000),
        ("10ns", 10),
        ("11us", 11_000),
        ("12µs", 12_000),
        ("12μs", 12_000),
        ("3h30m", 12600 * S),
        ("4m10.5s", 250_500_000_000),
        ("39h9m14.425s", 140_954_425_000_000),
        ("0.3333333333333333333h", 1_199_999_999_999),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
    ],
)
def test_durations(text: str, value: int) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "-",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "1d",
        "1 s",
        "9223372036854775808ns",
        "2562048h",
        "1h-1m",
        "٣s",
        "9" * 5000 + "s",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match=r"^time: "):
        parse_duration(text)


@given(
    st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4),
    st.booleans(),
)
def test_durations_are_sums(parts: list[tuple[int, int, str]], negative: bool) -> None:
    text = "".join(f"{whole}.{fraction:03}{unit}" for whole, fraction, unit in parts)
    total = sum(int(Fraction(whole * 1000 + fraction, 1000) * UNITS[unit]) for whole, fraction, unit in parts)
    assert parse_duration("-" + text if negative else text) == (-total if negative else total)


@given(st.text())
def test_truth_values(text: str) -> None:
    for word in ("1", "t", "T", "TRUE", "true", "True"):
        assert parse_bool(word) is True
    for word in ("0", "f", "F", "FALSE", "false", "False"):
        assert parse_bool(word) is False
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        with pytest.raises(UsageError):
            parse_bool(text)


@pytest.mark.parametrize("text", ["", "tRUE", "yes", "no", "on", " true"])
def test_no_truth_values(text: str) -> None:
    with pytest.raises(UsageError, match=r"^strconv\.ParseBool: parsing"):
        parse_bool(text)
