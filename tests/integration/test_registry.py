"""Images from a real registry."""

from __future__ import annotations

import platform
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import DigestMismatch, FetchError, HTTPError, NotFoundError
from rktpy.fetch import limits
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.pulled import PulledImage
from rktpy.fetch.reference import DockerReference, parse_reference
from rktpy.fetch.registry import Registry
from rktpy.fetch.registry_auth import Credential
from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from rktpy.formats.oci.platform import Platform, platform_of_machine
from tests.support.registry import Registry as Running
from tests.support.registry import make_image
from tests.support.sink import DirectorySink
from tests.support.watching import Watching

HERE = platform_of_machine(platform.machine())
_RANDOM = random.Random(1)


def noise(size: int) -> bytes:
    return _RANDOM.randbytes(size)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    layers = [{"/bin/app": noise(900_000)}, {"/etc/a": b"a"}, {"/etc/b": noise(400_000)}, {"/etc/c": noise(10)}]
    return make_image(tmp_path_factory.mktemp("image"), layers)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("registry")) as registry:
        registry.push(image, "team/app:v1")
        yield registry


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


def reference_of(text: str) -> DockerReference:
    reference = parse_reference(text)
    assert isinstance(reference, DockerReference)
    return reference


def registry_for(
    text: str, options: HTTPOptions | None = None, credential: Credential | None = None, insecure: bool = False
) -> Registry:
    reference = reference_of(text)
    client = Client(options or HTTPOptions(allow_http=True), environ={})
    endpoint = Endpoint(reference.host, reference.host, reference.repository, insecure)
    return Registry(client, reference, (endpoint,), lambda _host, _repository: credential)


def pull(text: str, sink: DirectorySink, **options: object) -> PulledImage:
    with registry_for(text, **options) as registry:  # type: ignore[arg-type]
        return registry.pull(sink, HERE)


def test_an_image_of_umoci_and_skopeo_is_pulled(running: Running, sink: DirectorySink) -> None:
    pulled = pull(f"docker://{running.host}/team/app:v1", sink)
    assert len(pulled.layers) == 4
    assert pulled.index_digest is None
    for layer in pulled.layers:
        assert sink.blob_size(layer.digest) == layer.size
    assert sink.read_blob(pulled.manifest_digest) == pulled.manifest_bytes
    assert pulled.config.rootfs_diff_ids == tuple(layer.diff_id for layer in pulled.layers)
    assert sink.partial_files() == []


def test_the_observer_sees_every_byte(running: Running, sink: DirectorySink) -> None:
    watching = Watching()
    with registry_for(f"docker://{running.host}/team/app:v1") as registry:
        pulled = registry.pull(sink, HERE, observer=watching)
    assert watching.diff_ids == pulled.config.rootfs_diff_ids
    assert watching.hashes == {layer.digest: layer.digest for layer in pulled.layers}
    for events in watching.events.values():
        assert events[0] == "started" and events[-1] == "done" and set(events[1:-1]) == {"progress"}


def test_what_is_there_is_not_fetched_again(running: Running, sink: DirectorySink) -> None:
    first = pull(f"docker://{running.host}/team/app:v1", sink)
    commits = list(sink.commits)
    watching = Watching()
    before = len(running.requests("GET /v2/team/app/blobs/"))
    with registry_for(f"docker://{running.host}/team/app@{first.manifest_digest}") as registry:
        registry.pull(sink, HERE, observer=watching)
    assert sink.commits == commits
    assert len(running.requests("GET /v2/team/app/blobs/")) == before
    assert all(events == ["started", "done"] for events in watching.events.values())


def test_head_says_what_a_pull_would_bring(running: Running, sink: DirectorySink) -> None:
    with registry_for(f"docker://{running.host}/team/app:v1") as registry:
        digest = registry.head()
        assert digest == registry.pull(sink, HERE).manifest_digest


def test_an_unknown_tag_is_named(running: Running, sink: DirectorySink) -> None:
    with pytest.raises(HTTPError, match="team/app/manifests/none: HTTP 404 Not Found: manifest unknown"):
        pull(f"docker://{running.host}/team/app:none", sink)


def test_plain_http_needs_permission(running: Running, sink: DirectorySink) -> None:
    with pytest.raises(FetchError):
        pull(f"docker://{running.host}/team/app:v1", sink, options=HTTPOptions(attempts=1))
    pull(f"docker://{running.host}/team/app:v1", sink, options=HTTPOptions(), insecure=True)


def test_two_pulls_at_once_download_once(running: Running, tmp_path: Path) -> None:
    sinks = [DirectorySink(tmp_path / "shared") for _ in range(6)]
    errors: list[BaseException] = []

    def work(sink: DirectorySink) -> None:
        try:
            pull(f"docker://{running.host}/team/app:v1", sink)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(sink,)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    commits = [digest for sink in sinks for digest in sink.commits]
    assert len(commits) == len(set(commits)) == 4


def test_finished_layers_stay_when_another_is_damaged(tmp_path: Path, image: str, sink: DirectorySink) -> None:
    with Running(tmp_path / "registry") as running:
        running.push(image, "team/app:v1")
        with registry_for(f"docker://{running.host}/team/app:v1") as registry:
            layers = registry.pull(DirectorySink(tmp_path / "other"), HERE).layers
        damaged = running.blob(layers[-1].digest)
        data = damaged.read_bytes()
        damaged.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        watching = Watching()
        with pytest.raises(DigestMismatch) as raised, registry_for(f"docker://{running.host}/team/app:v1") as registry:
            registry.pull(sink, HERE, observer=watching)
        assert layers[-1].digest in str(raised.value)
        assert watching.events[layers[-1].digest][-1] == "failed"
        assert sink.blob_size(layers[-1].digest) is None
        kept = [layer.digest for layer in layers if sink.blob_size(layer.digest) is not None]
        assert set(kept) == set(sink.commits) and len(kept) >= 1
        damaged.write_bytes(data)
        pull(f"docker://{running.host}/team/app:v1", sink)


def test_an_index_gives_the_platform_that_was_asked_for(running: Running, sink: DirectorySink) -> None:
    first = pull(f"docker://{running.host}/team/app:v1", sink)
    other = Platform("linux", "s390x")
    entry = {
        "mediaType": OCI_MANIFEST,
        "digest": first.manifest_digest,
        "size": len(first.manifest_bytes),
        "platform": {"os": HERE.os, "architecture": HERE.architecture},
    }
    running.put_manifest("team/app", "multi", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}, OCI_INDEX)
    with registry_for(f"docker://{running.host}/team/app:multi") as registry:
        pulled = registry.pull(sink, HERE)
        assert registry.head() == pulled.index_digest
    assert pulled.manifest_digest == first.manifest_digest
    assert pulled.index_digest is not None and sink.blob_size(pulled.index_digest)
    with registry_for(f"docker://{running.host}/team/app:multi") as registry, pytest.raises(NotFoundError) as raised:
        registry.pull(sink, other)
    assert f"no image for linux/s390x; there is {HERE.os}/{HERE.architecture}" in str(raised.value)


def test_htpasswd(tmp_path: Path, image: str, sink: DirectorySink) -> None:
    with Running(tmp_path / "registry", login=True) as running:
        running.push(image, "team/app:v1")
        text = f"docker://{running.host}/team/app:v1"
        with pytest.raises(HTTPError, match="HTTP 401"):
            pull(text, sink)
        with pytest.raises(HTTPError, match="HTTP 401"):
            pull(text, sink, credential=Credential("ann", "wrong"))
        pull(text, sink, credential=Credential("ann", "secret"))
