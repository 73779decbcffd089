"""Choosing an image from a layout's index.json and from the manifest.json of docker save."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import AmbiguousError, FormatError, NotFoundError
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.docker_archive import (
    SavedImage,
    choose_saved_image,
    link_key,
    manifest_of_saved_image,
    member_key,
    parse_saved_images,
)
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.layout import REF_NAME, check_layout_file, choose_entry
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import DOCKER_LAYER_GZIP, OCI_MANIFEST
from rktpy.formats.oci.platform import Platform

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def entry(number: int, name: str = "", platform: Platform | None = None, **fields: Any) -> Descriptor:
    annotations = {REF_NAME: name} if name else {}
    return Descriptor(OCI_MANIFEST, f"sha256:{number:064x}", 1, platform, annotations).replace(**fields)


def chosen(ref: str, *entries: Descriptor, platform: Platform = AMD64) -> int:
    return int(choose_entry(ImageIndex(entries), ref, platform, "layout").digest[7:], 16)


def test_layout_versions() -> None:
    check_layout_file(b'{"imageLayoutVersion": "1.0.0"}')
    for data in (b'{"imageLayoutVersion": "2.0.0"}', b"{}", b'{"imageLayoutVersion": 1}', b"[]", b""):
        with pytest.raises(FormatError):
            check_layout_file(data)


def test_the_only_image_needs_no_name() -> None:
    assert chosen("", entry(7, "v1")) == 7
    assert chosen("", entry(7, "v1"), entry(7, "latest")) == 7


def test_attestations_and_artifacts_are_not_counted() -> None:
    attestation = entry(1, platform=Platform("unknown", "unknown"))
    artifact = entry(2, artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json")
    other = entry(3, media_type="application/x")
    assert chosen("", attestation, artifact, other, entry(4)) == 4


def test_names_are_exact() -> None:
    assert chosen("b", entry(1, "a"), entry(2, "b")) == 2
    with pytest.raises(NotFoundError, match=r"^layout: no image is called 'B'; there is a, b, @sha256:0+3$"):
        chosen("B", entry(1, "a"), entry(2, "b"), entry(3))


def test_containerd_names_are_found_too() -> None:
    named = entry(2, annotations={"io.containerd.image.name": "docker.io/library/busybox:latest", REF_NAME: "latest"})
    assert chosen("docker.io/library/busybox:latest", entry(1, "x"), named) == 2


def test_several_images_are_listed() -> None:
    with pytest.raises(AmbiguousError) as caught:
        chosen("", entry(1, "a"), entry(2, "b\n"))
    assert str(caught.value) == "layout: holds several images, choose one by adding :NAME to the reference; there is a, b\\n"
    with pytest.raises(AmbiguousError, match=r"and 5 more$"):
        chosen("", *[entry(number, f"n{number}") for number in range(25)])


def test_one_name_for_several_platforms_is_one_image() -> None:
    entries = (entry(1, "v1", ARM64), entry(2, "v1", AMD64))
    assert chosen("v1", *entries) == 2
    assert chosen("", *entries) == 2
    assert chosen("", entry(1, "", ARM64), entry(2, "", AMD64), platform=ARM64) == 1
    with pytest.raises(AmbiguousError):
        chosen("v1", entry(1, "v1"), entry(2, "v1", AMD64))
    with pytest.raises(NotFoundError, match="no image for linux/s390x; there is linux/amd64, linux/arm64"):
        chosen("v1", *entries, platform=Platform("linux", "s390x"))


def test_position_and_digest() -> None:
    entries = (entry(1, "a"), entry(2, "b"))
    assert chosen("@1", *entries) == 2
    assert chosen("@" + entries[0].digest, *entries) == 1
    for ref in ("@2", "@99999999999", "@", "@-1", "@sha256:00"):
        with pytest.raises(NotFoundError):
            chosen(ref, *entries)


def test_an_empty_layout() -> None:
    with pytest.raises(NotFoundError, match=r"^layout: holds no image$"):
        chosen("")


# docker save


def test_saved_images_are_read() -> None:
    data = b'[{"Config":"c.json","RepoTags":["busybox:1"],"Layers":["a/layer.tar"]},{"Config":"d","RepoTags":null,"Layers":null}]'
    assert parse_saved_images(data) == (SavedImage("c.json", ("a/layer.tar",), ("busybox:1",)), SavedImage("d", ()))


@pytest.mark.parametrize(
    ("doc", "path"),
    [
        ({}, ""),
        ([1], "[0]"),
        ([{}], "[0].Config"),
        ([{"Config": ""}], "[0].Config"),
        ([{"Config": "c", "Layers": "x"}], "[0].Layers"),
        ([{"Config": "c", "Layers": [1]}], "[0].Layers[0]"),
        ([{"Config": "c"}, {"Config": "c", "RepoTags": {}}], "[1].RepoTags"),
        ([{"Config": "c", "Layers": ["x"] * 1001}], "[0].Layers"),
    ],
)
def test_bad_saved_images_are_named_by_their_path(doc: Any, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_saved_images(json.dumps(doc).encode())
    assert caught.value.path == path


def test_tags_are_compared_in_full() -> None:
    images = (
        SavedImage("a", (), ("busybox:latest",)),
        SavedImage("b", (), ("localhost/x:1", "quay.io/y:2")),
        SavedImage("c", ()),
    )
    for ref, config in [
        ("busybox", "a"),
        ("docker.io/library/busybox:latest", "a"),
        ("quay.io/y:2", "b"),
        ("@2", "c"),
    ]:
        assert choose_saved_image(images, ref, "archive").config == config
    with pytest.raises(
        NotFoundError, match=r"^archive: no image is called 'busybox:2'; there is busybox:latest, localhost/x:1, @2$"
    ):
        choose_saved_image(images, "busybox:2", "archive")
    with pytest.raises(AmbiguousError, match=r"there is busybox:latest, localhost/x:1, @2$"):
        choose_saved_image(images, "", "archive")
    for ref in ("@3", "@x", "@-1"):
        with pytest.raises(NotFoundError):
            choose_saved_image(images, ref, "archive")
    with pytest.raises(NotFoundError, match=r"^archive: holds no image$"):
        choose_saved_image((), "", "archive")
    assert choose_saved_image(images[:1], "", "archive").config == "a"


def test_the_made_up_manifest_is_an_image() -> None:
    digest = "sha256:" + "1" * 64
    data = manifest_of_saved_image("sha256:" + "0" * 64, 7, ((DOCKER_LAYER_GZIP, digest, 9),))
    assert data == manifest_of_saved_image("sha256:" + "0" * 64, 7, ((DOCKER_LAYER_GZIP, digest, 9),))
    manifest = Manifest.from_bytes(data)
    manifest.require_image()
    assert (manifest.config.size, manifest.layers[0].digest) == (7, digest)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (b"a/b", b"a/b"),
        (b"./a//b/", b"a/b"),
        (b"./", b""),
        (b"/a", None),
        (b"a/../b", None),
        (b"..", None),
        (b"a/..b", b"a/..b"),
    ],
)
def test_member_keys(name: bytes, key: bytes | None) -> None:
    assert member_key(name) == key


@pytest.mark.parametrize(
    ("name", "target", "key"),
    [
        (b"a/layer.tar", b"../b/layer.tar", b"b/layer.tar"),
        (b"a/layer.tar", b"../b.tar", b"b.tar"),
        (b"a/layer.tar", b"x.tar", b"a/x.tar"),
        (b"layer.tar", b"../etc/passwd", None),
        (b"a/layer.tar", b"../../etc/passwd", None),
        (b"a/layer.tar", b"/etc/passwd", None),
    ],
)
def test_link_keys(name: bytes, target: bytes, key: bytes | None) -> None:
    assert link_key(name, target) == key


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_keys_never_leave_the_archive(name: bytes, target: bytes) -> None:
    for key in (member_key(name), link_key(member_key(name) or b"", target)):
        assert key is None or (not key.startswith(b"/") and b".." not in key.split(b"/"))
