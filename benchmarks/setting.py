"""Where a benchmark works: a scratch directory, a launcher of this checkout, the command against a data directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Setting:
    """Scratch space below ``$RKTPY_BENCH_DIR`` (default /var/tmp/rktpy-bench); what is costly to make is kept there."""

    def __init__(self, name: str) -> None:
        self.cache = Path(os.environ.get("RKTPY_BENCH_DIR", "/var/tmp/rktpy-bench"))
        self.cache.mkdir(parents=True, exist_ok=True)
        # Not by process ID: in the sandbox that is the same every time.
        self.work = Path(tempfile.mkdtemp(prefix=f"work-{name}-", dir=self.cache))
        self.work.chmod(0o755)
        self.data = self.work / "data"
        self.launcher = self.work / "rktpy"
        directories = [str(ROOT), sysconfig.get_path("platlib")]
        subprocess.run(
            ["/usr/bin/python3", str(ROOT / "rktpy/launcher.py"), str(self.launcher), "/usr/bin/python3", *directories],
            check=True,
        )

    def argv(self, *args: str) -> list[str]:
        """A command line of ours, signatures not asked for (the peers are not asked either)."""
        paths = [f"--dir={self.data}", f"--local-config={self.work}/config", f"--system-config={self.work}/system"]
        return [str(self.launcher), *paths, "--insecure-options=image,http", *args]

    def call(self, *args: str) -> str:
        """Run one of ours to the end; its standard output."""
        return subprocess.run(self.argv(*args), check=True, stdout=subprocess.PIPE, text=True).stdout

    def close(self) -> None:
        """Remove the scratch directory."""
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
