"""Peers from Debian, set up so that they run on a machine with hybrid cgroups and without CAP_SYS_RESOURCE."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

CONTAINERS_CONF = """\
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "cni"
network_config_dir = "{directory}/net"
"""

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


class Podman:
    """podman with a storage directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "containers.conf").write_text(CONTAINERS_CONF.format(directory=directory))
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

    def call(self, *args: str) -> str:
        """Run podman to the end; its standard output."""
        environment = {**os.environ, **self.env}
        return subprocess.run(self.argv(*args), env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def close(self) -> None:
        """Stop and remove all that is kept in the directory, and podman's mounts in it."""
        environment = {**os.environ, **self.env}
        for args in (("pod", "rm", "-af", "-t0"), ("rm", "-af", "-t0"), ("system", "reset", "-f")):
            subprocess.run(self.argv(*args), env=environment, check=False, capture_output=True, timeout=120)


def runc_bundle(
    directory: Path,
    rootfs: Path,
    args: Sequence[str] = ("/bin/true",),
    volume: tuple[Path, str] | None = None,
    *,
    own_network: bool = False,
) -> Path:
    """An OCI bundle of ``rootfs`` that runs ``args`` without a terminal.

    ``volume`` is a directory of the host and where it goes; ``own_network`` gives it a network namespace with nothing in it.
    """
    directory.mkdir(parents=True)
    subprocess.run(["runc", "spec"], cwd=directory, check=True)
    config = json.loads((directory / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = list(args)
    config["process"].pop("rlimits", None)
    config["root"] = {"path": str(rootfs), "readonly": True}
    if volume is not None:
        source, target = volume
        config["mounts"].append({"destination": target, "type": "bind", "source": str(source), "options": ["bind", "rw"]})
    if not own_network:
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
    (directory / "config.json").write_text(json.dumps(config))
    return directory
