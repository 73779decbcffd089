"""What rendering tells malloc, seen from outside: fewer pages are cleared by the kernel."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import resource, sys
sys.path.insert(0, {root!r})
from rktpy.store.pipeline import retain_memory
if {retain}:
    retain_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

# As chunks of a layer come and go.
for count in (4, 4, 200):
    before = faults()
    for _ in range(count):
        blocks = [bytearray(b"x" * (1 << 20)) for _ in range(4)]
        del blocks
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have other rules")
def test_freed_memory_is_used_again() -> None:
    faults: dict[bool, int] = {}
    for retain in (False, True):
        program = PROGRAM.format(root=str(ROOT), retain=retain)
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True)
        faults[retain] = int(done.stdout)
    assert faults[True] * 10 < faults[False], faults
