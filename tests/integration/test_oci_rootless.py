"""Containers of a user that is not root."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import need_tool
from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root
_USER = 65534


@pytest.fixture
def rootless(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> Runtime:
    """A runtime that acts as another user, whose the bundle is; the configuration is the one of ``spec --rootless``."""
    if not runtime.ours:
        pytest.skip("about ours")
    directory = Path("/run/rootless-test") / tmp_path.name
    directory.mkdir(parents=True)
    runtime.root = directory / "state"
    runtime.command = [need_tool("setpriv"), f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *runtime.command]
    shutil.move(bundle.path, directory / "bundle")
    bundle.path = directory / "bundle"
    bundle.rootfs = bundle.path / "rootfs"
    subprocess.run(["chown", "-R", f"{_USER}:{_USER}", str(directory)], check=True)
    runtime("spec", "--rootless", "--bundle", str(bundle.path))
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.config["process"].update({"terminal": False, "env": ["PATH=/bin"]})
    (bundle.path / "config.json").unlink()
    return runtime


def test_run(rootless: Runtime, bundle: Bundle) -> None:
    assert rootless.run(bundle("id -u; cat /proc/self/uid_map")).split() == ["0", "0", str(_USER), "1"]


def test_life(rootless: Runtime, bundle: Bundle) -> None:
    rootless.create(bundle("sleep 60"), "one")
    assert rootless.state("one")["status"] == "created"
    rootless("start", "one")
    assert rootless("exec", "one", "id", "-u").stdout == "0\n"
    rootless("kill", "one", "KILL")
    rootless.wait_for("one", "stopped")
    rootless("delete", "one")
