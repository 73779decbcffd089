"""A store that is filled once and copied for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pods import store_with
from tests.support.services import own_run_directory


@pytest.fixture(scope="module")
def template(launcher: Path, busybox_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with busybox, rendered."""
    return store_with(Rktpy(launcher, tmp_path_factory.mktemp("template")), busybox_images / "busybox.aci")


@pytest.fixture
def stored(rktpy: Rktpy, template: Path) -> Rktpy:
    """The command, with a copy of that directory."""
    subprocess.run(["cp", "-a", str(template), str(rktpy.data)], check=True)
    return rktpy


@pytest.fixture
def run_dir(rktpy: Rktpy, tmp_path: Path) -> Iterator[Path]:
    """The services' run-time directory; ``rktpy`` is made to use it."""
    with own_run_directory(rktpy.launcher, tmp_path) as (launcher, path):
        rktpy.launcher = launcher
        yield path
