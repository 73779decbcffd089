"""Images made by umoci, skopeo, podman and buildah, read from layouts and archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from rktpy.errors import AmbiguousError, NotFoundError
from rktpy.fetch.layouts import pull_docker_archive, pull_layout, pull_oci_archive
from rktpy.fetch.pulled import PulledImage
from rktpy.formats.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_MANIFEST
from rktpy.formats.oci.platform import Platform, platform_of_machine
from rktpy.formats.tar import TarReader
from rktpy.store.store import Store
from tests.conftest import need_tool
from tests.support.sink import DirectorySink

HOST = platform_of_machine(os.uname().machine)
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def tool(directory: Path, *argv: str) -> str:
    """Run a tool in ``directory``, with a configuration under which podman works anywhere; its standard output."""
    need_tool(argv[0])
    (directory / "containers.conf").write_text('[containers]\ndefault_ulimits = []\n[engine]\nevents_logger = "file"\n')
    environment = {**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf"), "HOME": str(directory)}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def skopeo(directory: Path, *argv: str) -> str:
    (directory / "policy.json").write_text(POLICY)
    return tool(directory, "skopeo", f"--policy={directory}/policy.json", *argv)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the layout ``l``, made by umoci: the images v1 (two layers) and v2 (another command)."""
    need_tool("busybox")
    directory = tmp_path_factory.mktemp("made")
    (directory / "busybox").write_bytes(Path(need_tool("busybox")).read_bytes())
    (directory / "busybox").chmod(0o755)
    (directory / "motd").write_text("hello\n")
    tool(directory, "umoci", "init", "--layout", "l")
    tool(directory, "umoci", "new", "--image", "l:v1")
    tool(directory, "umoci", "insert", "--rootless", "--image", "l:v1", "busybox", "/bin/busybox")
    tool(directory, "umoci", "insert", "--rootless", "--image", "l:v1", "motd", "/etc/motd")
    tool(
        directory,
        "umoci",
        "config",
        "--image",
        "l:v1",
        "--config.cmd",
        "/bin/busybox",
        "--config.cmd",
        "cat",
        "--config.env",
        "A=b",
    )
    tool(directory, "umoci", "config", "--image", "l:v1", "--tag", "v2", "--config.cmd", "/bin/busybox")
    return directory


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


def check(image: PulledImage, sink: DirectorySink, layers: int) -> None:
    """The image is whole, and says what umoci was told."""
    assert image.config.config.cmd == ("/bin/busybox", "cat")
    assert image.config.config.env[-1] == "A=b"
    assert image.config.platform.text == HOST.text
    assert (len(image.layers), len(image.manifest.layers)) == (layers, layers)
    assert image.manifest.to_bytes() == image.manifest_bytes
    assert json.loads(image.manifest_bytes) == image.manifest.to_dict()
    for digest in (image.manifest_digest, image.config_digest, *[layer.digest for layer in image.layers]):
        data = Path(sink.blob_path(digest)).read_bytes()
        assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
    # Not by tarfile: umoci leaves the padding of the last entry out, which tarfile takes for a truncated archive.
    blob = Path(sink.blob_path(image.layers[0].digest)).read_bytes()
    entry = TarReader(io.BytesIO(gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob).read).next()
    assert entry is not None
    assert entry.name.strip(b"/").startswith(b"bin")
    assert sink.partial_files() == []


def test_umoci_layout(made: Path, sink: DirectorySink) -> None:
    check(pull_layout(str(made / "l"), "v1", HOST, sink), sink, 2)
    with pytest.raises(AmbiguousError, match="there is v1, v2"):
        pull_layout(str(made / "l"), "", HOST, sink)
    with pytest.raises(NotFoundError, match="no image is called 'v3'; there is v1, v2"):
        pull_layout(str(made / "l"), "v3", HOST, sink)


def test_skopeo_layout_and_its_tar_are_the_same_image(made: Path, sink: DirectorySink, tmp_path: Path) -> None:
    skopeo(made, "copy", "-q", "oci:l:v1", f"oci:{tmp_path}/copy:example.com/x:1")
    skopeo(made, "copy", "-q", "oci:l:v1", f"oci-archive:{tmp_path}/copy.tar:latest")
    layout = pull_layout(str(tmp_path / "copy"), "example.com/x:1", HOST, sink)
    check(layout, sink, 2)
    archive = pull_oci_archive(str(tmp_path / "copy.tar"), "latest", HOST, DirectorySink(tmp_path / "other"))
    assert (archive.manifest_digest, archive.layers) == (layout.manifest_digest, layout.layers)
    assert layout.manifest_digest == "sha256:" + hashlib.sha256(skopeo(made, "inspect", "--raw", "oci:l:v1").encode()).hexdigest()


def test_skopeo_zstd_layers(made: Path, sink: DirectorySink, tmp_path: Path) -> None:
    skopeo(made, "copy", "-q", "--dest-compress-format=zstd", "--dest-compress", "oci:l:v1", f"dir:{tmp_path}/dir")
    skopeo(made, "copy", "-q", f"dir:{tmp_path}/dir", f"oci:{tmp_path}/zstd:x")
    image = pull_layout(str(tmp_path / "zstd"), "x", HOST, sink)
    assert [layer.media_type.rpartition("+")[2] for layer in image.layers] == ["zstd", "zstd"]


def test_skopeo_docker_archive_has_the_digest_that_skopeo_gives_it(made: Path, sink: DirectorySink, tmp_path: Path) -> None:
    target = f"docker-archive:{tmp_path}/saved.tar"
    skopeo(made, "copy", "-q", "oci:l:v1", f"{target}:example.com/x:1")
    image = pull_docker_archive(str(tmp_path / "saved.tar"), "example.com/x:1", sink)
    check(image, sink, 2)
    assert image.manifest_bytes.decode() == skopeo(tmp_path, "inspect", "--raw", target)
    assert image.config.rootfs_diff_ids == tuple(layer.digest for layer in image.layers)


def test_a_legacy_archive_whose_layers_are_links(made: Path, sink: DirectorySink, tmp_path: Path) -> None:
    """Old versions of docker save wrote ``<id>/layer.tar``, as a link where two images share a layer."""
    skopeo(made, "copy", "-q", "oci:l:v1", f"docker-archive:{tmp_path}/saved.tar:x:1")
    with tarfile.open(tmp_path / "saved.tar") as source, tarfile.open(tmp_path / "legacy.tar", "w") as target:
        links = {info.linkname.removeprefix("../"): info.name for info in source if info.issym()}
        assert len(links) == 2
        for info in source:
            data = source.extractfile(info) if info.isfile() else None
            if info.name == "manifest.json":
                assert data is not None
                document = json.load(data)
                document[0]["Layers"] = [links[layer] for layer in document[0]["Layers"]]
                (tmp_path / "manifest.json").write_text(json.dumps(document))
                target.add(tmp_path / "manifest.json", "manifest.json")
            else:
                target.addfile(info, data)
    check(pull_docker_archive(str(tmp_path / "legacy.tar"), "", sink), sink, 2)


def test_schema_2_images_in_a_layout(made: Path, sink: DirectorySink, tmp_path: Path) -> None:
    """skopeo's dir: keeps Docker's documents; put beside an index, with a manifest list, they are read as well."""
    skopeo(made, "copy", "-q", "--format=v2s2", "oci:l:v1", f"dir:{tmp_path}/dir")
    blobs = tmp_path / "layout/blobs/sha256"
    blobs.mkdir(parents=True)
    for file in (tmp_path / "dir").iterdir():
        if len(file.name) == 64:
            file.rename(blobs / file.name)
    manifest = (tmp_path / "dir/manifest.json").read_bytes()
    entry = {"mediaType": DOCKER_MANIFEST, "size": len(manifest), "digest": "sha256:" + hashlib.sha256(manifest).hexdigest()}
    platforms = [{"os": "linux", "architecture": "s390x"}, {"os": HOST.os, "architecture": HOST.architecture}]
    entries = [{**entry, "digest": "sha256:" + "0" * 64, "platform": platforms[0]}, {**entry, "platform": platforms[1]}]
    listed = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}).encode()
    top = {"mediaType": DOCKER_LIST, "size": len(listed), "digest": "sha256:" + hashlib.sha256(listed).hexdigest()}
    (blobs / entry["digest"][7:]).write_bytes(manifest)  # type: ignore[index]
    (blobs / top["digest"][7:]).write_bytes(listed)  # type: ignore[index]
    (tmp_path / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (tmp_path / "layout/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    image = pull_layout(str(tmp_path / "layout"), "", HOST, sink)
    check(image, sink, 2)
    assert (image.manifest.media_type, image.index_digest) == (DOCKER_MANIFEST, top["digest"])
    with pytest.raises(NotFoundError, match="no image for linux/arm/v7"):
        pull_layout(str(tmp_path / "layout"), "", Platform("linux", "arm", "v7"), sink)


@pytest.mark.root
def test_podman_save(made: Path, tmp_path: Path) -> None:
    # podman takes no run-time directory whose name is longer than 50 characters; /run is the sandbox's own
    storage = (f"--root={tmp_path}/root", "--runroot=/run/podman-save", "--storage-driver=vfs", "--tmpdir=/run/podman-save-tmp")
    (tmp_path / "policy.json").write_text(POLICY)

    def podman(*argv: str) -> str:
        return tool(made, "podman", *storage, "--cgroup-manager=cgroupfs", *argv)

    identity = podman("pull", "-q", f"--signature-policy={tmp_path}/policy.json", "oci:l:v1").strip()
    podman("tag", identity, "example.com/bb:1", "localhost/other:2")
    podman("save", "-q", "-o", f"{tmp_path}/docker.tar", "example.com/bb:1")
    podman("save", "-q", "-m", "-o", f"{tmp_path}/multi.tar", "example.com/bb:1", "localhost/other:2")
    podman("save", "-q", "--format=oci-archive", "-o", f"{tmp_path}/oci.tar", "example.com/bb:1")
    podman("save", "-q", "--format=oci-dir", "-o", f"{tmp_path}/oci", "example.com/bb:1")
    podman("save", "-q", "--format=docker-dir", "-o", f"{tmp_path}/dir", "example.com/bb:1")
    for name in ("docker.tar", "multi.tar"):
        sink = DirectorySink(tmp_path / f"sink-{name}")
        image = pull_docker_archive(str(tmp_path / name), "example.com/bb:1", sink)
        check(image, sink, 2)
        assert image.config_digest == f"sha256:{identity}"
        if name == "multi.tar":
            assert pull_docker_archive(str(tmp_path / name), "localhost/other:2", sink).image_id == image.image_id
    sink = DirectorySink(tmp_path / "sink-oci")
    image = pull_oci_archive(str(tmp_path / "oci.tar"), "", HOST, sink)
    check(image, sink, 2)
    check(pull_layout(str(tmp_path / "oci"), "example.com/bb:1", HOST, sink), sink, 2)
    assert image.manifest.media_type == OCI_MANIFEST


@pytest.mark.root
def test_buildah_commit(made: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(POLICY)

    def buildah(*argv: str) -> str:
        return tool(made, "buildah", f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--storage-driver=vfs", *argv)

    container = buildah("from", "scratch").strip()
    buildah("copy", "-q", container, "busybox", "/bin/busybox")
    buildah("config", "--cmd", '["/bin/busybox", "cat"]', "--env", "A=b", container)
    commit = ("commit", "-q", f"--signature-policy={tmp_path}/policy.json")
    buildah(*commit, "--format=oci", container, f"oci:{tmp_path}/layout:one")
    buildah(*commit, "--format=oci", container, f"oci-archive:{tmp_path}/oci.tar:two")
    buildah(*commit, "--format=docker", container, f"docker-archive:{tmp_path}/docker.tar:example.com/x:2")
    sink = DirectorySink(tmp_path / "sink")
    check(pull_layout(str(tmp_path / "layout"), "one", HOST, sink), sink, 1)
    check(pull_oci_archive(str(tmp_path / "oci.tar"), "two", HOST, sink), sink, 1)
    check(pull_docker_archive(str(tmp_path / "docker.tar"), "example.com/x:2", sink), sink, 1)


def test_the_store_is_a_sink(made: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "data"))
    image = pull_layout(str(made / "l"), "v1", HOST, store)
    assert store.read_blob(image.manifest_digest) == image.manifest_bytes
    assert store.blob_size(image.layers[0].digest) == image.layers[0].size
    skopeo(made, "copy", "-q", "oci:l:v1", f"docker-archive:{tmp_path}/saved.tar:x:1")
    subprocess.run(["gzip", str(tmp_path / "saved.tar")], check=True, timeout=60)
    saved = pull_docker_archive(str(tmp_path / "saved.tar.gz"), "", store)
    assert store.blob_size(saved.layers[1].digest) == saved.layers[1].size
    assert list((tmp_path / "data/cas/tmp").glob("*.part")) == []
