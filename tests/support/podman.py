"""podman with a store and a configuration of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.conftest import need_tool


class Podman:
    """podman while the context is open. It refuses directories with long names, so this one is not that of the test.

    ``home`` is the user's directory, with ``.config/containers/registries.d``.
    """

    def __init__(self, home: Path) -> None:
        self._program = need_tool("podman")
        self._directory = ""
        self.home = home

    def __enter__(self) -> Self:
        self._directory = tempfile.mkdtemp(prefix="podman-")
        (Path(self._directory) / "registries.conf").write_text("")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def __call__(self, *arguments: str, status: int | None = 0) -> str:
        """Run podman; its standard output, or what it complained about when another ``status`` than 0 is wanted."""
        argv = [self._program, f"--root={self._directory}/root", f"--runroot={self._directory}/run", "--storage-driver=vfs"]
        environ = {**os.environ, "HOME": str(self.home), "CONTAINERS_REGISTRIES_CONF": f"{self._directory}/registries.conf"}
        done = subprocess.run(
            [*argv, *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False, cwd=self._directory
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout
