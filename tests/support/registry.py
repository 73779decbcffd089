"""A real registry (Debian's docker-registry) on a loopback port, with the images that tests push into it."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conftest import need_tool

#: The user and password that a registry with ``login`` knows, and the line of its htpasswd file (bcrypt is all it accepts).
LOGIN = ("ann", "secret")
_HTPASSWD = "ann:$2b$04$qu8yq08xO6e94v9GXW6nnebWAdUH8xpXy3ggk3njqwbVL7PP30Rri\n"


class Registry:
    """docker-registry while its context is open, with its data in ``directory``.

    ``tls`` is the pair (certificate, key); ``login`` asks for basic authentication with :data:`LOGIN`; ``token`` is the mapping
    for its ``auth: token`` section.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tls: tuple[Path, Path] | None = None,
        login: bool = False,
        token: dict[str, str] | None = None,
    ) -> None:
        self._program = need_tool("docker-registry")
        self.directory = directory
        self.tls = tls
        self._login = login
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.storage = directory / "storage"
        self.log = directory / "registry.log"
        self._config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }
        if tls is not None:
            self._config["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        if login:
            self._config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
        if token is not None:
            self._config["auth"] = {"token": token}

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._login:
            (self.directory / "htpasswd").write_text(_HTPASSWD)
        config = self.directory / "config.yml"
        config.write_text(json.dumps(self._config))  # JSON is YAML
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([self._program, "serve", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.__exit__(None, None, None)
        raise AssertionError(f"docker-registry did not start: {self.log.read_text()[-2000:]}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def push(self, source: str, name: str, *options: str) -> None:
        """Copy an image (skopeo's notation) to ``name`` in the registry."""
        argv = [need_tool("skopeo"), "copy", "--quiet", "--dest-tls-verify=false", *options]
        if self._login:
            argv.append(f"--dest-creds={LOGIN[0]}:{LOGIN[1]}")
        subprocess.run([*argv, source, f"docker://{self.host}/{name}"], check=True, capture_output=True, timeout=120)

    def put_manifest(self, name: str, tag: str, document: dict[str, Any], media_type: str) -> str:
        """Store a manifest or index as it is; gives its digest. For registries without TLS and authentication."""
        connection = http.client.HTTPConnection(self.host, timeout=10)
        data = json.dumps(document).encode()
        connection.request("PUT", f"/v2/{name}/manifests/{tag}", data, {"Content-Type": media_type})
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        connection.close()
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob, for tests that damage or remove it."""
        algorithm, _, encoded = digest.partition(":")
        return self.storage / f"docker/registry/v2/blobs/{algorithm}/{encoded[:2]}/{encoded}/data"

    def requests(self, text: str) -> list[str]:
        """The lines of the access log that hold ``text``. The registry writes them after it has answered."""
        time.sleep(0.1)
        return [line for line in self.log.read_text().splitlines() if text in line and '" 2' in line]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def make_image(directory: Path, layers: list[dict[str, bytes]], *, tag: str = "v1") -> str:
    """An OCI layout made by umoci, one layer per mapping of absolute names to contents; returns it in skopeo's notation."""
    umoci = need_tool("umoci")
    layout = directory / "layout"

    def run(*arguments: str) -> None:
        subprocess.run([umoci, *arguments], check=True, capture_output=True, timeout=60)

    if not layout.exists():
        run("init", "--layout", str(layout))
    image = f"{layout}:{tag}"
    run("new", "--image", image)
    for number, files in enumerate(layers):
        root = directory / f"layer{number}"
        shutil.rmtree(root, ignore_errors=True)
        for name, data in files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        run("insert", "--rootless", "--image", image, str(root), "/")
    run("config", "--image", image, "--config.cmd=/bin/app")
    return f"oci:{layout}:{tag}"
