"""Limits on images as they are written on the command line."""

from __future__ import annotations

import pytest

from rktpy.errors import UsageError
from rktpy.store.limits import DEFAULT_LIMITS, Limits, limits_from_text


def test_limits_as_text() -> None:
    assert limits_from_text("max-entries=5") == DEFAULT_LIMITS.replace(max_entries=5)
    assert limits_from_text("max-unpacked-bytes=2G, max-depth=3") == Limits(max_unpacked_bytes=2 << 30, max_depth=3)
    assert limits_from_text("max-ratio=1K", Limits(max_depth=9)) == Limits(max_ratio=1024, max_depth=9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max-entries",
        "max-entries=",
        "entries=5",
        "max-entries=-1",
        "max-entries=1.5",
        "max-entries=5KK",
        "max-entries=1,max-entries=2",
        "max-entries=\u0665",
    ],
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(UsageError):
        limits_from_text(text)
