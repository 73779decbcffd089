"""Registries that lie, break and redirect."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import DigestMismatch, FetchError, FormatError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.pulled import PulledImage
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry import Registry
from rktpy.fetch.registry_auth import Credential
from rktpy.formats.oci.media_types import OCI_INDEX
from rktpy.formats.oci.platform import platform_of_machine
from tests.support.http_server import Answer, Request, Server
from tests.support.scripted_registry import LAYER, ScriptedRegistry, descriptor, digest_of
from tests.support.sink import DirectorySink
from tests.support.watching import Watching

HERE = platform_of_machine(platform.machine())
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
MANIFEST = "/v2/team/app/manifests/v1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry([os.urandom(700_000), os.urandom(300_000)]) as running:
        running.publish()
        yield running


def pull(
    registry: Server, sink: DirectorySink, *, digest: str = "", watching: Watching | None = None, mirrors: tuple[Server, ...] = ()
) -> PulledImage:
    reference = DockerReference(registry.host, "team/app", "" if digest else "v1", digest)
    client = Client(HTTPOptions(allow_http=True, read_seconds=5), environ={})
    endpoints = tuple(Endpoint(server.host, server.host, "team/app") for server in (*mirrors, registry))
    credential = Credential("ann", "secret")
    with Registry(client, reference, endpoints, lambda _host, _repository: credential) as source:
        return source.pull(sink, HERE, observer=watching)


def test_the_honest_image_is_pulled(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    watching = Watching()
    pulled = pull(registry, sink, watching=watching)
    assert [layer.digest for layer in pulled.layers] == [digest_of(layer) for layer in registry.layers]
    assert watching.hashes == {digest_of(layer): digest_of(layer) for layer in registry.layers}


def test_a_manifest_that_is_not_what_its_digest_says(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    digest = registry.publish()
    registry.serve(f"/v2/team/app/manifests/{digest}", Answer(200, b"{}"))
    with pytest.raises(DigestMismatch, match=digest):
        pull(registry, sink, digest=digest)


@pytest.mark.parametrize("announced", ["sha256:" + "0" * 64, "md5:abc", "nonsense"])
def test_a_wrong_announced_digest(registry: ScriptedRegistry, sink: DirectorySink, announced: str) -> None:
    registry.publish(headers={"Docker-Content-Digest": announced})
    with pytest.raises(DigestMismatch):
        pull(registry, sink)


def test_a_content_type_that_contradicts_the_document(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    registry.publish(media_type=OCI_INDEX)
    with pytest.raises(FormatError, match="mediaType"):
        pull(registry, sink)


def test_a_warning_is_shown_to_the_user(
    registry: ScriptedRegistry, sink: DirectorySink, capfd: pytest.CaptureFixture[str]
) -> None:
    registry.publish(headers={"Warning": '299 - "old\x1b[31m client"'})
    pull(registry, sink)
    assert capfd.readouterr().err == f"image: {registry.host} warns: old?[31m client\n"


def test_schema_1(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    document = {"schemaVersion": 1, "name": "team/app", "tag": "v1", "fsLayers": [], "history": []}
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.serve(MANIFEST, Answer(200, json.dumps(document).encode(), {"Content-Type": media_type}))
    with pytest.raises(FormatError, match="docker schema 1 images are not supported"):
        pull(registry, sink)


def test_a_manifest_over_the_limit(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    registry.serve(MANIFEST, Answer(200, b" " * (limits.MANIFEST_BYTES + 1)))
    with pytest.raises(FetchError, match="more than the 4194304 allowed"):
        pull(registry, sink)


def test_an_index_in_an_index(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    inner = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    entry = {**descriptor(inner, OCI_INDEX), "platform": {"os": HERE.os, "architecture": HERE.architecture}}
    outer = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    registry.serve(MANIFEST, Answer(200, outer, {"Content-Type": OCI_INDEX}))
    registry.serve(f"/v2/team/app/manifests/{digest_of(inner)}", Answer(200, inner, {"Content-Type": OCI_INDEX}))
    with pytest.raises(FormatError, match="index inside an index"):
        pull(registry, sink)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_config_of_another_size(registry: ScriptedRegistry, sink: DirectorySink, wrong: int) -> None:
    registry.manifest["config"]["size"] += wrong
    registry.publish()
    with pytest.raises((DigestMismatch, FetchError), match=r"bytes"):
        pull(registry, sink)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_layer_of_another_size(registry: ScriptedRegistry, sink: DirectorySink, wrong: int) -> None:
    registry.manifest["layers"][0]["size"] += wrong
    registry.publish()
    watching = Watching()
    with pytest.raises(DigestMismatch, match=f"expected {len(registry.layers[0]) + wrong}"):
        pull(registry, sink, watching=watching)
    assert watching.events[digest_of(registry.layers[0])][-1] == "failed"
    assert sink.blob_size(digest_of(registry.layers[0])) is None


def test_wrong_bytes_in_a_layer(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    path = registry.blob_path(registry.layers[0])
    registry.serve(path, Answer(200, registry.layers[0][:-1] + b"?"))
    with pytest.raises(DigestMismatch) as raised:
        pull(registry, sink)
    assert path in str(raised.value) and digest_of(registry.layers[0]) in str(raised.value)
    assert registry.paths().count(f"GET {path}") == 1
    assert digest_of(registry.layers[0]).replace(":", "-") + ".part" not in sink.partial_files()


def test_a_layer_twice_in_an_image_is_fetched_once(sink: DirectorySink) -> None:
    same = os.urandom(1000)
    with ScriptedRegistry([same]) as registry:
        registry.manifest["layers"] *= 2
        document = json.loads(registry.config)
        document["rootfs"]["diff_ids"] *= 2
        registry.config = json.dumps(document).encode()
        registry.manifest["config"] = descriptor(registry.config, registry.manifest["config"]["mediaType"])
        registry.publish()
        assert len(pull(registry, sink).layers) == 2
        assert registry.paths().count(f"GET {registry.blob_path(registry.layers[0])}") == 1


def test_a_server_without_ranges_sends_again_what_the_observer_has_seen(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    """The file must not shrink under a reader."""
    layer = registry.layers[0]
    registry.sequence(
        registry.blob_path(layer), Answer(200, layer, cut=500_000), Answer(200, layer, cut=600_000), Answer(200, layer)
    )
    watching = Watching()
    pull(registry, sink, watching=watching)
    assert watching.hashes[digest_of(layer)] == digest_of(layer)
    assert watching.available[digest_of(layer)] == sorted(watching.available[digest_of(layer)])


def test_a_server_that_sends_ranges_in_small_pieces(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    layer = registry.layers[0]

    def piece(request: Request) -> Answer:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        end = min(start + 100_000, len(layer))
        return Answer(206, layer[start:end], {"Content-Range": f"bytes {start}-{end - 1}/{len(layer)}"})

    registry.sequence(registry.blob_path(layer), Answer(200, layer, cut=10), piece)
    pull(registry, sink)
    assert sink.read_blob(digest_of(layer)) == layer


def test_blobs_may_lie_elsewhere_and_credentials_stay(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    with Server() as storage:
        for blob in (registry.config, *registry.layers):
            storage.serve("/" + digest_of(blob), Answer(200, blob))
            place = f"{storage.url}/{digest_of(blob)}?signature=x"
            redirect = Answer(307, headers={"Location": place})

            def private(request: Request, redirect: Answer = redirect) -> Answer:
                basic = Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
                return redirect if "authorization" in request.headers else basic

            registry.routes[registry.blob_path(blob)] = private
        pull(registry, sink)
        assert len(storage.requests) == 3
        assert not any("authorization" in request.headers for request in storage.requests)


def test_foreign_layers_come_from_their_urls(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    layer = registry.layers[1]
    with Server() as elsewhere:
        elsewhere.serve("/good", Answer(200, layer))
        registry.manifest["layers"][1] |= {"mediaType": FOREIGN, "urls": [f"{elsewhere.url}/gone", f"{elsewhere.url}/good"]}
        registry.publish()
        del registry.routes[registry.blob_path(layer)]
        pull(registry, sink)
        assert elsewhere.paths() == ["GET /gone", "GET /good"]
        assert not any("authorization" in request.headers for request in elsewhere.requests)


def test_urls_of_ordinary_layers_are_not_asked(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    layer = registry.layers[1]
    with Server() as elsewhere:
        registry.manifest["layers"][1] |= {"mediaType": LAYER, "urls": [f"{elsewhere.url}/good"]}
        registry.publish()
        del registry.routes[registry.blob_path(layer)]
        with pytest.raises(HTTPError, match="HTTP 404"):
            pull(registry, sink)
        assert elsewhere.requests == []


def test_a_mirror_is_asked_first_and_replaced_where_it_fails(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    with ScriptedRegistry([]) as mirror:
        mirror.config, mirror.layers, mirror.manifest = registry.config, registry.layers, registry.manifest
        mirror.publish()
        del mirror.routes[mirror.blob_path(registry.layers[1])]
        pull(registry, sink, mirrors=(mirror,))
        assert registry.paths() == [f"GET {registry.blob_path(registry.layers[1])}"]


def test_a_mirror_without_the_image_is_passed_over(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    with Server() as mirror, Server() as gone:
        pull(registry, sink, mirrors=(mirror,))
    assert mirror.requests
    other = DirectorySink(sink.directory / "other")
    pull(registry, other, mirrors=(gone,))


def test_a_mirror_that_lies_about_a_layer(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    with ScriptedRegistry([]) as mirror:
        mirror.config, mirror.layers, mirror.manifest = registry.config, registry.layers, registry.manifest
        mirror.publish()
        mirror.serve(mirror.blob_path(registry.layers[0]), Answer(200, b"short"))
        pull(registry, sink, mirrors=(mirror,))
        assert f"GET {registry.blob_path(registry.layers[0])}" in registry.paths()


def test_one_layer_fails_and_all_are_told(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    registry.serve(registry.blob_path(registry.layers[0]), Answer(403))
    registry.serve(registry.blob_path(registry.layers[1]), Answer(200, registry.layers[1], pace=(1000, 0.05)))
    watching = Watching()
    with pytest.raises(HTTPError, match="HTTP 403"):
        pull(registry, sink, watching=watching)
    assert {events[-1] for events in watching.events.values()} == {"failed"}
    # What had arrived of the slow one is continued.
    registry.publish()
    pull(registry, sink)
    assert sink.read_blob(digest_of(registry.layers[1])) == registry.layers[1]


def test_a_full_disk(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    from rktpy.errors import StoreError

    sink.full_after = 400_000
    with pytest.raises(StoreError):
        pull(registry, sink)
    sink.full_after = None
    pull(registry, sink)
