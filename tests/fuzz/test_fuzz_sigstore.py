"""Fuzz what reads cosign signatures, bundles and trusted roots for some seconds; longer: ``python -m tests.fuzz.sigstore``."""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz.sigstore import Target, run

SECONDS = float(os.environ.get("RKTPY_FUZZ_SECONDS", "20"))


@pytest.mark.slow
def test_any_bytes_are_read_or_refused() -> None:
    seed = random.randrange(1 << 32)
    count, data, error = run(SECONDS, seed)
    assert error is None, f"seed {seed}, input {count}: {error!r} for {data!r}"
    assert count > SECONDS, "too slow to find anything"


def test_the_target_reads_what_is_right_and_notices_what_is_not() -> None:
    target = Target()
    for data in target.corpus():
        target(data)
    assert target.accepted >= len(target.corpus())
    target._good["keys"]["subjects"] = []
    with pytest.raises(AssertionError):
        target(target.keyed)
