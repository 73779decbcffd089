"""The metadata service as tests see it, and documents to register."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from tests.conftest import Rktpy
from tests.support.services import Service, UnixHTTPConnection, ask

UUID = "5bc080ca-9e03-480d-b705-5928af396cc5"
OTHER_UUID = "6bc080ca-9e03-480d-b705-5928af396cc5"
TOKEN = "0123456789abcdef0123456789abcdef"
OTHER_TOKEN = "fedcba9876543210fedcba9876543210"
IMAGE_ID = "sha512-" + "ab" * 64
IMAGE = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/web",
    "annotations": [{"name": "authors", "value": "image's"}, {"name": "example.com/only/here", "value": "i"}],
}
POD = {
    "acKind": "PodManifest",
    "acVersion": "0.8.11",
    "apps": [
        {
            "name": "web",
            "image": {"id": IMAGE_ID},
            "annotations": [{"name": "authors", "value": "app's"}, {"name": "new", "value": "n"}],
        }
    ],
    "annotations": [{"name": "example.com/ip-address", "value": "10.1.2.3"}],
    "x-unknown": [1],
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Metadata(Service):
    """The metadata service."""

    def __init__(self, rktpy: Rktpy, directory: Path, run_dir: Path, before: tuple[str, ...] = (), port: int = 0) -> None:
        super().__init__(rktpy, directory, "metadata-service", f"--listen-port={port}", before=before)
        self.socket = run_dir / "metadata-svc.sock"

    @property
    def port(self) -> int:
        return int(self.said(r"running on port (\d+)")[1])

    def tell(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        status, _kind, text = ask(UnixHTTPConnection(self.socket), method, path, data)
        return status, text

    def register(self, uuid: str = UUID, token: str = TOKEN) -> None:
        assert self.tell("PUT", f"/pods/{uuid}?token={token}", POD) == (200, "")
        assert self.tell("PUT", f"/pods/{uuid}/web", IMAGE) == (200, "")

    def ask(
        self, path: str, method: str = "GET", body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        return ask(HTTPConnection("127.0.0.1", self.port, timeout=20), method, path, body, headers)

    def get(self, path: str, token: str = TOKEN) -> tuple[int, str, str]:
        return self.ask(f"/{token}/acMetadata/v1/{path}")

    def post(self, path: str, token: str = TOKEN, **form: str) -> tuple[int, str]:
        status, _kind, text = self.ask(f"/{token}/acMetadata/v1/{path}", "POST", urlencode(form), FORM)
        return status, text
