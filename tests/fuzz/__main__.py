"""Fuzz the archive readers by hand: ``python -m tests.fuzz [--seconds N] [--seed N] [--unpack] [--atheris [libFuzzer options]]``.

With ``--unpack`` inputs are unpacked too, which needs root: run it through tests/sandbox.py. With ``--atheris`` the inputs come
from libFuzzer, guided by coverage. An input that breaks a promise is kept as ``crash-<sha256>`` in the working directory.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.fuzz import archives
from tests.fuzz.loop import run
from tests.fuzz.mutate import seeds


def main() -> int:
    """Parse the command line and fuzz; the exit status is 1 after a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unpack", action="store_true")
    parser.add_argument("--atheris", action="store_true")
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory:
        target: Callable[[bytes], None] = archives.Unpacking(Path(directory)) if options.unpack else archives.read
        if options.atheris:
            return _atheris(target, options.seconds, rest)
        count, finding = run(target, options.seconds, options.seed)
    sys.stdout.write(f"{count} inputs\n")
    if finding is None:
        return 0
    name = f"crash-{hashlib.sha256(finding.data).hexdigest()}"
    Path(name).write_bytes(finding.data)
    sys.stdout.write(f"{finding.error!r}\nthe input is in {name}\n")
    return 1


def _atheris(target: Callable[[bytes], None], seconds: float, rest: list[str]) -> int:
    atheris: Any = import_module("atheris")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / f"seed{number}").write_bytes(seed)
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", "-max_len=65536", *rest, corpus], target)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
