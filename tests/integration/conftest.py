"""A store that is filled once and copied for each test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pods import store_with


@pytest.fixture(scope="module")
def template(launcher: Path, busybox_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with busybox, rendered."""
    return store_with(Rktpy(launcher, tmp_path_factory.mktemp("template")), busybox_images / "busybox.aci")


@pytest.fixture
def stored(rktpy: Rktpy, template: Path) -> Rktpy:
    """The command, with a copy of that directory."""
    subprocess.run(["cp", "-a", str(template), str(rktpy.data)], check=True)
    return rktpy
