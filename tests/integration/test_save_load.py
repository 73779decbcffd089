"""Images and their signatures in one file, for machines without a network; other tools read it, and we read theirs."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rktpy.formats.oci.layout import REF_NAME
from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg
from tests.support.podman import Podman
from tests.support.policies import signed_by, write_policy
from tests.support.registry import Registry, make_image
from tests.support.scripted_registry import digest_of

UNSIGNED = "--insecure-options=image"
ANYTHING = {"type": "insecureAcceptAnything"}


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    home = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    home.key("ann")
    yield home
    home.close()


@pytest.fixture(scope="module")
def secret(gpg: Gpg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "ann.key"
    path.write_bytes(gpg("--armor", "--export-secret-keys", "ann@example.com"))
    return path


@pytest.fixture(scope="module")
def public(gpg: Gpg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("public") / "ann.pub"
    path.write_bytes(gpg.export("ann"))
    return path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Two images, of which the second is another one's name too."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        running.push(make_image(tmp_path_factory.mktemp("one"), [{"/app": os.urandom(50_000)}]), "team/app:v1")
        running.push(make_image(tmp_path_factory.mktemp("two"), [{"/app": b"two"}, {"/more": b"more"}]), "team/other:v1")
        yield running


@pytest.fixture
def name(registry: Registry) -> str:
    return f"docker://{registry.host}/team/app:v1"


@pytest.fixture
def other(registry: Registry) -> str:
    return f"docker://{registry.host}/team/other:v1"


def fetch(rktpy: Rktpy, *names: str) -> list[str]:
    """Fetch images without having them judged; their IDs."""
    return rktpy("fetch", "--insecure-options=image,http", "--full", "--render=false", *names).stdout.split()


def sign(rktpy: Rktpy, secret: Path, name: str, directory: Path) -> None:
    rktpy("image", "sign", "--type=simple", f"--key={secret}", f"--lookaside={directory}/lookaside", name)


@pytest.fixture
def elsewhere(launcher: Path, tmp_path: Path, registry: Registry, public: Path) -> Rktpy:
    """Another machine, where images of the registry must be signed by ann."""
    other = Rktpy(launcher, tmp_path / "elsewhere")
    write_policy(other, registry.host, signed_by(public))
    return other


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def test_a_signed_image_goes_to_a_machine_without_network(
    rktpy: Rktpy, elsewhere: Rktpy, name: str, secret: Path, tmp_path: Path
) -> None:
    (image,) = fetch(rktpy, name)
    sign(rktpy, secret, name, tmp_path)
    archive = tmp_path / "images.tar"
    rktpy("image", "save", f"--output={archive}", name)
    assert elsewhere("image", "load", "--full", str(archive)).stdout.split() == [image]
    elsewhere("image", "verify", "--signatures", name)
    assert elsewhere("fetch", "--pull-policy=never", "--full", name).stdout.split() == [image]
    again = tmp_path / "again.tar"
    elsewhere("image", "save", f"--output={again}", image)
    assert again.read_bytes() == archive.read_bytes(), "whoever writes it, it is the same file"


def test_without_its_signatures_it_is_refused(rktpy: Rktpy, elsewhere: Rktpy, name: str, secret: Path, tmp_path: Path) -> None:
    fetch(rktpy, name)
    sign(rktpy, secret, name, tmp_path)
    archive = tmp_path / "images.tar"
    rktpy("image", "save", f"--output={archive}", "--with-signatures=false", name)
    assert len(json.loads(contents(archive)["index.json"])["manifests"]) == 1
    done = elsewhere("image", "load", str(archive), status=254)
    assert "signature" in done.stderr and done.stdout == ""
    assert elsewhere("image", "list", "--no-legend").stdout == ""
    assert elsewhere("image", "load", UNSIGNED, str(archive)).stdout


def test_a_name_for_which_anything_is_accepted_is_no_pass_for_files(
    rktpy: Rktpy, elsewhere: Rktpy, registry: Registry, name: str, tmp_path: Path
) -> None:
    fetch(rktpy, name)
    archive = tmp_path / "images.tar"
    rktpy("image", "save", f"--output={archive}", name)
    policy = write_policy(elsewhere, registry.host, ANYTHING)
    done = elsewhere("image", "load", str(archive), status=254)
    assert f"oci-archive:{archive}" in done.stderr
    document = json.loads(policy.read_text())
    document["transports"]["oci-archive"] = {str(tmp_path): [ANYTHING]}
    policy.write_text(json.dumps(document))
    elsewhere("image", "load", str(archive))
    elsewhere("image", "verify", "--signatures", name)


def test_several_images_in_one_file(rktpy: Rktpy, elsewhere: Rktpy, name: str, other: str, secret: Path, tmp_path: Path) -> None:
    ids = fetch(rktpy, name, other)
    for one in (name, other):
        sign(rktpy, secret, one, tmp_path)
    archive = tmp_path / "images.tar"
    rktpy("image", "save", f"--output={archive}", other, name, name)
    assert elsewhere("image", "load", "--full", f"--name={other}", str(archive)).stdout.split() == ids[1:]
    assert elsewhere("image", "load", "--full", str(archive)).stdout.split() == ids
    assert "no image called 'nothing'" in elsewhere("image", "load", "--name=nothing", str(archive), status=254).stderr
    swapped = tmp_path / "swapped.tar"
    rktpy("image", "save", f"--output={swapped}", name, other)
    assert swapped.read_bytes() == archive.read_bytes()
    assert "exists" in rktpy("image", "save", f"--output={swapped}", name, status=254).stderr


def test_images_that_would_have_one_name(rktpy: Rktpy, tmp_path: Path) -> None:
    layouts = [make_image(tmp_path / one, [{"/x": one.encode()}]) for one in ("a", "b") if not (tmp_path / one).mkdir()]
    ids = fetch(rktpy, *layouts)
    done = rktpy("image", "save", f"--output={tmp_path}/x.tar", *ids, status=254)
    assert "two images would be called 'v1' in the archive" in done.stderr
    assert not (tmp_path / "x.tar").exists()


def test_an_aci_does_not_go_into_an_archive(rktpy: Rktpy, name: str, busybox_images: Path, tmp_path: Path) -> None:
    fetch(rktpy, name, str(busybox_images / "busybox.aci"))
    done = rktpy("image", "save", f"--output={tmp_path}/x.tar", name, "example.com/busybox:1", status=254)
    assert "an ACI is a file of its own" in done.stderr


# Other tools


def test_skopeo_reads_what_was_saved(rktpy: Rktpy, name: str, other: str, secret: Path, tmp_path: Path) -> None:
    image = fetch(rktpy, name, other)[0]
    sign(rktpy, secret, name, tmp_path)
    archive = tmp_path / "images.tar"
    rktpy("image", "save", f"--output={archive}", name, other)
    argv = [need_tool("skopeo"), "inspect", "--raw", f"oci-archive:{archive}:{name.removeprefix('docker://')}"]
    raw = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout
    assert digest_of(raw) == image.replace("-", ":")


@pytest.mark.root
def test_podman_reads_what_was_saved(rktpy: Rktpy, name: str, secret: Path, tmp_path: Path) -> None:
    fetch(rktpy, name)
    sign(rktpy, secret, name, tmp_path)
    signed, plain = tmp_path / "signed.tar", tmp_path / "plain.tar"
    rktpy("image", "save", f"--output={signed}", name)
    rktpy("image", "save", f"--output={plain}", "--with-signatures=false", name)
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"default": [ANYTHING]}))
    short = name.removeprefix("docker://")
    with Podman(tmp_path) as podman:
        podman("pull", "--quiet", f"--signature-policy={policy}", f"oci-archive:{signed}:{short}")
        podman("rmi", "--all", "--force")
        podman("load", "--quiet", f"--signature-policy={policy}", f"--input={plain}")
        assert short in podman("images", "--format={{.Repository}}:{{.Tag}}")


def test_an_archive_of_skopeo(elsewhere: Rktpy, registry: Registry, name: str, tmp_path: Path) -> None:
    archive = tmp_path / "skopeo.tar"
    copy = [need_tool("skopeo"), "copy", "--quiet", "--src-tls-verify=false", "--insecure-policy", name]
    subprocess.run([*copy, f"oci-archive:{archive}"], check=True, timeout=60)
    (image,) = elsewhere("image", "load", UNSIGNED, "--full", str(archive)).stdout.split()
    record = json.loads((elsewhere.data / "cas/images" / image).read_text())
    assert record["references"] == [f"oci-archive:{archive}:@{image.replace('-', ':')}"]
    done = elsewhere("image", "load", str(archive), status=254)
    assert "is refused by reject" in done.stderr


@pytest.mark.root
def test_an_archive_of_podman(elsewhere: Rktpy, name: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"default": [ANYTHING]}))
    with Podman(tmp_path) as podman:
        podman("pull", "--quiet", "--tls-verify=false", f"--signature-policy={policy}", name)
        podman("save", "--quiet", "--format=oci-archive", f"--output={tmp_path}/podman.tar", name.removeprefix("docker://"))
    elsewhere("image", "load", UNSIGNED, f"{tmp_path}/podman.tar")
    assert elsewhere("fetch", UNSIGNED, "--pull-policy=never", name).stdout


# Archives that lie


def changed(path: Path, target: Path, **changes: Any) -> Path:
    """A copy of an archive whose index is changed."""
    files = contents(path)
    index = json.loads(files["index.json"])
    changes["edit"](index, files)
    files["index.json"] = json.dumps(index).encode()
    write_archive(target, files)
    return target


@pytest.fixture
def archive(rktpy: Rktpy, name: str, other: str, secret: Path, tmp_path: Path) -> Path:
    """Two images, of which the first alone is signed."""
    fetch(rktpy, name, other)
    sign(rktpy, secret, name, tmp_path)
    path = tmp_path / "images.tar"
    rktpy("image", "save", f"--output={path}", name, other)
    return path


def test_the_signature_of_another_image(elsewhere: Rktpy, archive: Path, name: str, tmp_path: Path) -> None:
    def edit(index: dict[str, Any], files: dict[str, bytes]) -> None:
        """Give the unsigned image the name of the signed one, and the signature a new subject."""
        first, second = index["manifests"][:2]
        digest = first["digest"]
        first["annotations"][REF_NAME], second["annotations"][REF_NAME] = "x", first["annotations"][REF_NAME]
        for entry in index["manifests"][2:]:
            path = f"blobs/{entry['digest'].replace(':', '/')}"
            data = files[path].replace(digest.encode(), second["digest"].encode())
            entry["digest"], entry["size"] = digest_of(data), len(data)
            files[f"blobs/{digest_of(data).replace(':', '/')}"] = data

    path = changed(archive, tmp_path / "swapped.tar", edit=edit)
    done = elsewhere("image", "load", f"--name={name}", str(path), status=254)
    assert "is refused by signedBy" in done.stderr
    assert elsewhere("image", "list", "--no-legend").stdout == ""


def test_a_blob_that_is_changed(elsewhere: Rktpy, archive: Path, name: str, tmp_path: Path) -> None:
    def edit(index: dict[str, Any], files: dict[str, bytes]) -> None:
        manifest = json.loads(files[f"blobs/{index['manifests'][0]['digest'].replace(':', '/')}"])
        path = f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"
        files[path] = files[path][:-1] + bytes([files[path][-1] ^ 1])

    path = changed(archive, tmp_path / "changed.tar", edit=edit)
    done = elsewhere("image", "load", f"--name={name}", str(path), status=254)
    assert "has the digest" in done.stderr


def test_a_truncated_archive(elsewhere: Rktpy, archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.tar"
    path.write_bytes(archive.read_bytes()[:30_000])
    elsewhere("image", "load", str(path), status=254)
    assert elsewhere("image", "list", "--no-legend").stdout == ""


def test_what_is_no_file(rktpy: Rktpy, name: str, tmp_path: Path) -> None:
    fetch(rktpy, name)
    done = rktpy("image", "save", "--overwrite", "--output=/dev/stdout", name, status=254)
    assert "/dev/stdout is there and is not a file" in done.stderr
    assert "is not a file" in rktpy("image", "load", str(tmp_path), status=254).stderr
    assert "there is no such file" in rktpy("image", "load", f"{tmp_path}/none.tar", status=254).stderr


@pytest.mark.parametrize("files", [{}, {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}, {"index.json": b"[]"}])
def test_what_is_no_archive(rktpy: Rktpy, tmp_path: Path, files: dict[str, bytes]) -> None:
    write_archive(tmp_path / "x.tar", files)
    rktpy("image", "load", UNSIGNED, f"{tmp_path}/x.tar", status=254)


@pytest.mark.root
@pytest.mark.stage1("fly")
def test_a_loaded_image_runs(
    rktpy: Rktpy, launcher: Path, registry: Registry, busybox_images: Path, secret: Path, public: Path, tmp_path: Path
) -> None:
    registry.push(f"oci:{busybox_images}/busybox-oci:1", "team/busybox:v1")
    name = f"docker://{registry.host}/team/busybox:v1"
    builder = Rktpy(launcher, tmp_path / "builder")
    fetch(builder, name)
    sign(builder, secret, name, tmp_path)
    builder("image", "save", f"--output={tmp_path}/x.tar", name)
    write_policy(rktpy, registry.host, signed_by(public))
    rktpy("image", "load", f"{tmp_path}/x.tar")
    done = rktpy("run", "--pull-policy=never", name, "--exec=/bin/echo", "--", "it runs")
    assert "it runs" in done.stdout
    write_policy(rktpy, registry.host, {"type": "reject"})
    assert "is refused by reject" in rktpy("run", "--pull-policy=never", name, status=254).stderr
