"""A minute of fuzzing the ACI and layer readers; longer by hand with ``python -m tests.fuzz``.

RKTPY_FUZZ_SECONDS sets another time for both tests together.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from tests.fuzz import archives
from tests.fuzz.loop import run

SECONDS = float(os.environ.get("RKTPY_FUZZ_SECONDS", "60"))


@pytest.mark.slow
def test_reading_any_bytes() -> None:
    seed = random.randrange(1 << 32)
    count, finding = run(archives.read, SECONDS / 2, seed)
    assert finding is None, f"seed {seed}, input {count}: {finding}"
    assert count > SECONDS, "too slow to find anything"


@pytest.mark.slow
@pytest.mark.root
def test_unpacking_any_bytes(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    count, finding = run(archives.Unpacking(tmp_path), SECONDS / 2, seed)
    assert finding is None, f"seed {seed}, input {count}: {finding}"
    assert count > SECONDS, "too slow to find anything"


def test_the_loop_finds_what_is_there() -> None:
    def target(data: bytes) -> None:
        if b"../outside" in data and b"GNU.sparse" in data:
            raise AssertionError("planted")

    _count, finding = run(target, 30, 1)
    assert finding is not None
    assert "planted" in str(finding.error)


def test_the_readers_are_fuzzed_by_atheris_where_it_is_installed() -> None:
    pytest.importorskip("atheris")
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--atheris", "--seconds", "3"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).resolve().parent.parent.parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "cov:" in done.stderr
