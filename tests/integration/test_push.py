"""Pushing images: byte for byte, with what is there left there, through interruptions, and only where it was said."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import DigestMismatch, FetchError, HTTPError
from rktpy.fetch import limits, upload
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.push import push_image
from rktpy.fetch.registry_session import Session
from rktpy.fetch.upload import Upload
from rktpy.formats.oci.manifest import Manifest
from tests.conftest import Rktpy, need_tool
from tests.support.http_server import Answer, Request, make_certificate
from tests.support.podman import Podman
from tests.support.referrers_registry import ReferrersRegistry
from tests.support.registry import LOGIN, Registry, make_image
from tests.support.scripted_registry import ScriptedRegistry, digest_of
from tests.support.sink import DirectorySink
from tests.support.token_server import TokenServer

INSECURE = "--insecure-options=image,http"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    files = [{f"/layer{number}": os.urandom(70_000)} for number in range(3)]
    return make_image(tmp_path_factory.mktemp("image"), files)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def stored(rktpy: Rktpy, image: str) -> str:
    """The ID of the image in the store, whole."""
    return rktpy(INSECURE, "fetch", "--full", "--render=false", image).stdout.strip()


def inspected(reference: str, *options: str) -> bytes:
    """The manifest of an image, as skopeo reads it."""
    argv = [need_tool("skopeo"), "inspect", "--raw", *options, reference]
    return subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout


def test_what_is_pushed_is_what_was_fetched(rktpy: Rktpy, registry: Registry, image: str, stored: str) -> None:
    done = rktpy("image", "push", INSECURE, stored, f"docker://{registry.host}/team/app:v1")
    assert done.stdout == f"docker://{registry.host}/team/app@{stored.replace('-', ':')}\n"
    manifest = inspected(f"docker://{registry.host}/team/app:v1", "--tls-verify=false")
    assert manifest == inspected(image)
    for layer in json.loads(manifest)["layers"]:
        assert digest_of(registry.blob(layer["digest"]).read_bytes()) == layer["digest"]
    assert rktpy(INSECURE, "fetch", "--full", f"docker://{registry.host}/team/app:v1").stdout.strip() == stored


@pytest.mark.root
def test_podman_pulls_what_was_pushed(rktpy: Rktpy, registry: Registry, stored: str, tmp_path: Path) -> None:
    target = f"docker://{registry.host}/team/app:v1"
    rktpy("image", "push", INSECURE, stored, target)
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    with Podman(tmp_path) as podman:
        podman("pull", "--quiet", "--tls-verify=false", f"--signature-policy={policy}", target)
        assert stored.replace("-", ":") in podman("images", "--digests", "--format={{.Digest}}")


def test_what_is_there_is_not_sent_again_and_blobs_are_mounted(rktpy: Rktpy, registry: Registry, stored: str) -> None:
    rktpy("image", "push", INSECURE, stored, f"docker://{registry.host}/team/app:v1")
    sent = len(registry.requests('"PUT /v2/team/app/blobs/'))
    assert sent == 4
    done = rktpy("image", "push", INSECURE, "--progress=json", stored, f"docker://{registry.host}/team/app:v2")
    assert len(registry.requests('"PUT /v2/team/app/blobs/')) == sent
    assert [json.loads(line)["outcome"] for line in done.stderr.splitlines() if '"end"' in line] == ["exists"] * 4
    rktpy(INSECURE, "fetch", "--render=false", f"docker://{registry.host}/team/app:v1")
    rktpy("image", "push", INSECURE, stored, f"docker://{registry.host}/other/app:v1")
    assert not registry.requests('"PUT /v2/other/app/blobs/')
    assert len(registry.requests('"POST /v2/other/app/blobs/uploads/?mount=')) == 4


def test_a_push_by_digest(rktpy: Rktpy, registry: Registry, stored: str) -> None:
    digest = stored.replace("-", ":")
    rktpy("image", "push", INSECURE, stored, f"docker://{registry.host}/team/app@{digest}")
    assert inspected(f"docker://{registry.host}/team/app@{digest}", "--tls-verify=false")
    other = "sha256:" + "0" * 64
    done = rktpy("image", "push", INSECURE, stored, f"docker://{registry.host}/team/app@{other}", status=254)
    assert f"names another digest than that of the image, {digest}" in done.stderr


def test_the_credentials_of_a_pull_serve_a_push(rktpy: Rktpy, stored: str, tmp_path: Path, image: str) -> None:
    certificate = make_certificate(tmp_path)
    with Registry(tmp_path / "private", tls=certificate, login=True) as registry:
        target = f"docker://{registry.host}/team/app:v1"
        done = rktpy("image", "push", "--insecure-options=tls", stored, target, status=254)
        assert "HTTP 401" in done.stderr
        done = rktpy("image", "push", stored, target, status=254)
        assert "certificate is not accepted" in done.stderr
        auth = tmp_path / "config/auth.d"
        auth.mkdir(parents=True)
        document = {"rktKind": "dockerAuth", "rktVersion": "v1", "registries": [registry.host],
                    "credentials": {"user": LOGIN[0], "password": LOGIN[1]}}  # fmt: skip
        (auth / "docker.json").write_text(json.dumps(document))
        rktpy("image", "push", "--insecure-options=tls", stored, target)
        options = ("--tls-verify=false", f"--creds={LOGIN[0]}:{LOGIN[1]}")
        assert inspected(target, *options) == inspected(image)


def test_a_token_is_asked_for_with_the_right_to_push(rktpy: Rktpy, stored: str, tmp_path: Path) -> None:
    tokens = TokenServer(tmp_path / "tokens", {"ann": "secret"})
    with tokens, Registry(tmp_path / "private", token=tokens.registry_section) as registry:
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry.host: {"auth": "YW5uOnNlY3JldA=="}}}))
        environ = {**os.environ, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        rktpy("image", "push", INSECURE, stored, f"docker://{registry.host}/team/app:v1", env=environ)
    assert any("push" in request.query for request in tokens.requests)
    assert len(tokens.requests) <= 4


def test_blobs_are_mounted_with_a_token_for_both_repositories(rktpy: Rktpy, image: str, tmp_path: Path) -> None:
    tokens = TokenServer(tmp_path / "tokens", {"ann": "secret"})
    with tokens, Registry(tmp_path / "private", token=tokens.registry_section) as registry:
        registry.push(image, "team/app:v1", "--dest-creds=ann:secret")
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {registry.host: {"auth": "YW5uOnNlY3JldA=="}}}))
        environ = {**os.environ, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
        name = f"docker://{registry.host}/team/app:v1"
        rktpy("fetch", INSECURE, "--render=false", name, env=environ)
        rktpy("image", "push", INSECURE, name, f"docker://{registry.host}/other/app:v1", env=environ)
        assert not registry.requests('"PUT /v2/other/app/blobs/')
        assert registry.requests('"PUT /v2/other/app/manifests/v1')
    assert any("team%2Fapp" in request.query or "team/app" in request.query for request in tokens.requests)


@pytest.mark.parametrize(
    "arguments",
    [
        ("push",), ("push", "sha256-00"), ("push", "a", "b", "c"), ("save", "x"), ("save", "--output=x"), ("load",),
        ("load", "a", "b"), ("sign",), ("sign", "--type=asc"), ("sign", "a", "b"),
    ],
)  # fmt: skip
def test_arguments_that_are_missing_or_too_many(rktpy: Rktpy, arguments: tuple[str, ...]) -> None:
    done = rktpy("image", *arguments, status=254)
    assert "wants " in done.stderr
    assert not rktpy.data.exists()


def test_only_the_named_registry_is_pushed_to(rktpy: Rktpy, registry: Registry, stored: str, tmp_path: Path) -> None:
    conf = tmp_path / "registries.conf"
    with ReferrersRegistry() as mirror:
        rule = f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n'
        conf.write_text(f'{rule}[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n')
        environ = {**os.environ, "CONTAINERS_REGISTRIES_CONF": str(conf)}
        rktpy("image", "push", stored, f"docker://{registry.host}/team/app:v1", env=environ)
        assert not mirror.requests
    conf.write_text(rule + "blocked = true\n")
    done = rktpy("image", "push", stored, f"docker://{registry.host}/team/app:v1", env=environ, status=254)
    assert "is blocked by registries.conf: cannot push" in done.stderr


def test_plain_http_is_refused(rktpy: Rktpy, registry: Registry, stored: str) -> None:
    rktpy("image", "push", stored, f"docker://{registry.host}/team/app:v1", status=254)
    assert not registry.requests("uploads")


def test_an_aci_is_not_pushed(rktpy: Rktpy, busybox_images: Path) -> None:
    rktpy(INSECURE, "fetch", "--render=false", str(busybox_images / "busybox.aci"))
    done = rktpy("image", "push", "example.com/busybox:1", "docker://127.0.0.1:1/app", status=254)
    assert "is an ACI, which cannot be pushed to a registry; write it to a file with image export" in done.stderr


@pytest.mark.parametrize("target", ["oci:/tmp/x", "example.com/app", "/tmp/x.aci"])
def test_other_places_are_refused(rktpy: Rktpy, stored: str, target: str) -> None:
    done = rktpy("image", "push", stored, target, status=254)
    assert "a place in a registry is written docker://HOST/NAME[:TAG]" in done.stderr


# What follows is between the library and a registry that is told how to behave.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)
    monkeypatch.setattr(upload, "CHUNK", 100_000)


class Pushing:
    """A blob, and a registry to push it to."""

    def __init__(self, directory: Path, registry: ReferrersRegistry) -> None:
        self.data = os.urandom(350_000)
        self.digest = digest_of(self.data)
        self.path = directory / "blob"
        self.path.write_bytes(self.data)
        self.registry = registry
        self.session = Session(
            Client(HTTPOptions(allow_http=True, read_seconds=5), environ={}),
            Endpoint(registry.host, registry.host, "team/app"),
            lambda _host, _repository: None,
        )

    def __call__(self, **options: Any) -> str:
        outcome = Upload(self.session, self.digest, len(self.data), str(self.path), **options).run()
        assert self.registry.blobs["team/app", self.digest] == self.data
        return outcome

    def methods(self) -> list[str]:
        """The requests of uploads."""
        return [request.method for request in self.registry.requests if "/uploads/" in request.target]


@pytest.fixture
def pushing(tmp_path: Path, impatient: None) -> Iterator[Pushing]:
    with ReferrersRegistry() as registry:
        yield Pushing(tmp_path, registry)


def test_a_blob_goes_in_one_request(pushing: Pushing) -> None:
    assert pushing() == "done"
    assert pushing.methods() == ["POST", "PUT"]
    assert "_state=begun&digest=" in pushing.registry.requests[-1].query
    assert pushing() == "exists"


def test_a_broken_connection_is_resumed_in_chunks(pushing: Pushing) -> None:
    def cut(request: Request) -> Answer:
        pushing.registry.uploads["0"] += request.body[:120_000]
        return Answer(raw=b"")

    pushing.registry.once("PUT", "/uploads/", cut)
    assert pushing() == "done"
    assert pushing.methods() == ["POST", "PUT", "GET", "PATCH", "PATCH", "PATCH", "PUT"]
    chunks = [request for request in pushing.registry.requests if request.method == "PATCH"]
    assert [request.headers["content-range"] for request in chunks] == ["120000-219999", "220000-319999", "320000-349999"]


def test_a_body_that_is_too_large_goes_in_chunks(pushing: Pushing) -> None:
    pushing.registry.before.append(
        lambda request: Answer(413) if len(request.body) > 30_000 and request.method in ("PUT", "PATCH") else None
    )
    assert pushing() == "done"
    assert max(len(request.body) for request in pushing.registry.requests if request.method == "PATCH") >= 25_000


def test_chunks_as_large_as_the_registry_wants(pushing: Pushing) -> None:
    location = {"Location": "/v2/team/app/blobs/uploads/0", "OCI-Chunk-Min-Length": "200000"}
    pushing.registry.uploads["0"] = bytearray()
    pushing.registry.once("POST", "/uploads/", Answer(202, b"", location))
    pushing.registry.once("PUT", "/uploads/", Answer(raw=b""))
    assert pushing() == "done"
    sizes = [len(request.body) for request in pushing.registry.requests if request.method == "PATCH"]
    assert sizes == [200_000, 150_000]


def test_a_chunk_out_of_order_asks_where_to_go_on(pushing: Pushing) -> None:
    pushing.registry.once("PUT", "/uploads/", Answer(raw=b""))

    def lose(request: Request) -> Answer:
        return Answer(416)

    pushing.registry.once("PATCH", "/uploads/", lose)
    assert pushing() == "done"
    assert pushing.methods()[:5] == ["POST", "PUT", "GET", "PATCH", "GET"]


def test_a_lost_upload_begins_again(pushing: Pushing) -> None:
    def forget(request: Request) -> Answer:
        pushing.registry.uploads.clear()
        return Answer(raw=b"")

    pushing.registry.once("PUT", "/uploads/", forget)
    assert pushing() == "done"
    assert pushing.methods()[:4] == ["POST", "PUT", "GET", "POST"]


def test_an_answer_that_is_lost(pushing: Pushing) -> None:
    def store(request: Request) -> Answer:
        pushing.registry.uploads.clear()
        pushing.registry.blobs["team/app", pushing.digest] = request.body
        return Answer(raw=b"")

    pushing.registry.once("PUT", "/uploads/", store)
    assert pushing() == "done"
    assert pushing.methods() == ["POST", "PUT", "GET"]


def test_busy_servers_are_asked_again(pushing: Pushing) -> None:
    pushing.registry.once("POST", "/uploads/", Answer(503))
    pushing.registry.once("PUT", "/uploads/", Answer(429, b"", {"Retry-After": "0"}))
    assert pushing() == "done"


def test_a_server_that_always_fails(pushing: Pushing) -> None:
    pushing.registry.before.append(lambda request: Answer(500) if request.method == "PUT" else None)
    with pytest.raises(HTTPError, match="HTTP 500"):
        pushing()


def test_a_server_that_loses_everything(pushing: Pushing) -> None:
    pushing.registry.before.append(lambda request: Answer(404) if request.method == "PUT" else None)
    with pytest.raises(FetchError, match="HTTP 404"):
        pushing()


def test_a_refusal_says_why(pushing: Pushing) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "the quota is used up"}]}'
    pushing.registry.once("POST", "/uploads/", Answer(403, body, {"Content-Type": "application/json"}))
    with pytest.raises(HTTPError, match="HTTP 403 Scripted: the quota is used up"):
        pushing()


def test_a_registry_that_stored_something_else(pushing: Pushing) -> None:
    announced = {"Docker-Content-Digest": digest_of(b"something else")}
    pushing.registry.once("PUT", "/uploads/", Answer(201, b"", announced))
    with pytest.raises(DigestMismatch, match="has stored"):
        pushing()


@pytest.mark.parametrize("answer", [202, 401, 403, 404])
def test_a_mount_that_is_refused_is_a_plain_upload(pushing: Pushing, answer: int) -> None:
    if answer != 202:
        pushing.registry.once("POST", "mount=", Answer(answer))
    assert pushing(mounts=["other/app"]) == "done"


def test_an_upload_that_leads_to_plain_http_is_refused(tmp_path: Path, pushing: Pushing) -> None:
    session = Session(Client(HTTPOptions(), environ={}), pushing.session.endpoint, lambda _host, _repository: None)
    with pytest.raises(FetchError):
        Upload(session, pushing.digest, len(pushing.data), str(pushing.path)).run()
    assert not pushing.registry.requests


def test_nothing_is_tagged_when_a_blob_fails(tmp_path: Path, impatient: None) -> None:
    sink = DirectorySink(tmp_path / "sink")
    with ScriptedRegistry([b"one", b"two"]) as source, ReferrersRegistry() as registry:
        manifest = Manifest.from_bytes(json.dumps(source.manifest).encode())
        for blob in (source.config, *source.layers):
            sink.put_blob(blob)
        registry.before.append(lambda request: Answer(403) if request.method == "PUT" else None)
        session = Pushing(tmp_path, registry).session
        with pytest.raises(HTTPError, match="HTTP 403"):
            push_image(session, manifest, sink.blob_path, "v1", digest=digest_of(manifest.to_bytes()))
        assert not registry.manifests
        assert not [request for request in registry.requests if "/manifests/" in request.target]
