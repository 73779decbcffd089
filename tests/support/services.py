"""rktpy's services run as processes, in a mount namespace with a /run/rktpy of its own: tests run beside each other."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conftest import Rktpy


@contextmanager
def own_run_directory(launcher: Path, directory: Path) -> Iterator[tuple[Path, Path]]:
    """A launcher that runs ``launcher`` in such a namespace, and the way to its /run/rktpy from outside."""
    setup = "mkdir -p /run/rktpy && mount -t tmpfs -o mode=755 services /run/rktpy && echo ready && exec sleep infinity"
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", setup], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        wrapper = directory / "rktpy-in-namespace"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --target {holder.pid} --mount --wd="$PWD" -- {launcher} "$@"\n')
        wrapper.chmod(0o755)
        yield wrapper, Path(f"/proc/{holder.pid}/root/run/rktpy")
    finally:
        holder.kill()
        holder.communicate()


class Service:
    """A service in the background while its context is open; ready when the context is entered."""

    def __init__(self, rktpy: Rktpy, directory: Path, *command: str, before: tuple[str, ...] = ()) -> None:
        self._argv = [*before, *rktpy.argv(*command)]
        self._log = directory / f"service-{time.monotonic_ns()}"
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def log(self) -> str:
        """What the service has said so far."""
        return self._log.read_text()

    def said(self, pattern: str, timeout_s: float = 20) -> re.Match[str]:
        """Wait until the service says something."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = re.search(pattern, self.log())
            if found:
                return found
            assert time.monotonic() < deadline and self.process.poll() is None, self.log()
            time.sleep(0.01)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait: the exit status."""
        self.process.send_signal(number)
        return self.process.wait(10)


class UnixHTTPConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


def ask(
    connection: HTTPConnection, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Status, content type and body of the answer to one request."""
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read().decode()
    finally:
        connection.close()
