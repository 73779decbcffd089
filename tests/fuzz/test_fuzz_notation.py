"""Some seconds of fuzzing what reads Notary Project signatures and time stamps; longer with ``python -m tests.fuzz.notation``."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fuzz.notation import Target, run

SECONDS = float(os.environ.get("RKTPY_FUZZ_SECONDS", "20"))


@pytest.mark.slow
def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    count, data, error = run(tmp_path, SECONDS, seed)
    assert error is None, f"seed {seed}, input {count}: {error!r} for {data!r}"
    assert count > SECONDS, "too slow to find anything"


def test_the_target_reads_what_is_right_and_notices_what_is_not(tmp_path: Path) -> None:
    target = Target(tmp_path)
    for data in target.corpus():
        target(data)
    assert target.accepted >= 6
    with pytest.raises(AssertionError):
        target._good["application/jose+json"]["expiry"] = 7
        target(target.jws)
