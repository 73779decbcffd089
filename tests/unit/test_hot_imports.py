"""What the fast commands load, by name: exact where a limit in milliseconds could not be.

A module that is missing from a list here costs every call of the command; before adding one, see what it costs
(``/usr/bin/python3 -I -S -X importtime``) and whether the command can load it only when it is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rktpy.store.tree_ready import tree_id
from tests.conftest import ROOT, SYSTEM_PYTHON

PYTHON = SYSTEM_PYTHON if os.path.exists(SYSTEM_PYTHON) else sys.executable
UUID = "5bc080ca-9e03-480d-b705-5928af396cc5"

# Free: built into the interpreter or frozen, and used anyhow.
STANDARD = frozenset(
    "__future__ _collections_abc _json _stat errno fcntl gc genericpath os os.path posixpath stat time".split()  # noqa: SIM905
)
MAIN = frozenset(
    f"rktpy{name}"
    for name in (
        "",
        ".__main__",
        ".cli",
        ".cli.command",
        ".cli.commands",
        ".cli.durations",
        ".cli.flags",
        ".cli.image_commands",
        ".cli.output",
        ".cli.parse",
        ".cli.report",
        ".cli.usage",
        ".errors",
        ".log",
    )
)
SETTINGS = frozenset(("rktpy.cli.settings", "rktpy.cli.values", "rktpy.record", "rktpy.stage0", "rktpy.stage0.options"))
PODS = frozenset(
    (
        "rktpy.cli.pod_arguments",
        "rktpy.formats",
        "rktpy.formats.jsondoc",
        "rktpy.stage0.pod_files",
        "rktpy.stage0.pod_states",
        "rktpy.stage0.pods",
    )
)
TABLE = frozenset(("rktpy.cli.tabular", "rktpy.cli.times"))

ALLOWED = {
    "version": MAIN | {"rktpy.cli.version"},
    "list": MAIN | SETTINGS | PODS | TABLE | {"rktpy.cli.list", "rktpy.stage0.status"},
    "list --format=json": MAIN | SETTINGS | PODS | {"rktpy.cli.list", "rktpy.stage0.status"},
    f"status {UUID}": MAIN | SETTINGS | PODS | {"rktpy.cli.status", "rktpy.cli.times", "rktpy.stage0.status"},
    f"stop {UUID}": MAIN | SETTINGS | PODS | {"rktpy.cli.stop"},
    "image list": MAIN
    | SETTINGS
    | TABLE
    | PODS
    | {
        "_sha512",
        "rktpy.cli.image_ids",
        "rktpy.cli.image_list",
        "rktpy.cli.sizes",
        "rktpy.formats.aci",
        "rktpy.formats.aci.document",
        "rktpy.formats.aci.types",
        "rktpy.store",
        "rktpy.store.image_record",
        "rktpy.store.listing",
        "rktpy.store.locks",
        "rktpy.store.lookup",
        "rktpy.store.paths",
        "rktpy.store.store",
        "rktpy.store.tree_ready",
        "rktpy.store.tree_size",
    },
}

PROGRAM = """
import sys
before = set(sys.modules)
sys.path += [{root!r}]
from rktpy.__main__ import main
status = main({argv!r})
loaded = sorted(set(sys.modules) - before)
import json
json.dump([status, loaded], open({result!r}, "w"))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a prepared pod, the record of an image and its tree."""
    directory = tmp_path / "data"
    pod = directory / "pods/prepared" / UUID
    pod.mkdir(parents=True)
    image_id = "sha512-" + "ab" * 64
    app = {"name": "a", "image": {"id": image_id, "name": "example.com/a"}}
    (pod / "pod").write_text(json.dumps({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [app]}))
    (pod / "pod-created").touch()
    images = directory / "cas/images"
    images.mkdir(parents=True)
    record = {
        "recordVersion": 1,
        "id": image_id,
        "format": "aci",
        "name": "example.com/a",
        "labels": [],
        "importTime": 1,
        "size": 1,
        "latest": False,
        "blobs": [],
        "layers": [],
        "references": [],
        "evidence": [],
        "indexDigest": None,
    }
    (images / image_id).write_text(json.dumps(record))
    tree = directory / "cas/tree" / tree_id([image_id])
    tree.mkdir(parents=True)
    (tree / "size").write_text("1000\n")
    return directory


@pytest.mark.parametrize("line", ALLOWED)
def test_only_these_modules_are_loaded(line: str, data: Path, tmp_path: Path) -> None:
    result = tmp_path / "result"
    places = [f"--dir={data}", f"--local-config={tmp_path}/local", f"--system-config={tmp_path}/system"]
    argv = [*([] if line == "version" else places), *line.split()]
    program = PROGRAM.format(root=str(ROOT), argv=argv, result=str(result))
    done = subprocess.run([PYTHON, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    status, loaded = json.loads(result.read_text())
    assert status == (254 if line.startswith("stop") else 0), done.stderr
    allowed = ALLOWED[line] | STANDARD
    assert sorted(set(loaded) - allowed) == []
    # A module that is allowed for no reason would hide the next one.
    assert sorted(ALLOWED[line] - set(loaded)) == []


def test_only_the_services_load_what_services_need() -> None:
    """Importing every command's module, and stage0's, loads no server, no gRPC and no protobuf."""
    lines = (
        "import os, sys",
        f"sys.path += [{str(ROOT)!r}, *{[p for p in sys.path if p.endswith('site-packages')]!r}]",
        "for package in ('cli', 'stage0', 'formats'):",
        f"    for name in sorted(os.listdir(os.path.join({str(ROOT)!r}, 'rktpy', package))):",
        "        if name.endswith('.py') and name != '__init__.py':",
        "            __import__(f'rktpy.{package}.{name[:-3]}')",
        "print(*sorted(set(sys.modules) & {'grpc', 'google.protobuf', 'http.server', 'socketserver', 'asyncio'}))",
    )
    done = subprocess.run([PYTHON, "-I", "-S", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"
