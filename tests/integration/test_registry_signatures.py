"""Finding signatures beside images: what registries and layouts may hold, and what hostile ones answer."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import FetchError
from rktpy.fetch import limits
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.reference import DockerReference, LayoutReference, OCIArchiveReference
from rktpy.fetch.registry import Registry
from rktpy.fetch.signatures import find_evidence, find_evidence_in_layout
from rktpy.formats.oci.artifacts import (
    BUNDLE_TYPE,
    COSIGN_PAYLOAD,
    COSIGN_SIGNATURE,
    DSSE_ENVELOPE,
    EMPTY_DIGEST,
    NOTATION_COSE,
    NOTATION_JWS,
    NOTATION_TYPE,
    cosign_tag,
    fallback_tag,
)
from rktpy.formats.oci.layout import REF_NAME
from rktpy.formats.oci.media_types import OCI_EMPTY, OCI_INDEX, OCI_MANIFEST
from rktpy.trust.evidence import BUNDLE, COSIGN, MAX_COUNT, MAX_SIZE, NOTATION, Evidence
from tests.support.http_server import Answer, Request, Server
from tests.support.scripted_registry import ScriptedRegistry, descriptor, digest_of
from tests.support.sink import DirectorySink

OLD_BUNDLE = "application/vnd.dev.sigstore.bundle+json;version=0.2"
SBOM = "application/spdx+json"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


class SigningRegistry(ScriptedRegistry):
    """One image, and what is attached to it."""

    def __init__(self) -> None:
        super().__init__([b"content"])
        self.digest = self.publish()

    def put(self, document: dict[str, Any], *, tag: str = "", media_type: str = OCI_MANIFEST) -> dict[str, Any]:
        """Serve a manifest by its digest and, if there is one, its tag; gives its descriptor."""
        data = json.dumps(document).encode()
        answer = Answer(200, data, {"Content-Type": media_type})
        self.serve(f"/v2/team/app/manifests/{digest_of(data)}", answer)
        if tag:
            self.serve(f"/v2/team/app/manifests/{tag}", answer)
        return descriptor(data, media_type)

    def cosign(self, *layers: dict[str, Any], suffix: str = "sig") -> None:
        """Put cosign's tag."""
        self.put({**artifact(""), "layers": list(layers)}, tag=cosign_tag(self.digest, suffix))

    def layer(self, payload: bytes, media_type: str = COSIGN_PAYLOAD, **annotations: str) -> dict[str, Any]:
        """A blob and its descriptor."""
        self.serve_blob(payload)
        named = {f"dev.cosignproject.cosign/{name}": text for name, text in annotations.items()}
        return {**descriptor(payload, media_type), "annotations": named}

    def refer(self, artifact_type: str, layer: dict[str, Any], *, subject: str = "", **changes: Any) -> dict[str, Any]:
        """Put a manifest with the image as its subject; gives the entry of a list of referrers."""
        document = {
            **artifact(artifact_type),
            "layers": [layer],
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject or self.digest, "size": 1},
            "annotations": {"kind": artifact_type},
            **changes,
        }
        return {**self.put(document), "artifactType": artifact_type}

    def api(self, *entries: dict[str, Any]) -> None:
        """Answer the referrers API with these."""
        self.serve(f"/v2/team/app/referrers/{self.digest}", index_answer(*entries))

    def bundle(self, content: bytes, **changes: Any) -> dict[str, Any]:
        """A bundle among the referrers."""
        return self.refer(BUNDLE_TYPE, self.layer(content, BUNDLE_TYPE), **changes)

    def find(self, sink: DirectorySink, *families: str, mirrors: tuple[Server, ...] = ()) -> tuple[Evidence, ...]:
        """What is found of the families (all, when none is named)."""
        reference = DockerReference(self.host, "team/app", "v1")
        client = Client(HTTPOptions(allow_http=True, read_seconds=5), environ={})
        endpoints = tuple(Endpoint(server.host, server.host, "team/app") for server in (*mirrors, self))
        with Registry(client, reference, endpoints, lambda _host, _repository: None) as registry:
            return find_evidence(registry, self.digest, sink, families or (COSIGN, BUNDLE, NOTATION))

    def asked(self, part: str) -> list[Request]:
        """The requests whose target has ``part`` in it."""
        return [request for request in self.requests if part in request.target]


def artifact(artifact_type: str) -> dict[str, Any]:
    empty = {"mediaType": OCI_EMPTY, "digest": EMPTY_DIGEST, "size": 2}
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": []}
    return {**document, "artifactType": artifact_type} if artifact_type else document


def index(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}


def index_answer(*entries: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
    return Answer(200, json.dumps(index(*entries)).encode(), {"Content-Type": OCI_INDEX, **(headers or {})})


@pytest.fixture
def registry() -> Iterator[SigningRegistry]:
    with SigningRegistry() as running:
        yield running


def test_each_layer_of_cosigns_tags_is_one_signature(registry: SigningRegistry, sink: DirectorySink) -> None:
    registry.cosign(registry.layer(b"{}", signature="one"), registry.layer(b"{ }", signature="two"))
    registry.cosign(registry.layer(b"dsse", DSSE_ENVELOPE), suffix="att")
    first, second, attestation = registry.find(sink, COSIGN)
    assert [first.family, second.family, attestation.family] == [COSIGN] * 3
    assert first.annotation(COSIGN_SIGNATURE) == "one" and second.annotation(COSIGN_SIGNATURE) == "two"
    assert sink.read_blob(second.blob("payload")) == b"{ }"
    assert attestation.media_type == DSSE_ENVELOPE
    assert f"{cosign_tag(registry.digest, 'sig')}, layer 1" in second.source


def test_two_signatures_over_one_payload_are_two(registry: SigningRegistry, sink: DirectorySink) -> None:
    layers = [registry.layer(b"{}", signature=text) for text in ("one", "two", "two")]
    registry.cosign(*layers)
    assert [one.annotation(COSIGN_SIGNATURE) for one in registry.find(sink)] == ["one", "two"]


def test_referrers_by_the_api(registry: SigningRegistry, sink: DirectorySink) -> None:
    jws = registry.refer(NOTATION_TYPE, registry.layer(b"jws", NOTATION_JWS))
    registry.api(registry.bundle(b"a bundle"), registry.refer(SBOM, registry.layer(b"sbom", SBOM)), jws)
    bundle, notation = registry.find(sink)
    assert (bundle.family, bundle.media_type, notation.family) == (BUNDLE, BUNDLE_TYPE, NOTATION)
    assert sink.read_blob(bundle.blob("bundle")) == b"a bundle"
    assert sink.read_blob(notation.blob("envelope")) == b"jws"
    assert notation.annotation("kind") == NOTATION_TYPE
    assert not registry.asked(digest_of(b"sbom")), "what is no signature is not fetched"


def test_only_the_families_that_are_wanted(registry: SigningRegistry, sink: DirectorySink) -> None:
    registry.cosign(registry.layer(b"{}"))
    registry.api(registry.bundle(b"b"), registry.refer(NOTATION_TYPE, registry.layer(b"n", NOTATION_COSE)))
    assert [one.family for one in registry.find(sink, NOTATION)] == [NOTATION]
    assert registry.asked("/referrers/")[0].query == "artifactType=application%2Fvnd.cncf.notary.signature"
    assert not registry.asked("/manifests/sha256-")
    assert registry.find(sink, "simple-signing") == ()


def test_the_older_form_of_a_notation_signature(registry: SigningRegistry, sink: DirectorySink) -> None:
    config = registry.layer(b"{}", NOTATION_TYPE)
    layer = registry.layer(b"jws", NOTATION_JWS)
    entry = registry.refer("", layer, config=config, artifactType=None)
    registry.api({**entry, "artifactType": NOTATION_TYPE})
    assert [one.family for one in registry.find(sink)] == [NOTATION]


def test_the_older_type_of_a_bundle(registry: SigningRegistry, sink: DirectorySink) -> None:
    registry.api(registry.refer(OLD_BUNDLE, registry.layer(b"old", OLD_BUNDLE)))
    (found,) = registry.find(sink)
    assert (found.family, found.media_type) == (BUNDLE, OLD_BUNDLE)


@pytest.mark.parametrize("status", [404, 400, 405, 200])
def test_the_fallback_tag(registry: SigningRegistry, sink: DirectorySink, status: int) -> None:
    page = Answer(status, b"<html>welcome</html>", {"Content-Type": "text/html"})
    registry.serve(f"/v2/team/app/referrers/{registry.digest}", page)
    untyped = registry.bundle(b"b")
    del untyped["artifactType"]
    sbom = registry.refer(SBOM, registry.layer(b"sbom", SBOM))
    del sbom["artifactType"]
    registry.put(index(sbom, untyped), tag=fallback_tag(registry.digest), media_type=OCI_INDEX)
    assert [one.family for one in registry.find(sink)] == [BUNDLE]
    assert not registry.asked(digest_of(b"sbom"))


def test_nothing_at_all(registry: SigningRegistry, sink: DirectorySink) -> None:
    assert registry.find(sink) == ()


def test_all_pages_are_read(registry: SigningRegistry, sink: DirectorySink) -> None:
    path = f"/v2/team/app/referrers/{registry.digest}"
    pages = [[registry.bundle(b"%d" % number)] for number in range(3)]

    def answer(request: Request) -> Answer:
        number = int(request.query.partition("page=")[2] or 0)
        link = f'<{path}?page={number + 1}>; rel="next"' if number < 2 else ""
        return index_answer(*pages[number], headers={"Link": link} if link else None)

    registry.routes[path] = answer
    assert [sink.read_blob(one.blob("bundle")) for one in registry.find(sink)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("where", ["?page=1", "elsewhere"])
def test_pages_that_lead_round_and_away(registry: SigningRegistry, sink: DirectorySink, where: str) -> None:
    path = f"/v2/team/app/referrers/{registry.digest}"
    entry = registry.bundle(b"b")
    with Server(lambda _request: index_answer(entry)) as elsewhere:
        link = f"<{elsewhere.url}/>; rel=next" if where == "elsewhere" else f"<{path}{where}>; rel=next"
        registry.serve(path, index_answer(entry, headers={"Link": link}))
        assert len(registry.find(sink)) == 1
        assert not elsewhere.requests
    assert len(registry.asked("/referrers/")) == (1 if where == "elsewhere" else 2)


def test_endless_pages_come_to_an_end(registry: SigningRegistry, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFERRER_PAGES", 5)
    path = f"/v2/team/app/referrers/{registry.digest}"

    def answer(request: Request) -> Answer:
        number = int(request.query.partition("page=")[2] or 0)
        return index_answer(headers={"Link": f'<{path}?page={number + 1}>; rel="next"'})

    registry.routes[path] = answer
    assert registry.find(sink) == ()
    assert len(registry.asked("/referrers/")) == 5


def test_hundreds_of_signatures(registry: SigningRegistry, sink: DirectorySink, capfd: pytest.CaptureFixture[str]) -> None:
    registry.cosign(*[registry.layer(b"{}", signature=str(number)) for number in range(300)])
    registry.api(*[registry.bundle(b"%d" % number) for number in range(300)])
    found = registry.find(sink)
    assert [len([one for one in found if one.family == family]) for family in (COSIGN, BUNDLE)] == [MAX_COUNT, MAX_COUNT]
    assert "passed over" in capfd.readouterr().err
    assert len(registry.requests) < 300


def test_hundreds_of_untyped_referrers(registry: SigningRegistry, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFERRER_MANIFESTS", 10)
    entries = [registry.refer(SBOM, registry.layer(b"%d" % number, SBOM)) for number in range(50)]
    registry.api(*[{**entry, "artifactType": ""} for entry in entries], registry.bundle(b"b"))
    assert registry.find(sink) == ()
    assert len(registry.asked("/manifests/")) == 12  # and cosign's two tags


Damage = Callable[[SigningRegistry], dict[str, Any]]


def too_large(registry: SigningRegistry) -> dict[str, Any]:
    layer = registry.layer(b"x", BUNDLE_TYPE)
    return registry.refer(BUNDLE_TYPE, {**layer, "size": MAX_SIZE + 1})


def another_blob(registry: SigningRegistry) -> dict[str, Any]:
    layer = registry.layer(b"promised", BUNDLE_TYPE)
    registry.serve(registry.blob_path(b"promised"), Answer(200, b"tampered"))
    return registry.refer(BUNDLE_TYPE, layer)


def missing_blob(registry: SigningRegistry) -> dict[str, Any]:
    return registry.refer(BUNDLE_TYPE, descriptor(b"nowhere", BUNDLE_TYPE))


def another_manifest(registry: SigningRegistry) -> dict[str, Any]:
    entry = registry.bundle(b"x")
    registry.serve(f"/v2/team/app/manifests/{entry['digest']}", Answer(200, b"{}", {"Content-Type": OCI_MANIFEST}))
    return entry


def another_size(registry: SigningRegistry) -> dict[str, Any]:
    entry = registry.bundle(b"x")
    return {**entry, "size": entry["size"] + 1}


def another_subject(registry: SigningRegistry) -> dict[str, Any]:
    return registry.bundle(b"x", subject=digest_of(b"another image"))


def no_subject(registry: SigningRegistry) -> dict[str, Any]:
    document = {**artifact(BUNDLE_TYPE), "layers": [registry.layer(b"x", BUNDLE_TYPE)]}
    return {**registry.put(document), "artifactType": BUNDLE_TYPE}


def two_layers(registry: SigningRegistry) -> dict[str, Any]:
    layer = registry.layer(b"x", BUNDLE_TYPE)
    return registry.refer(BUNDLE_TYPE, layer, layers=[layer, layer])


def another_layer_type(registry: SigningRegistry) -> dict[str, Any]:
    return registry.refer(BUNDLE_TYPE, registry.layer(b"x", "text/plain"))


def an_index(registry: SigningRegistry) -> dict[str, Any]:
    return {**registry.put(index(), media_type=OCI_INDEX), "artifactType": BUNDLE_TYPE}


def duplicate_members(registry: SigningRegistry) -> dict[str, Any]:
    data = b'{"schemaVersion": 2, "schemaVersion": 2}'
    registry.serve(f"/v2/team/app/manifests/{digest_of(data)}", Answer(200, data, {"Content-Type": OCI_MANIFEST}))
    return {**descriptor(data, OCI_MANIFEST), "artifactType": BUNDLE_TYPE}


def long_annotations(registry: SigningRegistry) -> dict[str, Any]:
    return registry.bundle(b"x", annotations={"a": "x" * (limits.ANNOTATION_BYTES + 1)})


def unusable_digest(registry: SigningRegistry) -> dict[str, Any]:
    return {"mediaType": OCI_MANIFEST, "digest": "blake3:" + "0" * 64, "size": 3, "artifactType": BUNDLE_TYPE}


@pytest.mark.parametrize(
    "damage",
    [
        too_large, another_blob, missing_blob, another_manifest, another_size, another_subject, no_subject, two_layers,
        another_layer_type, an_index, duplicate_members, long_annotations, unusable_digest,
    ],
)  # fmt: skip
def test_a_broken_signature_does_not_hide_the_good_one(
    registry: SigningRegistry, sink: DirectorySink, damage: Damage, capfd: pytest.CaptureFixture[str]
) -> None:
    registry.api(damage(registry), registry.bundle(b"good"))
    assert [sink.read_blob(one.blob("bundle")) for one in registry.find(sink)] == [b"good"]
    assert "image: 1 signature at" in capfd.readouterr().err


@pytest.mark.parametrize("tag", ["cosign", "fallback"])
def test_a_tag_that_is_something_else(registry: SigningRegistry, sink: DirectorySink, tag: str) -> None:
    registry.cosign(registry.layer(b"{}", signature="good"))
    if tag == "cosign":
        registry.put(index(), tag=cosign_tag(registry.digest, "sig"), media_type=OCI_INDEX)
        registry.api(registry.bundle(b"good"))
    else:
        registry.put(artifact(""), tag=fallback_tag(registry.digest))
    assert len(registry.find(sink)) == 1


def test_foreign_layers_under_cosigns_tag(registry: SigningRegistry, sink: DirectorySink) -> None:
    registry.cosign(registry.layer(b"tar", "application/vnd.oci.image.layer.v1.tar"), registry.layer(b"{}", signature="good"))
    assert [one.annotation(COSIGN_SIGNATURE) for one in registry.find(sink)] == ["good"]
    assert not registry.asked(digest_of(b"tar"))


def test_embedded_data_is_checked_too(registry: SigningRegistry, sink: DirectorySink) -> None:
    honest = {**descriptor(b"{}", COSIGN_PAYLOAD), "data": "e30=", "annotations": {COSIGN_SIGNATURE: "good"}}
    registry.cosign(honest, {**descriptor(b"[]", COSIGN_PAYLOAD), "data": "e30="})
    assert [one.annotation(COSIGN_SIGNATURE) for one in registry.find(sink)] == ["good"]


def test_all_signatures_together_are_limited(
    registry: SigningRegistry, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVIDENCE_BYTES", 2500)
    registry.api(*[registry.bundle(b"%d" % number * 1000) for number in range(5)])
    assert len(registry.find(sink)) == 2


def test_a_registry_that_fails_is_an_error(registry: SigningRegistry, sink: DirectorySink) -> None:
    registry.serve(f"/v2/team/app/manifests/{cosign_tag(registry.digest, 'sig')}", Answer(500))
    with pytest.raises(FetchError, match="HTTP 500"):
        registry.find(sink)


def test_a_mirror_with_the_image_alone(registry: SigningRegistry, sink: DirectorySink) -> None:
    registry.api(registry.bundle(b"upstream"))
    with SigningRegistry() as mirror, SigningRegistry() as broken:
        for path in ("sig", "att"):
            broken.serve(f"/v2/team/app/manifests/{cosign_tag(registry.digest, path)}", Answer(502))
        mirror.cosign(mirror.layer(b"{}", signature="mirrored"))
        found = registry.find(sink, mirrors=(broken, mirror))
    assert [one.family for one in found] == [COSIGN, BUNDLE]
    assert not registry.asked("/manifests/sha256-"), "the mirror had some"


def write_layout(directory: Path, blobs: list[bytes], entries: list[dict[str, Any]]) -> None:
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps(index(*entries)))
    for blob in blobs:
        (directory / "blobs/sha256" / digest_of(blob).partition(":")[2]).write_bytes(blob)


@pytest.mark.parametrize("form", ["directory", "archive"])
@pytest.mark.parametrize("kind", ["subject", "fallback", "cosign save"])
def test_signatures_in_a_layout(tmp_path: Path, sink: DirectorySink, form: str, kind: str) -> None:
    image = json.dumps(artifact("")).encode()
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(image), "size": len(image)}
    payload, bundle = b"{}", b"a bundle"
    cosign = json.dumps({**artifact(""), "layers": [descriptor(payload, COSIGN_PAYLOAD)]}).encode()
    layers = [descriptor(bundle, BUNDLE_TYPE)]
    referrer = json.dumps({**artifact(BUNDLE_TYPE), "layers": layers, "subject": subject}).encode()
    listed = json.dumps(index(descriptor(referrer, OCI_MANIFEST))).encode()
    tag = {"kind": "dev.cosignproject.cosign/sigs"} if kind == "cosign save" else {REF_NAME: cosign_tag(digest_of(image), "sig")}
    entries = [
        {**subject, "annotations": {REF_NAME: "v1"}},
        {**descriptor(cosign, OCI_MANIFEST), "annotations": tag},
        {**descriptor(b"gone", OCI_MANIFEST)},
    ]
    if kind == "fallback":
        entries.append({**descriptor(listed, OCI_INDEX), "annotations": {REF_NAME: fallback_tag(digest_of(image))}})
    else:
        entries.append(descriptor(referrer, OCI_MANIFEST))
    layout = tmp_path / "layout"
    write_layout(layout, [image, payload, bundle, cosign, referrer, listed], entries)
    reference: LayoutReference | OCIArchiveReference = LayoutReference(str(layout), "v1")
    if form == "archive":
        with tarfile.open(tmp_path / "layout.tar", "w") as archive:
            archive.add(layout, ".")
        reference = OCIArchiveReference(str(tmp_path / "layout.tar"), "v1")
    found = find_evidence_in_layout(reference, digest_of(image), sink)
    assert [one.family for one in found] == [COSIGN, BUNDLE]
    assert sink.read_blob(found[0].blob("payload")) == payload
    assert sink.read_blob(found[1].blob("bundle")) == bundle
    assert [one.family for one in find_evidence_in_layout(reference, digest_of(image), sink, (BUNDLE,))] == [BUNDLE]
    assert [one.family for one in find_evidence_in_layout(reference, digest_of(b"another"), sink, (BUNDLE,))] == []


def test_the_tag_of_a_long_digest() -> None:
    digest = "sha512:" + "a" * 128
    assert fallback_tag(digest) == "sha512-" + "a" * 64
    assert cosign_tag(digest, "sig") == ""
    assert fallback_tag("multihash+base58:Qm/+x") == "multihash-base58-Qm--x"
