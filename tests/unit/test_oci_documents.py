"""OCI and Docker image documents: round trips, errors with their JSON path, and documents that mean two things."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats.oci import media_types
from rktpy.formats.oci.config import ImageConfig
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.digest import check_digest_syntax, digest_of, parse_digest, sha256_digest
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.parse import parse_manifest_document

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
HUGE = 1 << 63


def descriptor(**fields: Any) -> dict[str, Any]:
    return {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": A, "size": 10, **fields}


def manifest(**fields: Any) -> dict[str, Any]:
    config = descriptor(mediaType=media_types.OCI_CONFIG, digest=B)
    return {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": [descriptor()], **fields}


def docker_manifest(**fields: Any) -> dict[str, Any]:
    config = descriptor(mediaType=media_types.DOCKER_CONFIG, digest=B)
    layer = descriptor(mediaType=media_types.DOCKER_LAYER_GZIP)
    return {"schemaVersion": 2, "mediaType": media_types.DOCKER_MANIFEST, "config": config, "layers": [layer], **fields}


def index(**fields: Any) -> dict[str, Any]:
    entry = descriptor(mediaType=media_types.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    return {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry], **fields}


def without(doc: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in doc.items() if name not in names}


def config(**fields: Any) -> dict[str, Any]:
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [A]}, **fields}


def parse(doc: Any, media_type: str | None = None) -> ImageIndex | Manifest:
    return parse_manifest_document(json.dumps(doc, indent=3).encode(), media_type, "document")


# Digests


def test_digests_are_computed_with_their_prefix() -> None:
    assert sha256_digest(b"{}") == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert parse_digest(digest_of(b"", "sha512"), "x", "")[0] == "sha512"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha512:" + "a" * 64,
        "SHA256:" + "a" * 64,
        ":abc",
        "a/b:abc",
        "sha+:abc",
        "../x:abc",
        "sha1:../../etc",
        "md5:" + "a" * 600,
        " sha256:" + "a" * 64,
        None,
        7,
    ],
)
def test_malformed_digests_are_refused(text: Any) -> None:
    with pytest.raises(FormatError, match=r"^doc: here: must be "):
        check_digest_syntax(text, "doc", "here")


def test_unknown_algorithms_are_well_formed_but_not_usable() -> None:
    assert check_digest_syntax("blake3:abc", "doc", "here") == ("blake3", "abc")
    with pytest.raises(FormatError, match=r"^doc: here: digest algorithm 'blake3' is not supported \(sha256 and sha512 are\)$"):
        parse_digest("blake3:abc", "doc", "here")


# Round trips


@pytest.mark.parametrize(
    "doc", [manifest(), docker_manifest(), index(), index(annotations={"a": "b"}, **{"x-new": [1, {"y": None}]})]
)
def test_documents_come_back_byte_for_byte(doc: dict[str, Any]) -> None:
    data = json.dumps(doc, indent=2).encode() + b"\n"
    parsed = parse_manifest_document(data, None, "document")
    assert parsed.to_bytes() == data
    assert parsed.to_dict() == doc


def test_reading_leaves_its_argument_alone_and_shares_nothing_with_it() -> None:
    doc = manifest(future={"list": [1]}, annotations={"a": "b"})
    before = json.dumps(doc)
    parsed = Manifest.from_dict(doc)
    assert json.dumps(doc) == before
    given = parsed.to_dict()
    given["future"]["list"].append(2)
    given["layers"].clear()
    doc["config"]["size"] = 99
    assert json.dumps(parsed.to_dict()) == before


def test_a_changed_copy_is_written_anew_and_keeps_unknown_members() -> None:
    parsed = Manifest.from_bytes(json.dumps(manifest(future=1)).encode())
    changed = parsed.replace(annotations={"a": "b"})
    assert changed.to_dict() == manifest(future=1, annotations={"a": "b"})
    assert json.loads(changed.to_bytes()) == changed.to_dict()
    smaller = ImageIndex.from_dict(index(subject=descriptor())).replace(subject=None)
    assert smaller.to_dict() == index()


def test_descriptor_members() -> None:
    doc = descriptor(
        platform={"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "os.features": ["x"]},
        annotations={"k": "v"},
        urls=["https://example.com/x"],
        artifactType="application/x",
        data="MDEyMzQ1Njc4OQ==",
        unknown=True,
    )
    parsed = Descriptor.from_dict(doc, "doc", "d")
    assert parsed.platform is not None
    assert (parsed.platform.text, parsed.platform.os_version, parsed.platform.os_features) == ("linux/arm/v7", "1", ("x",))
    assert (parsed.data, parsed.urls, parsed.artifact_type) == (b"0123456789", ("https://example.com/x",), "application/x")
    assert parsed.to_dict() == doc
    assert parsed.replace(size=10).to_dict() == doc


def test_null_counts_as_absent() -> None:
    parsed = Manifest.from_dict(manifest(annotations=None, subject=None))
    assert (parsed.annotations, parsed.subject) == ({}, None)
    container = {"Env": None, "Cmd": None, "Volumes": None, "Labels": None, "ExposedPorts": None, "User": None}
    assert ImageConfig.from_dict(config(config=container)).config.cmd is None


# Errors with their path


@pytest.mark.parametrize(
    ("change", "path", "problem"),
    [
        ({"size": -1}, "layers[1].size", "must be between 0 and 2^63-1"),
        ({"size": HUGE}, "layers[1].size", "must be between 0 and 2^63-1"),
        ({"size": True}, "layers[1].size", "must be an integer"),
        ({"size": 1.0}, "layers[1].size", "must be an integer"),
        ({"size": "1"}, "layers[1].size", "must be an integer"),
        ({"size": None}, "layers[1].size", "is missing"),
        ({"digest": None}, "layers[1].digest", "is missing"),
        ({"digest": "sha256:abc"}, "layers[1].digest", "must be sha256: and 64 lower-case hex digits"),
        ({"digest": "blake3:abc"}, "layers[1].digest", "digest algorithm 'blake3' is not supported (sha256 and sha512 are)"),
        ({"mediaType": 1}, "layers[1].mediaType", "must be a string"),
        ({"mediaType": "a\0b"}, "layers[1].mediaType", "must not contain a NUL character"),
        ({"mediaType": "\ud800"}, "layers[1].mediaType", "must not contain half of a surrogate pair"),
        ({"annotations": {"a": 1}}, "layers[1].annotations.a", "must be a string"),
        ({"annotations": []}, "layers[1].annotations", "must be an object"),
        ({"urls": ["a", 2]}, "layers[1].urls[1]", "must be a string"),
        ({"platform": "linux"}, "layers[1].platform", "must be an object"),
        ({"data": "?"}, "layers[1].data", "must be base64"),
        ({"data": "AAAA"}, "layers[1].data", "is 3 bytes long but size says 10"),
    ],
)
def test_a_bad_descriptor_is_named_by_its_path(change: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(manifest(layers=[descriptor(), descriptor(**change)]))
    assert (caught.value.path, caught.value.problem) == (path, problem)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("doc", "path"),
    [
        (without(manifest(), "config"), "config"),
        (without(manifest(), "layers"), "layers"),
        (manifest(config=[]), "config"),
        (manifest(layers={}), "layers"),
        (manifest(layers=[1]), "layers[0]"),
        (manifest(layers=[descriptor()] * 1001), "layers"),
        (index(manifests=None), "manifests"),
        (index(manifests=[[]]), "manifests[0]"),
        (index(manifests=[descriptor()] * 10001), "manifests"),
        (without(manifest(), "schemaVersion"), "schemaVersion"),
        (manifest(schemaVersion=3), "schemaVersion"),
        (manifest(schemaVersion=2.0), "schemaVersion"),
        (manifest(schemaVersion="2"), "schemaVersion"),
        (manifest(schemaVersion=True), "schemaVersion"),
        ([], ""),
        ("x", ""),
    ],
)
def test_a_bad_document_is_named_by_its_path(doc: Any, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(doc)
    assert caught.value.path == path


def test_deep_nesting_is_an_error_and_not_a_crash() -> None:
    nested = '{"schemaVersion":2,"manifests":[],"x":' + "[" * 900 + "]" * 900 + "}"
    with pytest.raises(FormatError, match="nested too deeply"):
        _at_depth(600, lambda: parse_manifest_document(nested.encode(), None, "document"))


def _at_depth(depth: int, call: Any) -> Any:
    return call() if depth == 0 else _at_depth(depth - 1, call)


# One document, two meanings


@pytest.mark.parametrize(
    ("doc", "announced", "message"),
    [
        (manifest(manifests=[]), None, "ambiguous"),
        (index(layers=[]), None, "ambiguous"),
        (index(config=descriptor()), None, "ambiguous"),
        (without(index(layers=[]), "mediaType"), None, "ambiguous"),
        (manifest(mediaType=media_types.OCI_INDEX), None, "manifests: is missing"),
        (index(mediaType=media_types.OCI_MANIFEST), None, "manifests: has no place"),
        (manifest(), media_types.OCI_INDEX, "but it was announced as"),
        (manifest(), media_types.DOCKER_MANIFEST, "but it was announced as"),
        (without(manifest(), "mediaType"), media_types.OCI_INDEX, "manifests: is missing"),
        (without(index(), "mediaType"), media_types.OCI_MANIFEST, "manifests: has no place"),
        (manifest(mediaType="text/html"), None, "neither an image manifest nor an image index"),
        (without(manifest(), "mediaType"), "text/html", "neither an image manifest nor an image index"),
        (manifest(Layers=[]), None, "it must be spelt 'layers'"),
        (manifest(MediaType=media_types.OCI_INDEX), None, "it must be spelt 'mediaType'"),
        (index(Manifests=[]), None, "it must be spelt 'manifests'"),
        (manifest(layers=[descriptor(Digest=B)]), None, "it must be spelt 'digest'"),
        (manifest(history=[]), None, "belongs to docker schema 1"),
    ],
)
def test_documents_with_two_meanings_are_refused(doc: dict[str, Any], announced: str | None, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse(doc, announced)


def test_duplicate_members_are_refused() -> None:
    data = b'{"schemaVersion":2,"layers":[],"layers":[],"config":{}}'
    with pytest.raises(FormatError, match="duplicate member 'layers'"):
        parse_manifest_document(data, None, "document")


@pytest.mark.parametrize(
    "announced", [None, "", "application/json", "text/plain; charset=utf-8", media_types.OCI_MANIFEST + "; charset=utf-8"]
)
def test_generic_types_announce_nothing(announced: str | None) -> None:
    assert isinstance(parse(manifest(), announced), Manifest)
    assert isinstance(parse(without(manifest(), "mediaType"), announced), Manifest)


def test_unlabelled_documents_get_the_type_that_they_were_announced_with() -> None:
    assert parse(without(docker_manifest(), "mediaType"), media_types.DOCKER_MANIFEST).media_type == media_types.DOCKER_MANIFEST
    assert parse(without(docker_manifest(), "mediaType")).media_type == media_types.DOCKER_MANIFEST
    assert parse(without(manifest(), "mediaType")).media_type == media_types.OCI_MANIFEST
    assert parse(without(index(), "mediaType")).media_type == media_types.OCI_INDEX
    listed = parse(without(index(), "mediaType"), media_types.DOCKER_LIST)
    assert (type(listed), listed.media_type) == (ImageIndex, media_types.DOCKER_LIST)


@pytest.mark.parametrize(
    ("doc", "announced"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, None),
        ({"fsLayers": []}, None),
        (manifest(), media_types.DOCKER_SCHEMA1[0]),
        (manifest(mediaType=media_types.DOCKER_SCHEMA1[1]), None),
    ],
)
def test_schema_1_says_what_to_do(doc: dict[str, Any], announced: str | None) -> None:
    with pytest.raises(
        FormatError, match="docker schema 1 images are not supported; pull and push the image with a current client"
    ):
        parse(doc, announced)


# What can be run


def test_artifacts_are_read_but_not_run() -> None:
    with pytest.raises(FormatError, match="it is an OCI artifact manifest"):
        parse({"mediaType": media_types.OCI_ARTIFACT_MANIFEST, "blobs": []})
    chart = parse(manifest(config=descriptor(mediaType="application/vnd.cncf.helm.config.v1+json")))
    assert isinstance(chart, Manifest)
    with pytest.raises(FormatError, match=r"not an image that can be run: it is an artifact \(application/vnd.cncf.helm.config"):
        chart.require_image()
    signature = parse(manifest(artifactType="application/vnd.dev.sigstore.bundle.v0.3+json"))
    assert isinstance(signature, Manifest)
    with pytest.raises(FormatError, match=r"it is an artifact \(application/vnd.dev.sigstore"):
        signature.require_image()


@pytest.mark.parametrize("media_type", sorted(media_types.LAYER_COMPRESSION))
def test_every_layer_type_is_accepted(media_type: str) -> None:
    parsed = parse(manifest(layers=[descriptor(mediaType=media_type)]))
    assert isinstance(parsed, Manifest)
    parsed.require_image()
    compression = "gzip" if media_type.endswith("gzip") else "zstd" if media_type.endswith("zstd") else "none"
    assert media_types.LAYER_COMPRESSION[media_type] == compression
    assert media_types.is_foreign_layer(media_type) == ("foreign" in media_type or "nondistributable" in media_type)


@pytest.mark.parametrize(
    ("media_type", "message"),
    [
        ("application/x-unknown", "not a layer type"),
        ("", "not a layer type"),
        ("application/vnd.oci.image.layer.v1.tar+encrypted", "encrypted"),
    ],
)
def test_other_layer_types_are_refused(media_type: str, message: str) -> None:
    parsed = Manifest.from_dict(manifest(layers=[descriptor(), descriptor(mediaType=media_type)]))
    with pytest.raises(FormatError, match=message) as caught:
        parsed.require_image()
    assert caught.value.path == "layers[1].mediaType"


def test_size_counts_configuration_and_layers() -> None:
    assert Manifest.from_dict(manifest(layers=[descriptor(), descriptor(size=5)])).size == 25


# Configurations


def test_config_members() -> None:
    container = {
        "User": "app:staff",
        "ExposedPorts": {"80/tcp": {}, "53/udp": None},
        "Env": ["A=b"],
        "Entrypoint": ["/bin/sh"],
        "Cmd": [],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"k": "v"},
        "StopSignal": "SIGINT",
        "Shell": ["/bin/sh", "-c"],
        "Healthcheck": {"Test": ["NONE"]},
    }
    history = [{"created_by": "x", "empty_layer": True}, {}]
    doc = config(config=container, history=history, created="2020-01-01T00:00:00Z", variant="v8", **{"os.version": "1"})
    parsed = ImageConfig.from_bytes(json.dumps(doc).encode())
    assert parsed.to_bytes() == json.dumps(doc).encode()
    assert parsed.to_dict() == doc
    inner = parsed.config
    assert (inner.user, inner.exposed_ports, inner.env) == ("app:staff", ("80/tcp", "53/udp"), ("A=b",))
    assert (inner.entrypoint, inner.cmd, inner.volumes, inner.working_dir) == (("/bin/sh",), (), ("/data",), "/srv")
    assert (inner.labels, inner.stop_signal, inner.shell) == ({"k": "v"}, "SIGINT", ("/bin/sh", "-c"))
    assert [entry.empty_layer for entry in parsed.history] == [True, False]
    assert (parsed.rootfs_diff_ids, parsed.platform.text, parsed.os_version) == ((A,), "linux/amd64/v8", "1")


@pytest.mark.parametrize(
    ("doc", "path"),
    [
        (without(config(), "rootfs"), "rootfs"),
        (config(rootfs={"diff_ids": []}), "rootfs.type"),
        (config(rootfs={"type": "layers", "diff_ids": ["x"]}), "rootfs.diff_ids[0]"),
        (config(rootfs={"type": "layers", "diff_ids": ["blake3:aa"]}), "rootfs.diff_ids[0]"),
        (config(config={"Env": "A=b"}), "config.Env"),
        (config(config={"Env": ["A=b\0"]}), "config.Env[0]"),
        (config(config={"Cmd": [1]}), "config.Cmd[0]"),
        (config(config={"ExposedPorts": {"80": 1}}), "config.ExposedPorts.80"),
        (config(config={"Labels": {"a": None}}), "config.Labels.a"),
        (config(history=[1]), "history[0]"),
        (config(history=[{"empty_layer": 1}]), "history[0].empty_layer"),
        (config(os=1), "os"),
    ],
)
def test_a_bad_config_is_named_by_its_path(doc: dict[str, Any], path: str) -> None:
    with pytest.raises(FormatError) as caught:
        ImageConfig.from_dict(doc)
    assert caught.value.path == path


# Anything at all

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(
    ["schemaVersion", "mediaType", "manifests", "layers", "config", "digest", "size", "platform", "rootfs", "Env"]
)


@given(st.dictionaries(_names, _values, max_size=6), st.sampled_from([None, *media_types.ACCEPT, "x/y"]))
def test_any_object_is_read_or_refused(doc: dict[str, Any], announced: str | None) -> None:
    for base in ({}, manifest(), index(), config()):
        data = json.dumps({**base, **doc}).encode()
        try:
            parsed = parse_manifest_document(data, announced, "document")
        except FormatError as error:
            assert "\n" not in str(error)
        else:
            assert parsed.to_bytes() == data
            assert parsed.to_dict() == json.loads(data)
        try:
            ImageConfig.from_bytes(data)
        except FormatError as error:
            assert "\n" not in str(error)


@given(st.binary(max_size=64))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_manifest_document(data, None, "document")
