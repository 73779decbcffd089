"""A real Debian image of 150-250 MB, as OCI layouts with gzip and zstd layers, and a docker-registry that serves it."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

VARIANTS = ("gzip", "zstd")


def make_layouts(directory: Path) -> Path:
    """Build (once) ``directory``/debian-{gzip,zstd}: one image each, tag ``1``, out of a tar made by mmdebstrap."""
    directory.mkdir(parents=True, exist_ok=True)
    tar = directory / "debian.tar"
    if not tar.exists():
        temporary = directory / "debian.tar.new"
        subprocess.run(["mmdebstrap", "--variant=important", "--format=tar", "bookworm", str(temporary)], check=True, timeout=600)
        temporary.rename(tar)
    plain = directory / "debian-plain"
    if not plain.exists():
        _layout_of(tar, plain)
    for variant in VARIANTS:
        layout = directory / f"debian-{variant}"
        if not layout.exists():
            options = ["--dest-compress-format", variant, "--dest-compress"]
            subprocess.run(
                ["skopeo", "copy", "--insecure-policy", "-q", *options, f"oci:{plain}:1", f"oci:{layout}.new:1"], check=True
            )
            Path(f"{layout}.new").rename(layout)
    return directory


def _layout_of(tar: Path, layout: Path) -> None:
    """Wrap one uncompressed layer into an OCI layout by way of a docker-archive-free pair of config and manifest."""
    import hashlib
    import json
    import shutil

    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    with tar.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    shutil.copyfile(tar, blobs / digest)
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{digest}", "size": tar.stat().st_size}
    config = put(
        json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/bin/true"]},
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
            }
        ).encode(),
        "application/vnd.oci.image.config.v1+json",
    )
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = put(
        json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}).encode(), media_type
    )
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


class Registry:
    """docker-registry on a free loopback port. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Registry:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = self.directory / "registry.yml"
        self.directory.mkdir(parents=True, exist_ok=True)
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {self.directory}/data}}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}'}}\n"
        )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise SystemExit("docker-registry did not start")

    def __exit__(self, *_error: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def push(self, layout: Path, name: str) -> str:
        """Copy an image into the registry; its reference without a scheme."""
        target = f"{self.host}/{name}"
        argv = [
            "skopeo",
            "copy",
            "-q",
            "--insecure-policy",
            "--preserve-digests",
            "--dest-tls-verify=false",
            f"oci:{layout}:1",
            f"docker://{target}",
        ]
        subprocess.run(argv, check=True)
        return target
