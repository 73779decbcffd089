"""Peers from Debian, set up so that they run on a machine with hybrid cgroups and without CAP_SYS_RESOURCE."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

CONTAINERS_CONF = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


class Podman:
    """podman with a storage directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "containers.conf").write_text(CONTAINERS_CONF)
        storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'
        (directory / "storage.conf").write_text(storage)
        (directory / "registries.conf").write_text("")
        self.env = {
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf"),
        }

    def argv(self, *args: str) -> list[str]:
        return ["podman", *args]

    def call(self, *args: str) -> None:
        import os

        subprocess.run(self.argv(*args), env={**os.environ, **self.env}, check=True, stdout=subprocess.DEVNULL)


def runc_bundle(directory: Path, rootfs: Path) -> Path:
    """An OCI bundle of ``rootfs`` that runs /bin/true without a terminal and without a network of its own."""
    directory.mkdir(parents=True)
    subprocess.run(["runc", "spec"], cwd=directory, check=True)
    config = json.loads((directory / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/true"]
    config["process"].pop("rlimits", None)
    config["root"] = {"path": str(rootfs), "readonly": True}
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
    (directory / "config.json").write_text(json.dumps(config))
    return directory
