"""Several processes and killed ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.http_server import Request, ranged
from tests.support.scripted_registry import ScriptedRegistry, digest_of
from tests.support.sink import DirectorySink

PULL = """
import platform, sys
from pathlib import Path
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry import Registry
from rktpy.formats.oci.platform import platform_of_machine
from tests.support.sink import DirectorySink

host, directory = sys.argv[1:]
client = Client(HTTPOptions(allow_http=True), environ={})
endpoint = Endpoint(host, host, "team/app")
with Registry(client, DockerReference(host, "team/app", "v1"), (endpoint,), lambda h, r: None) as registry:
    print(registry.pull(DirectorySink(Path(directory)), platform_of_machine(platform.machine())).image_id)
"""
CONTENT = os.urandom(2_000_000)


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    """Its one layer takes about a second."""
    with ScriptedRegistry([CONTENT]) as running:
        running.publish()
        layer = running.layers[0]

        def slow(request: Request) -> object:
            answer = ranged(request, layer, {})
            answer.pace = (100_000, 0.05)
            return answer

        running.routes[running.blob_path(layer)] = slow  # type: ignore[assignment]
        yield running


def start(registry: ScriptedRegistry, directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL, registry.host, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(part: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if part.stat().st_size >= size:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.005)
    raise AssertionError(f"{part} does not grow")


def test_a_killed_pull_is_continued_by_the_next(registry: ScriptedRegistry, tmp_path: Path) -> None:
    layer = registry.layers[0]
    part = tmp_path / f"tmp/{digest_of(layer).replace(':', '-')}.part"
    kept = 0
    for size in (200_000, 700_000):
        with start(registry, tmp_path) as process:
            wait_for(part, size)
            process.send_signal(signal.SIGKILL)
        assert part.stat().st_size > kept
        kept = part.stat().st_size
    sink = DirectorySink(tmp_path)
    assert sink.blob_size(digest_of(layer)) is None
    with start(registry, tmp_path) as process:
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors.decode()
    assert output.startswith(b"sha256-")
    assert sink.read_blob(digest_of(layer)) == layer
    ranges = [r.headers.get("range") for r in registry.requests if r.path == registry.blob_path(layer)]
    assert ranges[0] is None and ranges[-1] == f"bytes={kept}-"


def test_processes_wait_for_each_other_and_download_once(registry: ScriptedRegistry, tmp_path: Path) -> None:
    layer = registry.layers[0]
    processes = [start(registry, tmp_path) for _ in range(5)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert registry.paths().count(f"GET {registry.blob_path(layer)}") == 1


def test_one_that_waits_takes_over_from_one_that_dies(registry: ScriptedRegistry, tmp_path: Path) -> None:
    layer = registry.layers[0]
    part = tmp_path / f"tmp/{digest_of(layer).replace(':', '-')}.part"
    with start(registry, tmp_path) as first:
        wait_for(part, 300_000)
        with start(registry, tmp_path) as second:
            time.sleep(0.3)
            first.send_signal(signal.SIGKILL)
            _, errors = second.communicate(timeout=30)
            assert second.returncode == 0, errors.decode()
    assert DirectorySink(tmp_path).read_blob(digest_of(layer)) == layer


def test_an_interrupted_pull_ends_soon(registry: ScriptedRegistry, tmp_path: Path) -> None:
    layer = registry.layers[0]
    part = tmp_path / f"tmp/{digest_of(layer).replace(':', '-')}.part"
    with start(registry, tmp_path) as process:
        wait_for(part, 200_000)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert process.returncode != 0
        assert time.monotonic() - began < 5
    assert part.stat().st_size >= 200_000
