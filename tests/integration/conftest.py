"""A store that is filled once and copied for each test; a network of the host for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.host_network import HostNetwork, host_network
from tests.support.oci_bundles import Bundle, Runtime
from tests.support.pods import store_with
from tests.support.services import own_run_directory


@pytest.fixture(scope="module")
def template(launcher: Path, busybox_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with busybox, rendered."""
    return store_with(Rktpy(launcher, tmp_path_factory.mktemp("template")), busybox_images / "busybox.aci")


@pytest.fixture
def stored(rktpy: Rktpy, template: Path) -> Rktpy:
    """The command, with a copy of that directory."""
    rktpy.data.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{template}/.", str(rktpy.data)], check=True)
    return rktpy


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostNetwork]:
    """A network of the host for this test alone, with Debian's plugins."""
    need_tool("iptables")
    need_tool("/usr/lib/cni/ptp")
    with host_network(tmp_path) as made:
        yield made


@pytest.fixture
def run_dir(rktpy: Rktpy, tmp_path: Path) -> Iterator[Path]:
    """The services' run-time directory; ``rktpy`` is made to use it."""
    with own_run_directory(rktpy.launcher, tmp_path) as (launcher, path):
        rktpy.launcher = launcher
        yield path


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A low-level runtime; its containers are deleted after the test."""
    need_tool("busybox")
    made = Runtime(tmp_path)
    yield made
    made.clean()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with busybox."""
    return Bundle(tmp_path / "bundle")
