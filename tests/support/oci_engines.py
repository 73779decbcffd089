"""podman and buildah with our low-level runtime, in a directory of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import need_tool
from tests.support.oci_bundles import Bundle, own_runtime

_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
_CONTAINERS = """
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "rktpy-oci"
runtime_supports_json = ["rktpy-oci"]
runtime_supports_nocgroup = ["rktpy-oci"]
network_cmd_path = ""
[engine.runtimes]
rktpy-oci = ["{program}"]
"""
_STORAGE = '[storage]\ndriver = "vfs"\nrunroot = "{0}/run"\ngraphroot = "{0}/graph"\n'


class Engine:
    """podman (or buildah) with nothing of the machine's; the image ``busybox`` is there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "policy.json").write_text(_POLICY)
        (directory / "containers.conf").write_text(_CONTAINERS.format(program=own_runtime()[-1]))
        (directory / "storage.conf").write_text(_STORAGE.format(directory))
        (directory / "registries.conf").write_text("")
        self.environment = {
            **os.environ,
            "HOME": str(directory),
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf"),
            "TMPDIR": str(directory),
        }
        root = Bundle(directory / "bundle").rootfs
        archive = directory / "busybox.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        self("import", "--change", "CMD /bin/sh", str(archive), "busybox")

    def argv(self, *args: str) -> list[str]:
        """A command line of podman's."""
        return [need_tool("podman"), f"--tmpdir={self.directory}/tmp", f"--network-config-dir={self.directory}/net", *args]

    def __call__(self, *args: str, status: int | None = 0, **options: Any) -> str:
        """Run podman; its standard output."""
        return self.run(self.argv(*args), status=status, **options).stdout

    def run(self, argv: list[str], status: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program in the engine's environment."""
        options.setdefault("stdin", subprocess.DEVNULL)
        done: subprocess.CompletedProcess[str] = subprocess.run(
            argv, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=90, check=False, **options
        )
        if status is not None:
            assert done.returncode == status, f"{argv} gave {done.returncode}\nstdout: {done.stdout}\nstderr: {done.stderr}"
        return done
