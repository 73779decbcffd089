"""A registry that lies on request: a scripted server that holds one image and lets tests change each answer."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from typing import Any

from rktpy.formats.oci.media_types import OCI_CONFIG, OCI_MANIFEST
from rktpy.formats.oci.platform import platform_of_machine
from tests.support.http_server import Answer, Request, Server, ranged

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    """The sha256 digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    """A descriptor of ``data``."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


class ScriptedRegistry(Server):
    """Serves ``team/app:v1``. Change ``manifest`` (a dict, before :meth:`publish`) or ``routes`` (afterwards)."""

    def __init__(self, contents: list[bytes]) -> None:
        super().__init__()
        self.layers: list[bytes] = []
        diff_ids: list[str] = []
        for number, content in enumerate(contents):
            tar = io.BytesIO()
            with tarfile.open(fileobj=tar, mode="w") as archive:
                entry = tarfile.TarInfo(f"file{number}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            diff_ids.append(digest_of(tar.getvalue()))
            self.layers.append(gzip.compress(tar.getvalue(), 1, mtime=0))
        here = platform_of_machine(platform.machine())
        document = {"os": here.os, "architecture": here.architecture, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        self.config = json.dumps(document).encode()
        self.manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(self.config, OCI_CONFIG),
            "layers": [descriptor(layer, LAYER) for layer in self.layers],
        }

    @property
    def reference(self) -> str:
        """The image's name."""
        return f"docker://{self.host}/team/app:v1"

    def blob_path(self, data: bytes) -> str:
        """The request path of a blob."""
        return f"/v2/team/app/blobs/{digest_of(data)}"

    def publish(self, *, media_type: str = OCI_MANIFEST, headers: dict[str, str] | None = None) -> str:
        """Serve the manifest as it is now, under its tag and its digest, and all blobs. Returns the manifest's digest."""
        data = json.dumps(self.manifest).encode()
        digest = digest_of(data)
        answer = Answer(200, data, {"Content-Type": media_type, "Docker-Content-Digest": digest, **(headers or {})})
        self.serve("/v2/team/app/manifests/v1", answer)
        self.serve(f"/v2/team/app/manifests/{digest}", answer)
        for blob in (self.config, *self.layers):
            self.serve_blob(blob)
        return digest

    def serve_blob(self, data: bytes) -> None:
        """Serve a blob, with ranges."""

        def handler(request: Request) -> Answer:
            return ranged(request, data, {"Content-Type": "application/octet-stream"})

        self.routes[self.blob_path(data)] = handler
