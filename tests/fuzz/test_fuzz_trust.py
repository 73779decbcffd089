"""Some seconds of fuzzing what reads policies and simple-signing signatures; longer with ``python -m tests.fuzz.trust``."""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz import trust

SECONDS = float(os.environ.get("RKTPY_FUZZ_SECONDS", "20"))


@pytest.mark.slow
def test_any_bytes_are_read_or_refused() -> None:
    seed = random.randrange(1 << 32)
    count, data, error = trust.run(SECONDS, seed)
    assert error is None, f"seed {seed}, input {count}: {error!r} for {data!r}"
    assert count > SECONDS, "too slow to find anything"


def test_the_seeds_are_what_they_are_taken_for(monkeypatch: pytest.MonkeyPatch) -> None:
    took = [trust.target(data) for data in trust.CORPUS]
    assert set().union(*took) >= {"policy", "claims", "message", "kept", "registries.d"}
    assert sum("message" in one for one in took) == 4
    # A reader that lets something through that it must not is noticed.
    monkeypatch.setattr(trust, "MAX_SIZE", 1)
    with pytest.raises(AssertionError):
        trust.target(trust.MESSAGE)
