"""The tool is replaced while pods run: they go on, and the new version manages them."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.conftest import ROOT, SYSTEM_PYTHON, Rktpy
from tests.support.leftovers import left_after_a_while
from tests.support.pods import Running, document, states

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "systemd")]
SCRIPT = "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.05; done"


def install(target: Path, version: str) -> Path:
    """A copy of the package that says another version; its launcher."""
    shutil.copytree(ROOT / "rktpy", target / "rktpy", ignore=shutil.ignore_patterns("__pycache__"))
    marker = target / "rktpy/__init__.py"
    marker.write_text(marker.read_text().replace('__version__ = "0.1.0"', f'__version__ = "{version}"'))
    launcher = target / "rktpy-launcher"
    argv = [
        SYSTEM_PYTHON,
        str(ROOT / "rktpy/launcher.py"),
        str(launcher),
        SYSTEM_PYTHON,
        str(target),
        sysconfig.get_path("platlib"),
    ]
    subprocess.run(argv, check=True)
    return launcher


def version(rktpy: Rktpy) -> str:
    return rktpy("version").stdout.splitlines()[0]


@pytest.mark.parametrize("place", ["beside", "in its place"])
def test_pods_of_the_old_version(stored: Rktpy, tmp_path: Path, place: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    stored.launcher = install(old, "0.0.1")
    assert version(stored) == "rktpy Version: 0.0.1"
    with Running(stored, tmp_path, SCRIPT) as pod, Running(stored, tmp_path, SCRIPT) as killed:
        assert pod.line() == killed.line() == "up\n"
        fresh = install(new, "9.9.9")
        if place == "beside":
            stored.launcher = fresh
        else:
            # As a package manager does it: what runs has the old files open, and finds the new ones by name.
            old.rename(tmp_path / "gone")
            new.rename(old)
            launcher = old / "rktpy-launcher"
            launcher.write_text(launcher.read_text().replace(f"{tmp_path}/new", f"{tmp_path}/old"))
            shutil.rmtree(tmp_path / "gone")
        assert version(stored) == "rktpy Version: 9.9.9"
        assert states(stored) == {pod.uuid: "running", killed.uuid: "running"}
        assert document(stored, pod.uuid)["state"] == "running"
        assert stored("enter", pod.uuid, "/bin/echo", "entered").stdout == "entered\n"
        if stored.stage1 == "systemd":
            assert "up" in stored("logs", pod.uuid).stdout
        stored("stop", pod.uuid)
        status, out, err = pod.ended(20)
        assert (status, out, err) == (0, "stopped\n", "")
        stored("stop", "--force", killed.uuid)
        killed.ended(20)
    assert set(states(stored).values()) == {"exited"}
    stored("gc", "--grace-period=0s")
    assert states(stored) == {}
    assert left_after_a_while(stored.data, [pod.uuid, killed.uuid]) == []


def test_a_pod_that_was_prepared_before(stored: Rktpy, tmp_path: Path) -> None:
    stored.launcher = install(tmp_path / "old", "0.0.1")
    uuid = stored("prepare", "--quiet", "--insecure-options=image", "example.com/busybox").stdout.strip()
    stored.launcher = install(tmp_path / "new", "9.9.9")
    assert stored("run-prepared", uuid).stdout == "hello from busybox, an ACI\n"
