"""A bounded fuzzing loop that needs nothing installed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from tests.fuzz.mutate import Mutator, seeds


class Finding(NamedTuple):
    """An input and what it made the target raise."""

    data: bytes
    error: BaseException


def run(target: Callable[[bytes], None], seconds: float, seed: int) -> tuple[int, Finding | None]:
    """Feed mutated archives to ``target`` for some time; returns how many there were, and the first that made it raise."""
    corpus = seeds()
    mutator = Mutator(seed, corpus)
    end = time.monotonic() + seconds
    count = 0
    pending = list(corpus)
    while time.monotonic() < end:
        data = pending.pop() if pending else mutator.next()
        count += 1
        start = time.monotonic()
        try:
            target(data)
        except Exception as error:
            return count, Finding(data, error)
        if time.monotonic() - start > 10:
            return count, Finding(data, TimeoutError("this input takes more than ten seconds"))
    return count, None
