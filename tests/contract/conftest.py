"""Pods of the stub stage1."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.store.store import Store
from tests.conftest import Rktpy
from tests.contract import stub


class Pods:
    """A data directory with the stub and an app image in its store."""

    def __init__(self, rktpy: Rktpy, directory: Path) -> None:
        self.rktpy = rktpy
        self.directory = directory
        self.store = Store(str(rktpy.data))
        self.app = stub.add(self.store, directory, stub.app_aci())
        self.running: list[subprocess.Popen[str]] = []

    def stage1(self, version: str | None = "6", pidfile: str = "pid") -> str:
        image_id = stub.add(self.store, self.directory, stub.stage1_aci(version, pidfile))
        return f"--stage1-hash={image_id}"

    def command(self, *args: str, status: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.rktpy("--insecure-options=image", *args, status=status, env={**os.environ, **env})

    def only(self, state: str) -> Path:
        (pod,) = (self.rktpy.data / "pods" / state).iterdir()
        return pod

    def start(self, *args: str) -> Path:
        """Run a pod that stays, and wait until it is ready."""
        return self._start("run", *args, "example.com/app")

    def sandbox(self, *args: str) -> Path:
        """Run a mutable pod without apps, and wait until it is ready."""
        return self._start("app", "sandbox", *args)

    def _start(self, *args: str) -> Path:
        uuid_file = self.directory / f"uuid{len(self.running)}"
        argv = self.rktpy.argv(f"--uuid-file-save={uuid_file}", "--insecure-options=image", *args)
        self.running.append(subprocess.Popen(argv, env={**os.environ, "STUB_HOLD": "1"}, text=True))
        deadline = time.monotonic() + 20
        while not uuid_file.exists() or not uuid_file.read_text():
            assert time.monotonic() < deadline and self.running[-1].poll() is None
            time.sleep(0.01)
        self.command("status", "--wait-ready=20s", f"--uuid-file={uuid_file}")
        return self.rktpy.data / "pods" / "run" / uuid_file.read_text()


@pytest.fixture
def pods(rktpy: Rktpy, tmp_path: Path) -> Iterator[Pods]:
    made = Pods(rktpy, tmp_path)
    yield made
    for process in made.running:
        # The shell's child keeps the pod's lock too.
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
