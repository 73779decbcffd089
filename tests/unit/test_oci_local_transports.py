"""Layouts and archives on the local disk that are damaged, ambiguous or made to do harm."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import AmbiguousError, ArchiveError, DigestMismatch, FetchError, FormatError, NotFoundError, RktpyError
from rktpy.fetch import archive_file
from rktpy.fetch.layouts import pull_docker_archive, pull_layout, pull_oci_archive
from rktpy.fetch.pulled import PulledImage
from rktpy.formats.oci import media_types
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.platform import Platform
from tests.support.archives import Member, compress, directory, hardlink, sha256, symlink, tar
from tests.support.archives import file as member
from tests.support.sink import DirectorySink

AMD64 = Platform("linux", "amd64")
LAYER = tar([directory("bin"), member("bin/sh", b"x" * 3000)])
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(LAYER)]},
        "config": {"Cmd": ["/bin/sh"]},
    }
).encode()


def described(data: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **fields}


def manifest(**fields: Any) -> bytes:
    layers = [described(compress(LAYER, "gzip"), media_types.DOCKER_LAYER_GZIP)]
    doc = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": described(CONFIG, media_types.OCI_CONFIG)}
    return json.dumps({**doc, "layers": layers, **fields}).encode()


def index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": list(entries)}).encode()


def write_layout(
    path: Path, index_bytes: bytes, blobs: Iterable[bytes], version: bytes = b'{"imageLayoutVersion":"1.0.0"}'
) -> Path:
    (path / "blobs/sha256").mkdir(parents=True)
    (path / "blobs/sha512").mkdir(parents=True)
    (path / "oci-layout").write_bytes(version)
    (path / "index.json").write_bytes(index_bytes)
    for blob in blobs:
        (path / "blobs/sha256" / sha256(blob)[7:]).write_bytes(blob)
    return path


def layout_members(path: Path) -> list[Member]:
    return [member(str(file.relative_to(path)), file.read_bytes()) for file in sorted(path.rglob("*")) if file.is_file()]


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A good layout with one image."""
    data = manifest()
    return write_layout(
        tmp_path / "layout", index(described(data, media_types.OCI_MANIFEST)), [data, CONFIG, compress(LAYER, "gzip")]
    )


def blob_file(layout: Path, data: bytes) -> Path:
    return layout / "blobs/sha256" / sha256(data)[7:]


class Watcher:
    """Notes what an observer is told, and checks that the bytes can be read when it is told so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.paths: dict[str, str] = {}

    def layers_known(self, diff_ids: tuple[str, ...], layers: tuple[Descriptor, ...], /) -> None:
        self.calls.append(f"known {len(diff_ids)} {len(layers)}")

    def layer_started(self, digest: str, path: str, /) -> None:
        self.calls.append("started")
        self.paths[digest] = path

    def layer_progress(self, digest: str, available: int, /) -> None:
        assert os.stat(self.paths[digest]).st_size >= available
        self.calls.append(f"progress {available}")

    def layer_done(self, digest: str, /) -> None:
        self.calls.append("done")

    def layer_failed(self, digest: str, error: BaseException, /) -> None:
        self.calls.append(f"failed {type(error).__name__}")


def check_good(image: PulledImage, sink: DirectorySink) -> None:
    assert image.config.config.cmd == ("/bin/sh",)
    assert [layer.diff_id for layer in image.layers] == [sha256(LAYER)]
    for digest in (image.manifest_digest, image.config_digest, *[layer.digest for layer in image.layers]):
        assert sha256(Path(sink.blob_path(digest)).read_bytes()) == digest
    assert sink.read_blob(image.manifest_digest) == image.manifest_bytes
    assert image.image_id == "sha256-" + hashlib.sha256(image.manifest_bytes).hexdigest()
    assert image.size == len(image.manifest_bytes) + image.manifest.size
    assert sink.partial_files() == []


def nothing_left(sink: DirectorySink) -> None:
    assert sink.partial_files() == []
    assert sink.commits == []


# Good ones first


def test_a_layout_and_its_tar(layout: Path, sink: DirectorySink, tmp_path: Path) -> None:
    image = pull_layout(str(layout), "", AMD64, sink)
    check_good(image, sink)
    assert (image.index_digest, image.reference_text) == (None, f"oci:{layout}")
    archive = tmp_path / "x.tar"
    archive.write_bytes(tar(layout_members(layout)))
    second = DirectorySink(tmp_path / "second")
    from_tar = pull_oci_archive(str(archive), "", AMD64, second)
    check_good(from_tar, second)
    assert from_tar.replace(reference_text="") == image.replace(reference_text="")
    assert from_tar.reference_text == f"oci-archive:{archive}"


def test_the_observer_sees_layers_come(layout: Path, sink: DirectorySink) -> None:
    size = len(compress(LAYER, "gzip"))
    watcher = Watcher()
    pull_layout(str(layout), "", AMD64, sink, watcher)
    assert watcher.calls == ["known 1 1", "started", f"progress {size}", "done"]
    assert len(sink.commits) == 1
    again = Watcher()
    pull_layout(str(layout), "", AMD64, sink, again)
    assert again.calls == ["known 1 1", "started", f"progress {size}", "done"]
    assert len(sink.commits) == 1, "a blob that is there is not copied again"


def test_bytes_of_an_earlier_attempt_are_not_trusted(layout: Path, sink: DirectorySink) -> None:
    with sink.partial(sha256(compress(LAYER, "gzip"))) as partial:
        partial.write(b"rubbish")
    check_good(pull_layout(str(layout), "", AMD64, sink), sink)


def test_two_pulls_at_once_copy_once(layout: Path, sink: DirectorySink) -> None:
    images: list[PulledImage] = []
    threads = [threading.Thread(target=lambda: images.append(pull_layout(str(layout), "", AMD64, sink))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(images) == 4
    assert len(sink.commits) == 1


def test_nested_indexes_and_platforms(tmp_path: Path, sink: DirectorySink) -> None:
    data = manifest()
    amd64 = described(data, media_types.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    arm64 = {**amd64, "digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}}
    inner = index(arm64, amd64)
    outer = index(described(inner, media_types.OCI_INDEX, platform={"os": "linux", "architecture": "amd64"}))
    path = write_layout(
        tmp_path / "l", index(described(outer, media_types.OCI_INDEX)), [inner, outer, data, CONFIG, compress(LAYER, "gzip")]
    )
    image = pull_layout(str(path), "", AMD64, sink)
    check_good(image, sink)
    assert image.index_digest == sha256(outer)
    assert sink.read_blob(sha256(outer)) == outer
    with pytest.raises(NotFoundError, match="no image for linux/arm64; there is linux/amd64"):
        pull_layout(str(path), "", Platform("linux", "arm64"), sink)
    (path / "index.json").write_bytes(index(described(inner, media_types.OCI_INDEX)))
    with pytest.raises(NotFoundError, match=r"sha256:0+ is missing"):
        pull_layout(str(path), "", Platform("linux", "arm64"), sink)


def test_indexes_do_not_nest_for_ever(tmp_path: Path, sink: DirectorySink) -> None:
    blobs = [index(described(manifest(), media_types.OCI_MANIFEST))]
    for _ in range(8):
        blobs.append(index(described(blobs[-1], media_types.OCI_INDEX)))
    path = write_layout(tmp_path / "l", index(described(blobs[-1], media_types.OCI_INDEX)), blobs)
    with pytest.raises(FormatError, match="indexes are nested more than 4 deep"):
        pull_layout(str(path), "", AMD64, sink)


def test_sha512_blobs(tmp_path: Path, sink: DirectorySink) -> None:
    blob = compress(LAYER, "gzip")
    layer = {
        "mediaType": media_types.DOCKER_LAYER_GZIP,
        "digest": "sha512:" + hashlib.sha512(blob).hexdigest(),
        "size": len(blob),
    }
    data = manifest(layers=[layer])
    path = write_layout(tmp_path / "l", index(described(data, media_types.OCI_MANIFEST)), [data, CONFIG])
    (path / "blobs/sha512" / layer["digest"][7:]).write_bytes(blob)  # type: ignore[index]
    image = pull_layout(str(path), "", AMD64, sink)
    assert sink.blob_size(image.layers[0].digest) == len(blob)


def test_a_layer_that_occurs_twice_is_copied_once(tmp_path: Path, sink: DirectorySink) -> None:
    blob = compress(LAYER, "gzip")
    config = json.loads(CONFIG)
    config["rootfs"]["diff_ids"] *= 2
    config_bytes = json.dumps(config).encode()
    data = manifest(
        layers=[described(blob, media_types.DOCKER_LAYER_GZIP)] * 2, config=described(config_bytes, media_types.OCI_CONFIG)
    )
    path = write_layout(tmp_path / "l", index(described(data, media_types.OCI_MANIFEST)), [data, config_bytes, blob])
    watcher = Watcher()
    image = pull_layout(str(path), "", AMD64, sink, watcher)
    assert (len(image.layers), len(sink.commits), watcher.calls.count("started")) == (2, 1, 1)
    assert image.size == len(data) + len(config_bytes) + len(blob)


# Damaged layouts


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", ["flip", "long", "short", "missing", "link", "directory link", "fifo", "directory"])
def test_damaged_blobs(layout: Path, sink: DirectorySink, tmp_path: Path, which: str, damage: str) -> None:
    data = {"manifest": manifest(), "config": CONFIG, "layer": compress(LAYER, "gzip")}[which]
    path = blob_file(layout, data)
    if damage == "flip":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif damage == "long":
        path.write_bytes(data + b"x")
    elif damage == "short":
        path.write_bytes(data[:-1])
    elif damage == "directory link":
        (layout / "blobs/sha256").rename(tmp_path / "away")
        (layout / "blobs/sha256").symlink_to(tmp_path / "away")
    else:
        path.rename(tmp_path / "good")
        if damage == "link":
            path.symlink_to(tmp_path / "good")
        elif damage == "fifo":
            os.mkfifo(path)
        elif damage == "directory":
            path.mkdir()
    expected: type[RktpyError] = DigestMismatch if damage in ("flip", "long", "short") else FetchError
    with pytest.raises(NotFoundError if damage == "missing" else expected) as caught:
        pull_layout(str(layout), "", AMD64, sink)
    assert str(layout) in str(caught.value)
    assert str(caught.value).isprintable()
    nothing_left(sink)


def test_the_observer_is_told_of_failure(layout: Path, sink: DirectorySink) -> None:
    data = compress(LAYER, "gzip")
    blob_file(layout, data).write_bytes(data[:-1] + b"?")
    watcher = Watcher()
    with pytest.raises(DigestMismatch, match="has the digest sha256:"):
        pull_layout(str(layout), "", AMD64, sink, watcher)
    assert watcher.calls[-1] == "failed DigestMismatch"
    assert "done" not in watcher.calls


def test_a_full_disk_leaves_nothing(layout: Path, sink: DirectorySink) -> None:
    sink.full_after = 10
    with pytest.raises(OSError, match="No space left"):
        pull_layout(str(layout), "", AMD64, sink)
    nothing_left(sink)


def test_the_stated_size_of_a_stored_blob_must_agree(layout: Path, sink: DirectorySink) -> None:
    blob = compress(LAYER, "gzip")
    pull_layout(str(layout), "", AMD64, sink)
    data = manifest(layers=[described(blob, media_types.DOCKER_LAYER_GZIP) | {"size": 1}])
    blob_file(layout, data).write_bytes(data)
    (layout / "index.json").write_bytes(index(described(data, media_types.OCI_MANIFEST)))
    with pytest.raises(DigestMismatch, match=f"is {len(blob)} bytes long, not 1"):
        pull_layout(str(layout), "", AMD64, sink)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}', "version '2.0.0' is not supported"),
        ("oci-layout", b" " * 70000, "is larger than"),
        ("oci-layout", None, "oci-layout is missing"),
        ("index.json", None, "index.json is missing"),
        ("index.json", b"{}", "schemaVersion: is missing"),
        ("index.json", manifest(), "manifests: is missing"),
        ("index.json", index(), "holds no image"),
        ("index.json", b" " * (5 << 20), "is larger than"),
        ("index.json", index(described(b"x" * 10, media_types.OCI_MANIFEST) | {"size": 1 << 40}), "is larger than"),
    ],
)
def test_damaged_top_files(layout: Path, sink: DirectorySink, name: str, content: bytes | None, message: str) -> None:
    (layout / name).unlink()
    if content is not None:
        (layout / name).write_bytes(content)
    with pytest.raises(RktpyError, match=message):
        pull_layout(str(layout), "", AMD64, sink)
    nothing_left(sink)


def test_diff_ids_must_match_the_layers(tmp_path: Path, sink: DirectorySink) -> None:
    data = manifest(layers=[])
    path = write_layout(tmp_path / "l", index(described(data, media_types.OCI_MANIFEST)), [data, CONFIG])
    with pytest.raises(FormatError, match="the manifest has 0 layers but the configuration 1 diff IDs"):
        pull_layout(str(path), "", AMD64, sink)


def test_the_label_of_an_entry_must_agree_with_the_document(tmp_path: Path, sink: DirectorySink) -> None:
    data = manifest()
    path = write_layout(tmp_path / "l", index(described(data, media_types.DOCKER_MANIFEST)), [data, CONFIG])
    with pytest.raises(FormatError, match="but it was announced as"):
        pull_layout(str(path), "", AMD64, sink)


def test_a_foreign_layer_that_is_elsewhere(tmp_path: Path, sink: DirectorySink) -> None:
    foreign = described(b"x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://example.com/x"])
    data = manifest(layers=[foreign])
    path = write_layout(tmp_path / "l", index(described(data, media_types.OCI_MANIFEST)), [data, CONFIG])
    with pytest.raises(NotFoundError, match="it is a foreign layer, which is kept elsewhere"):
        pull_layout(str(path), "", AMD64, sink)


def test_missing_sources(tmp_path: Path, sink: DirectorySink) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(NotFoundError, match="there is no such directory"):
        pull_layout(missing, "", AMD64, sink)
    with pytest.raises(NotFoundError, match="there is no such file"):
        pull_oci_archive(missing, "", AMD64, sink)
    with pytest.raises(FetchError, match="is written oci:"):
        pull_docker_archive(str(tmp_path), "", sink)
    (tmp_path / "file").write_bytes(b"not a tar archive" * 100)
    with pytest.raises(FetchError, match="cannot open oci layout"):
        pull_layout(str(tmp_path / "file"), "", AMD64, sink)
    with pytest.raises(ArchiveError):
        pull_docker_archive(str(tmp_path / "file"), "", sink)
    (tmp_path / "empty").touch()
    with pytest.raises(NotFoundError, match=r"manifest\.json is missing"):
        pull_docker_archive(str(tmp_path / "empty"), "", sink)


# Archives


def saved(*images: dict[str, Any]) -> Member:
    return member(
        "manifest.json", json.dumps(images or [{"Config": "c.json", "Layers": ["l.tar"], "RepoTags": ["x:1"]}]).encode()
    )


GOOD = [member("l.tar", LAYER), member("c.json", CONFIG), saved()]


def pull_saved(
    tmp_path: Path, sink: DirectorySink, members: list[Member], ref: str = "", compression: str = "none"
) -> PulledImage:
    path = tmp_path / "saved.tar"
    path.write_bytes(compress(tar(members), compression))
    return pull_docker_archive(str(path), ref, sink)


def test_a_saved_image(tmp_path: Path, sink: DirectorySink) -> None:
    image = pull_saved(tmp_path, sink, GOOD, "x:1")
    check_good(image, sink)
    assert image.layers[0].digest == sha256(LAYER)
    assert image.reference_text == f"docker-archive:{tmp_path}/saved.tar:x:1"
    assert image.manifest.media_type == media_types.DOCKER_MANIFEST


@pytest.mark.parametrize(
    "members",
    [
        [member("./a/layer.tar", LAYER), symlink("l.tar", "a/layer.tar"), *GOOD[1:]],
        [symlink("b/l.tar", "../a/layer.tar"), member("a/layer.tar", LAYER), symlink("l.tar", "b/l.tar"), *GOOD[1:]],
        [member("a/layer.tar", LAYER), hardlink("l.tar", "a/layer.tar"), *GOOD[1:]],
        [directory("l"), directory("./"), *GOOD, member("/abs", b"x"), member("../up", b"x")],
    ],
    ids=["link", "links", "hard link", "others"],
)
def test_links_inside_the_archive(tmp_path: Path, sink: DirectorySink, members: list[Member]) -> None:
    check_good(pull_saved(tmp_path, sink, members), sink)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_an_archive_compressed_as_a_whole(tmp_path: Path, sink: DirectorySink, compression: str) -> None:
    check_good(pull_saved(tmp_path, sink, GOOD, compression=compression), sink)
    path = tmp_path / "saved.tar"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArchiveError, match=f"truncated {compression} data"):
        pull_docker_archive(str(path), "", sink)
    assert sink.partial_files() == []


def test_an_archive_that_unpacks_without_end(tmp_path: Path, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_file, "MAX_SPOOLED", 1 << 20)
    path = tmp_path / "bomb.tar"
    path.write_bytes(compress(bytes(64 << 20), "gzip"))
    with pytest.raises(ArchiveError, match="larger than 1048576 bytes when decompressed"):
        pull_docker_archive(str(path), "", sink)
    assert sink.partial_files() == []


def test_an_archive_from_a_pipe(tmp_path: Path, sink: DirectorySink) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(tar(GOOD)))
    writer.start()
    check_good(pull_docker_archive(str(pipe), "", sink), sink)
    writer.join(30)


@pytest.mark.parametrize(
    ("compression", "media_type"), [("gzip", media_types.DOCKER_LAYER_GZIP), ("zstd", media_types.DOCKER_LAYER_ZSTD)]
)
def test_compressed_layers_inside_keep_their_bytes(
    tmp_path: Path, sink: DirectorySink, compression: str, media_type: str
) -> None:
    blob = compress(LAYER, compression)
    image = pull_saved(tmp_path, sink, [member("l.tar", blob), *GOOD[1:]])
    check_good(image, sink)
    assert (image.layers[0].digest, image.layers[0].media_type) == (sha256(blob), media_type)


def test_other_compressions_inside_are_refused(tmp_path: Path, sink: DirectorySink) -> None:
    with pytest.raises(ArchiveError, match=r"layer l\.tar is compressed with xz, which is not supported"):
        pull_saved(tmp_path, sink, [member("l.tar", compress(LAYER, "xz")), *GOOD[1:]])


@pytest.mark.parametrize(
    ("members", "kind", "message"),
    [
        (GOOD[:2], NotFoundError, "manifest.json is missing"),
        (GOOD[1:], NotFoundError, "l.tar is missing"),
        ([GOOD[0], GOOD[2]], NotFoundError, "c.json is missing"),
        ([*GOOD, saved()], ArchiveError, "manifest.json occurs more than once"),
        ([*GOOD, member("./c.json", CONFIG)], ArchiveError, "c.json occurs more than once"),
        ([symlink("l.tar", "l.tar"), *GOOD[1:]], ArchiveError, "too many links"),
        ([symlink("l.tar", "../../etc/passwd"), *GOOD[1:]], NotFoundError, "l.tar is missing"),
        ([symlink("l.tar", "/etc/passwd"), *GOOD[1:]], NotFoundError, "l.tar is missing"),
        ([directory("l.tar"), *GOOD[1:]], NotFoundError, "l.tar is missing"),
        ([member("l.tar", LAYER + b"x"), *GOOD[1:]], DigestMismatch, "has the digest"),
        ([member("l.tar", b""), *GOOD[1:]], DigestMismatch, "has the digest"),
        ([*GOOD[:2], member("manifest.json", b"[]")], NotFoundError, "holds no image"),
        ([*GOOD[:2], member("manifest.json", b" " * (5 << 20))], FormatError, "manifest.json: is larger than"),
        ([*GOOD[:2], saved({"Config": "c.json", "Layers": []})], FormatError, "there are 0 layers but the configuration has 1"),
        ([*GOOD[:2], saved({"Config": "../../c.json", "Layers": ["l.tar"]})], NotFoundError, "c.json is missing"),
        ([*GOOD[:2], saved({"Config": "/etc/passwd", "Layers": ["l.tar"]})], NotFoundError, "/etc/passwd is missing"),
        ([*GOOD[:2], saved({"Config": "c\n", "Layers": ["l.tar"]})], NotFoundError, r"c\\n is missing"),
        ([*GOOD[:2], saved({"Config": "c.json"}, {"Config": "c.json", "RepoTags": ["y:1"]})], AmbiguousError, "there is @0, y:1"),
    ],
)
def test_bad_saved_archives(
    tmp_path: Path, sink: DirectorySink, members: list[Member], kind: type[RktpyError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        pull_saved(tmp_path, sink, members)
    assert str(caught.value).isprintable()
    nothing_left(sink)


def test_a_truncated_archive(tmp_path: Path, sink: DirectorySink) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar([GOOD[2], GOOD[1], GOOD[0]])[:-4000])
    with pytest.raises(DigestMismatch, match="ends after"):
        pull_docker_archive(str(path), "", sink)
    nothing_left(sink)


def test_too_many_entries(tmp_path: Path, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_file, "MAX_MEMBERS", 10)
    with pytest.raises(ArchiveError, match="has more than 10 entries"):
        pull_saved(tmp_path, sink, [*GOOD, *[member(f"f{number}") for number in range(8)]])


def test_data_that_nobody_wants_is_not_read(tmp_path: Path, sink: DirectorySink) -> None:
    path = tmp_path / "big.tar"
    with path.open("wb") as out:
        start = tar([member("big", b"")])[:512]
        header = bytearray(start)
        header[124:136] = b"%011o\0" % (7 << 30)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        out.write(header)
        out.seek(512 + (7 << 30))
        out.write(tar(GOOD))
    check_good(pull_docker_archive(str(path), "", sink), sink)
