"""What setting networks up and taking them down load, by name: they are on the way to an app's first instruction."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, SYSTEM_PYTHON
from tests.unit.test_hot_imports import STANDARD

PYTHON = SYSTEM_PYTHON if os.path.exists(SYSTEM_PYTHON) else sys.executable

#: Free as well, see test_hot_imports.
FREE = {"_socket", "_struct", "binascii", "select", "struct"}
BOTH = {
    "rktpy",
    "rktpy.errors",
    "rktpy.formats",
    "rktpy.formats.aci",
    "rktpy.formats.aci.document",
    *(f"rktpy.formats.cni{name}" for name in ("", ".addresses", ".cache", ".configuration", ".failure", ".net_info", ".result")),
    "rktpy.formats.cni.versions",
    "rktpy.formats.jsondoc",
    "rktpy.formats.stage1",
    "rktpy.linux",
    "rktpy.linux._sys",
    "rktpy.linux.constants",
    "rktpy.linux.syscalls",
    "rktpy.log",
    "rktpy.net",
    "rktpy.net.attach",
    "rktpy.net.execute",
    "rktpy.net.namespace",
    "rktpy.net.records",
    "rktpy.record",
}
ALLOWED = {
    "set_up": BOTH | {"rktpy.net.builtin", "rktpy.net.selection", "rktpy.net.set_up"},
    "tear_down": BOTH | {"rktpy.net.masquerade", "rktpy.net.tear_down"},
}

PROGRAM = """
import sys
before = set(sys.modules)
sys.path += [{root!r}]
import rktpy.net.{module}
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps(loaded))
"""


@pytest.mark.parametrize("module", ALLOWED)
def test_only_these_modules_are_loaded(module: str) -> None:
    program = PROGRAM.format(root=str(ROOT), module=module)
    done = subprocess.run([PYTHON, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout))
    if "rktpy.linux._ctypes" in loaded:
        pytest.skip("the C extension is not built")
    allowed = ALLOWED[module] | STANDARD | FREE
    assert sorted(loaded - allowed) == []
    # A module that is allowed for no reason would hide the next one.
    assert sorted(ALLOWED[module] - loaded) == []
