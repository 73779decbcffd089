"""The image commands as a user calls them: outputs and exit statuses as rkt's."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.conftest import Rktpy

UNSIGNED = "--insecure-options=image"
NAME = "example.com/busybox:1"
WARNING = "image: warning: image signature verification has been disabled\n"


@pytest.fixture
def aci(rktpy: Rktpy, busybox_images: Path) -> str:
    """The ID of the stored busybox ACI, as fetch prints it."""
    done = rktpy(UNSIGNED, "fetch", "--full", "--render=false", str(busybox_images / "busybox.aci"))
    assert done.stderr == WARNING
    assert re.fullmatch(r"sha512-[0-9a-f]{64}\n", done.stdout)
    return done.stdout.strip()


def test_fetch_prints_short_ids_in_order(rktpy: Rktpy, busybox_images: Path, aci: str) -> None:
    done = rktpy("fetch", f"oci:{busybox_images}/busybox-oci:1", str(busybox_images / "busybox.aci"), UNSIGNED)
    first, second = done.stdout.split()
    assert re.fullmatch(r"sha256-[0-9a-f]{32}", first)
    assert second == aci[: len("sha512-") + 32]


def test_fetch_refuses_what_nobody_signed(rktpy: Rktpy, busybox_images: Path) -> None:
    done = rktpy("fetch", str(busybox_images / "busybox.aci"), status=254)
    assert done.stdout == ""
    assert done.stderr.startswith("fetch: ")
    assert rktpy("image", "list", "--no-legend").stdout == ""


def test_image_fetch_is_fetch(rktpy: Rktpy, busybox_images: Path, aci: str) -> None:
    done = rktpy("image", "fetch", "--pull-policy=update", "--full=true", UNSIGNED, str(busybox_images / "busybox.aci"))
    assert done.stdout.strip() == aci
    assert "image fetch" not in rktpy("help").stdout


def test_fetch_without_images(rktpy: Rktpy) -> None:
    assert rktpy("fetch", status=254).stderr == "fetch: must provide at least one image\n"


def test_image_list(rktpy: Rktpy, aci: str) -> None:
    lines = rktpy("image", "list").stdout.split("\n")
    assert lines[0].split("\t\t\t") == ["ID", "NAME", "SIZE\tIMPORT TIME\tLAST USED"]
    assert lines[1].startswith(f"{aci[:19]}\t{NAME}\t2.0MiB\t")
    assert lines[2:] == [""]
    assert rktpy("image", "list", "--no-legend", "--fields=name,id").stdout == f"{NAME}\t{aci[:19]}\n"
    full = rktpy("image", "list", "--full", "--no-legend", "--fields=id,size,importtime").stdout
    assert re.fullmatch(aci + r"\t\d+\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,3})? [-+]\d{4} \S+\n", full)


def test_image_list_as_json(rktpy: Rktpy, aci: str) -> None:
    done = rktpy("image", "list", "--full", "--format=json", "--sort=importtime")
    assert done.stdout.count("\n") == 1
    (image,) = json.loads(done.stdout)
    assert list(image) == ["id", "name", "import_time", "last_used_time", "size"]
    assert (image["id"], image["name"]) == (aci, NAME)
    assert image["import_time"] > 10**18
    assert rktpy("image", "list", "--format=json-pretty").stdout.startswith('[\n\t{\n\t\t"id": "sha512-')


def test_image_list_sorts(rktpy: Rktpy, busybox_images: Path, aci: str) -> None:
    rktpy(UNSIGNED, "fetch", f"oci:{busybox_images}/busybox-oci:1")
    for sort, order, first in (
        ("importtime", "asc", aci[:7]),
        ("importtime", "desc", "sha256-"),
        # The ACI is only stored, the OCI image has been rendered too.
        ("size", "asc", aci[:7]),
        ("size", "desc", "sha256-"),
        ("name", "asc", "sha256-"),
        ("name", "desc", aci[:7]),
    ):
        done = rktpy("image", "list", "--no-legend", "--fields=id", f"--sort={sort}", f"--order={order}")
        assert done.stdout.startswith(first), (sort, order)


@pytest.mark.parametrize("how", ["name", "version", "short", "full", "hex"])
def test_images_are_named_in_many_ways(rktpy: Rktpy, aci: str, how: str) -> None:
    text = {"name": "example.com/busybox", "version": NAME, "short": aci[:19], "full": aci, "hex": aci[7:20]}[how]
    done = rktpy("image", "cat-manifest", text)
    assert json.loads(done.stdout)["name"] == "example.com/busybox"
    assert done.stdout.startswith('{\n\t"ac')
    assert rktpy("image", "cat-manifest", "--pretty-print=false", text).stdout.count("\n") == 1


@pytest.mark.parametrize("command", ["cat-manifest", "rm", "verify"])
def test_images_that_are_not_there(rktpy: Rktpy, aci: str, command: str) -> None:
    for text, problem in (
        ("example.com/none", "example.com/none"),
        ("sha512-00", "no image IDs found"),
        ("sha512-0", "image ID too short"),
    ):
        assert problem in rktpy("image", command, text, status=254).stderr


def test_image_rm(rktpy: Rktpy, aci: str) -> None:
    done = rktpy("image", "rm", "sha512-00", NAME, status=254)
    assert done.stdout == f'successfully removed aci for image: "{aci}"\n'
    assert "rm: 1 image(s) successfully removed\n" in done.stderr
    assert done.stderr.endswith("rm: 1 image(s) cannot be removed\n")
    assert rktpy("image", "list", "--format=json").stdout == "[]\n"
    assert rktpy("image", "rm", status=254).stderr == "rm: must provide at least one image ID\n"


def test_image_gc(rktpy: Rktpy, aci: str) -> None:
    assert rktpy("image", "gc").stdout == ""
    done = rktpy("image", "gc", "--grace-period=0s")
    assert done.stdout == f'successfully removed aci for image: "{aci}"\n'
    assert done.stderr == "gc: 1 image(s) successfully removed\n"


def test_image_export(rktpy: Rktpy, aci: str, tmp_path: Path) -> None:
    target = tmp_path / "out.aci"
    rktpy("image", "export", NAME, str(target))
    with tarfile.open(target, "r:") as archive:
        assert "manifest" in archive.getnames()
    assert "exists" in rktpy("image", "export", NAME, str(target), status=254).stderr
    rktpy("image", "export", "--overwrite", NAME, str(target))
    assert "USAGE" in rktpy("image", "export", NAME, status=254).stdout


@pytest.mark.root
@pytest.mark.parametrize("command", ["extract", "render"])
def test_image_extract_and_render(rktpy: Rktpy, aci: str, tmp_path: Path, command: str) -> None:
    target = tmp_path / "out"
    rktpy("image", command, NAME, str(target))
    assert json.loads((target / "manifest").read_text())["name"] == "example.com/busybox"
    assert (target / "rootfs/bin/busybox").exists()
    assert "exists" in rktpy("image", command, NAME, str(target), status=254).stderr
    rktpy("image", command, "--overwrite", "--rootfs-only", NAME, str(target))
    assert (target / "bin/busybox").exists()
    assert not (target / "manifest").exists()


@pytest.mark.root
def test_image_verify(rktpy: Rktpy, aci: str) -> None:
    assert rktpy("image", "verify", NAME).stdout == f'image "{NAME}" not rendered; no verification needed\n'
    rktpy(UNSIGNED, "prepare", NAME)
    assert rktpy("image", "verify", NAME).stdout == f'successfully verified checksum for image: "{NAME}" ("{aci}")\n'
    (busybox,) = (rktpy.data / "cas/tree").glob("*/rootfs/bin/busybox")
    busybox.write_bytes(b"changed")
    assert rktpy("image", "verify", NAME).stdout.startswith(f"tree cache verification failed for image {NAME}: ")
    assert rktpy("image", "verify", NAME).stdout.startswith("successfully verified checksum")


def test_image_check(rktpy: Rktpy, aci: str) -> None:
    done = rktpy("image", "check")
    assert (done.stdout, done.stderr) == ("", "check: the store is sound\n")
    (blob,) = (rktpy.data / "cas/blobs/sha512").iterdir()
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    done = rktpy("image", "check", status=254)
    assert done.stdout.startswith("broken: ")
    assert done.stderr == "check: 1 problem(s) left: try --repair\n"
    assert "(repaired)" in rktpy("image", "check", "--repair").stdout
    assert rktpy("image", "check").stderr == "check: the store is sound\n"
    assert rktpy("image", "list", "--no-legend").stdout == ""


def test_config(rktpy: Rktpy) -> None:
    (rktpy.config / "stage1.d").mkdir(parents=True)
    stage1 = {"rktKind": "stage1", "rktVersion": "v1", "name": "example.com/s1", "version": "1", "location": "/s1.aci"}
    (rktpy.config / "stage1.d/s.json").write_text(json.dumps(stage1))
    documents = json.loads(rktpy("config").stdout)["stage0"]
    assert [document["rktKind"] for document in documents] == ["paths", "stage1"]
    assert documents[1] == {**documents[1], **stage1}
    assert rktpy("--pretty-print=false", "config").stdout.count("\n") == 1
    (rktpy.config / "stage1.d/s.json").write_text("[]")
    assert rktpy("config", status=254).stderr.startswith("config: cannot get configuration: ")


def test_trust_asks_for_a_prefix(rktpy: Rktpy) -> None:
    assert "implicit unbounded trust" in rktpy("trust", "key", status=254).stderr
    assert "USAGE" in rktpy("trust", status=254).stdout
    assert "mutually exclusive" in rktpy("trust", "--root", "--prefix=a", "k", status=254).stderr
    assert "omit https://" in rktpy("trust", "--prefix=https://a", "k", status=254).stderr
    assert "--root wants" in rktpy("trust", "--root", status=254).stderr


@pytest.mark.parametrize("command", [["image", "rm", NAME], ["image", "gc", "--grace-period=0s"]])
def test_nothing_is_removed_while_a_pod_cannot_be_read(rktpy: Rktpy, aci: str, command: list[str]) -> None:
    uuid = "5bc080ca-9e03-480d-b705-5928af396cc5"
    pod = rktpy.data / "pods/prepared" / uuid
    pod.mkdir(parents=True)
    (pod / "pod").write_text("{")
    assert f"cannot tell what pod {uuid} uses: " in rktpy(*command, status=254).stderr
    assert aci[:19] in rktpy("image", "list").stdout


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ("max-entries=5", "more than 5 entries"),
        ("max-unpacked-bytes=100K", "than 102400 bytes"),
        ("max-unpacked-bytes=1T,max-entries=9", "more than 9 entries"),
    ],
)
def test_image_limits(rktpy: Rktpy, busybox_images: Path, limits: str, problem: str) -> None:
    done = rktpy(UNSIGNED, f"--image-limits={limits}", "fetch", f"oci:{busybox_images}/busybox-oci:1", status=254)
    assert problem in done.stderr
    assert rktpy("image", "list", "--no-legend").stdout == ""
    assert not list((rktpy.data / "cas/tree").iterdir())
    done = rktpy("--image-limits=max-fun=5", "image", "list", status=254)
    assert "unknown limit 'max-fun'" in done.stderr
