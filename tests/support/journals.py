"""Pods with a journal: real ones, written by systemd-journal-remote from the journal's export format."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

REMOTE = "/lib/systemd/systemd-journal-remote"
BOOT = "0123456789abcdef0123456789abcdef"
#: 2023-11-14T22:13:20Z, the time of the first entry.
START_US = 1_700_000_000_000_000


def exported(unit: str, message: bytes | str, when_us: int, **fields: str) -> bytes:
    """One entry in the export format."""
    data = message.encode() if isinstance(message, str) else message
    head = {
        "__REALTIME_TIMESTAMP": str(when_us),
        "__MONOTONIC_TIMESTAMP": str(when_us - START_US + 1),
        "_BOOT_ID": BOOT,
        "_SYSTEMD_UNIT": unit,
        "_TRANSPORT": "stdout",
        "_PID": "7",
        "PRIORITY": "6",
        **fields,
    }
    text = "".join([f"{name}={value}\n" for name, value in head.items()]).encode()
    return text + b"MESSAGE\n" + len(data).to_bytes(8, "little") + data + b"\n\n"


class Writer:
    """A journal that is being written; a context manager. Each entry is a second after the one before."""

    def __init__(self, directory: Path) -> None:
        if not os.path.exists(REMOTE):
            message = f"{REMOTE} is not installed"
            if os.environ.get("RKTPY_TEST_REQUIRE_TOOLS"):
                pytest.fail(message)
            pytest.skip(message)
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / "system.journal"
        self._when = START_US
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        argv = [REMOTE, f"--output={self._file}", "-"]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self

    def write(self, unit: str, message: bytes | str, **fields: str) -> None:
        """Append an entry; it is there soon after."""
        assert self._process.stdin is not None
        self._process.stdin.write(exported(unit, message, self._when, **fields))
        self._process.stdin.flush()
        self._when += 1_000_000

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0


class LoggingPod:
    """A pod of the systemd stage1 by its files alone; it runs while :meth:`running` holds its lock."""

    UUID = "5bc080ca-9e03-480d-b705-5928af396cc5"

    def __init__(self, data: Path, apps: tuple[str, ...], *, mutable: bool = False) -> None:
        self.path = data / "pods/run" / self.UUID
        self.path.mkdir(parents=True)
        image = {"id": "sha512-" + "ab" * 64, "name": "example.com/a"}
        manifest = {
            "acKind": "PodManifest",
            "acVersion": "0.8.11",
            "apps": [{"name": name, "image": image} for name in apps],
            "annotations": [{"name": "coreos.com/rkt/stage1/mutable", "value": "true" if mutable else "false"}],
        }
        (self.path / "pod").write_text(json.dumps(manifest))
        (self.path / "pod-created").touch()
        (self.path / "stage1-bundled").write_text("systemd")

    def writer(self) -> Writer:
        """A writer of the pod's journal."""
        return Writer(self.path / "stage1/rootfs/var/log/journal" / self.UUID.replace("-", ""))

    def run(self) -> subprocess.Popen[bytes]:
        """A process that holds the lock as the pod's first process would; end it with its stdin."""
        flock = shutil.which("flock")
        assert flock is not None
        process = subprocess.Popen([flock, "-F", str(self.path), "cat"], stdin=subprocess.PIPE)
        probe = [flock, "-n", "-s", str(self.path), "true"]
        while subprocess.run(probe, check=False).returncode == 0:
            time.sleep(0.01)
        (self.path / "pid").write_text(str(process.pid))
        return process
