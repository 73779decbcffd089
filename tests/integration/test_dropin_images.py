"""What a CRI shim and scripts do with rkt's image commands: the same calls, the same answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.http_server import Answer, Server
from tests.support.pods import Running
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

NAME = "example.com/busybox:1"
UNSIGNED = "--insecure-options=image"
SHIM = "--insecure-options=image,ondisk"
PLAIN = "--insecure-options=image,http"


@pytest.fixture
def stored(rktpy: Rktpy, busybox_images: Path) -> Rktpy:
    """rktpy with busybox in the store."""
    rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    return rktpy


def only_id(rktpy: Rktpy) -> str:
    """The whole ID of the one stored image."""
    done = rktpy("image", "list", "--full", "--no-legend", "--fields=id")
    return done.stdout.strip()


def test_the_life_of_an_image_in_a_shim(rktpy: Rktpy, busybox_images: Path) -> None:
    """Fetch, list, show and remove, as rktlet calls them."""
    reference = f"oci:{busybox_images}/busybox-oci:1"
    fetched = rktpy(SHIM, "image", "fetch", "--pull-policy=update", "--full=true", reference).stdout.splitlines()
    assert len(fetched) == 1
    listed = json.loads(rktpy(SHIM, "image", "list", "--full", "--format=json", "--sort=importtime").stdout)
    assert [list(image) for image in listed] == [["id", "name", "import_time", "last_used_time", "size"]]
    assert listed[0]["id"] == fetched[0]
    assert all(isinstance(listed[0][field], int) for field in ("import_time", "last_used_time", "size"))
    manifest = json.loads(rktpy(SHIM, "image", "cat-manifest", fetched[0]).stdout)
    assert manifest["acKind"] == "ImageManifest"
    names = [annotation["name"] for annotation in manifest["annotations"]]
    assert "appc.io/docker/originalname" in names
    assert rktpy(SHIM, "image", "rm", fetched[0]).stdout == f'successfully removed aci for image: "{fetched[0]}"\n'
    assert rktpy(SHIM, "image", "list", "--format=json").stdout == "[]\n"


def test_the_pods_of_a_shim(stored: Rktpy) -> None:
    uuid = stored(SHIM, "prepare", NAME, "--user-annotation=k=v", "--user-label=l=w", "--name=main").stdout.strip()
    (pod,) = json.loads(stored("list", "--format=json").stdout)
    assert (pod["name"], pod["state"], pod["app_names"]) == (uuid, "prepared", ["main"])
    stored(SHIM, "run-prepared", uuid)
    pod = json.loads(stored("status", "--format=json", "--wait-ready=10s", uuid).stdout)
    assert (pod["state"], pod["apps"][0]["state"]) == ("exited", "exited")
    assert pod["apps"][0]["user_annotations"] == {"k": "v"}
    assert pod["apps"][0]["user_labels"] == {"l": "w"}
    assert pod["created_at"] <= pod["started_at"]
    assert stored("rm", uuid).stdout == f'"{uuid}"\n'


def test_how_many_digits_of_an_id_are_printed(stored: Rktpy, busybox_images: Path) -> None:
    whole = only_id(stored)
    assert re.fullmatch(r"sha512-[0-9a-f]{64}", whole)
    for flags, digits in (((), 32), (("--full",), 64), (("--full=false",), 32)):
        done = stored(UNSIGNED, "fetch", *flags, str(busybox_images / "busybox.aci"))
        assert done.stdout == whole[: len("sha512-") + digits] + "\n"
    assert stored("image", "list", "--no-legend", "--fields=id").stdout.strip() == whole[: len("sha512-") + 12]
    for digits in (2, 12, 32, 64):
        part = whole[: len("sha512-") + digits]
        assert json.loads(stored("image", "cat-manifest", part).stdout)["name"] == "example.com/busybox"
    assert stored(UNSIGNED, "run", whole[:19]).stdout == "hello from busybox, an ACI\n"


@pytest.mark.parametrize("command", [("image", "cat-manifest"), ("image", "rm"), ("image", "verify"), ("run",), ("fetch",)])
def test_ids_that_lead_nowhere(stored: Rktpy, command: tuple[str, ...]) -> None:
    whole = only_id(stored)
    assert "image ID too short\n" in stored(UNSIGNED, *command, whole[:8], status=254).stderr
    other = "sha512-" + ("00" if whole[7:9] != "00" else "11")
    assert f'no image IDs found for "{other}"\n' in stored(UNSIGNED, *command, other, status=254).stderr


def test_an_ambiguous_id(rktpy: Rktpy, tmp_path: Path) -> None:
    seen: dict[str, int] = {}
    for number in range(40):
        path = make_aci(tmp_path / f"{number}.aci", f"example.com/n{number}", {})
        begin = rktpy(UNSIGNED, "fetch", "--render=false", str(path)).stdout[: len("sha512-") + 2]
        if begin in seen:
            break
        seen[begin] = number
    else:
        pytest.fail("forty images and no two IDs begin alike")
    assert f'ambiguous image ID: "{begin}"\n' in rktpy("image", "cat-manifest", begin, status=254).stderr
    assert "ambiguous image ID" in rktpy("image", "rm", begin, status=254).stderr


def test_a_file_is_always_read(rktpy: Rktpy, busybox_images: Path) -> None:
    path = str(busybox_images / "busybox.aci")
    told = f"image: using image from file {path}\n"
    for command in ("fetch", "run", "prepare"):
        for flag in ("--debug", "--store-only", "--no-store"):
            done = rktpy(UNSIGNED, "--debug", command, flag, path)
            assert told in done.stderr
            assert ("has been deprecated" in done.stderr) == (flag != "--debug")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    """example.test, which announces its images, and the environment in which it is found.

    Every answer ends its connection: the proxy of the tests reads one request of each.
    """
    page = b'<meta name="ac-discovery" content="example.test http://example.test/{name}.{ext}">'
    with Server() as server, Proxy({"example.test:80": server.port}) as proxy:
        tool = need_tool("busybox")
        images: tuple[tuple[str, dict[str, bytes | str | None], dict[str, Any]], ...] = (
            ("a", {"/a": b"a"}, {"dependencies": [{"imageName": "example.test/b"}, {"imageName": "example.test/c"}]}),
            ("b", {"/b": b"b\n"}, {}),
            ("c", {"/bin/cat": tool}, {"dependencies": [{"imageName": "example.test/b"}]}),
        )
        for name, files, more in images:
            make: dict[str, Any] = {"exec": ["/bin/cat", "/b"], **more}
            path = make_aci(tmp_path / f"{name}.aci", f"example.test/{name}", files, **make)
            server.serve(f"/{name}", Answer(200, page, {"Connection": "close"}))
            server.serve(f"/example.test/{name}.aci", Answer(200, path.read_bytes(), {"Connection": "close"}))
        yield server, {**os.environ, **proxy.environ}


def test_dependencies_come_and_come_back(rktpy: Rktpy, site: tuple[Server, dict[str, str]]) -> None:
    """One that is removed is fetched again by the next run of the image's name, as rkt does; not with pull policy never."""
    server, environment = site
    done = rktpy(PLAIN, "--debug", "run", "example.test/a", env=environment)
    assert done.stdout == "b\n"
    for name in "abc":
        assert f'image: remote fetching from URL "http://example.test/example.test/{name}.aci"\n' in done.stderr
    uuid = rktpy("list", "--full", "--no-legend").stdout.split("\t")[0]
    rktpy("rm", uuid)
    rktpy("image", "rm", "example.test/b")
    before = len(server.paths())
    never = rktpy(PLAIN, "run", "--pull-policy=never", "example.test/a", env=environment, status=254)
    assert 'dependency "example.test/b" is not in the store' in never.stderr
    assert len(server.paths()) == before
    done = rktpy(PLAIN, "--debug", "run", "example.test/a", env=environment)
    assert done.stdout == "b\n"
    assert "image: using image from local store for image name example.test/a\n" in done.stderr
    assert "image: using image from local store for image name example.test/c\n" in done.stderr
    assert server.paths()[before:] == ["GET /b?ac-discovery=1", "GET /example.test/b.aci"]


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("example.test/b:2.0", 'requested value for label "version": "2.0" differs from fetched aci label value: "1"'),
        (
            "example.test/b,arch=armv7b",
            'requested value for label "arch": "armv7b" differs from fetched aci label value: "amd64"',
        ),
        ("example.test/b,extra=bla", 'requested label "extra" not provided by the image manifest'),
    ],
)
def test_what_comes_must_be_what_was_asked_for(
    rktpy: Rktpy, site: tuple[Server, dict[str, str]], asked: str, problem: str
) -> None:
    assert rktpy(PLAIN, "fetch", asked, env=site[1], status=254).stderr.endswith(f"fetch: {problem}\n")
    assert rktpy("image", "list", "--no-legend").stdout == ""


def test_pull_policies(rktpy: Rktpy, site: tuple[Server, dict[str, str]]) -> None:
    environment = site[1]
    url = "http://example.test/example.test/b.aci"
    remote, local = f'image: remote fetching from URL "{url}"\n', f"image: using image from local store for url {url}\n"
    done = rktpy(PLAIN, "--debug", "--pull-policy=never", "fetch", url, env=environment, status=254)
    assert f'unable to fetch image from url "{url}": ' in done.stderr
    # "fetch" asks again, "run" and "prepare" do not.
    for command, policy, told in (
        ("fetch", "", remote),
        ("fetch", "", remote),
        ("fetch", "--pull-policy=new", local),
        ("prepare", "", local),
        ("prepare", "--pull-policy=update", remote),
        ("prepare", "--pull-policy=never", local),
    ):
        done = rktpy(PLAIN, "--debug", *filter(None, [policy]), command, url, env=environment)
        assert told in done.stderr


def test_trees_go_after_the_pods(stored: Rktpy) -> None:
    """``image gc`` from a timer leaves what exited pods still show, and takes it once ``gc`` has removed them."""
    trees = stored.data / "cas/tree"
    stored(UNSIGNED, "run", NAME)
    before = os.listdir(trees)
    stored("image", "gc")
    assert os.listdir(trees) == before != []
    stored("gc", "--grace-period=0s")
    assert "removed treestore" in stored("image", "gc").stderr
    assert os.listdir(trees) == []
    assert stored(UNSIGNED, "run", NAME).stdout == "hello from busybox, an ACI\n"


def test_removing_an_image_in_use(stored: Rktpy, tmp_path: Path) -> None:
    """``image rm`` lets go of the image; prepared, running and exited pods keep the tree, until ``image gc`` after them."""
    whole = only_id(stored)
    prepared = stored(UNSIGNED, "prepare", NAME).stdout.strip()
    script = "echo up; while [ ! -e /go ]; do sleep 0.05; done; echo over"
    with Running(stored, tmp_path, script) as pod:
        assert pod.line() == "up\n"
        done = stored("image", "rm", whole)
        assert done.stdout == f'successfully removed aci for image: "{whole}"\n'
        assert done.stderr == "rm: 1 image(s) successfully removed\n"
        assert stored("image", "list", "--no-legend").stdout == ""
        assert stored("image", "gc", "--grace-period=0s").stderr == ""
        assert stored("image", "check").stderr == "check: the store is sound\n"
        assert stored("enter", pod.uuid, "busybox", "cat", "/etc/passwd").returncode == 0
        assert json.loads(stored("status", "--format=json", pod.uuid).stdout)["state"] == "running"
        stored("enter", pod.uuid, "busybox", "touch", "/go")
        assert pod.ended() == (0, "over\n", "")
        running = pod.uuid
    # Once with the option for this pod, always with it for this pod; the image is unknown to everybody else.
    assert stored("run-prepared", prepared).stdout == "hello from busybox, an ACI\n"
    assert "image ID" in stored(UNSIGNED, "run", whole, status=254).stderr
    stored("export", "--app=busybox", running, str(tmp_path / "out.aci"))
    stored("image", "gc")
    assert len(os.listdir(stored.data / "cas/tree")) == 1
    stored("rm", prepared, running)
    assert "removed treestore" in stored("image", "gc").stderr
    assert os.listdir(stored.data / "cas/tree") == []


def test_an_image_that_comes_back(stored: Rktpy, busybox_images: Path) -> None:
    prepared = stored(UNSIGNED, "prepare", NAME).stdout.strip()
    stored("image", "rm", NAME)
    stored(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    assert stored("image", "verify", NAME).stdout.startswith("successfully verified")
    assert stored("run-prepared", prepared).stdout == "hello from busybox, an ACI\n"


@pytest.mark.parametrize("flags", [(), ("--no-overlay",)])
def test_an_exported_app_runs_as_it_was_left(stored: Rktpy, tmp_path: Path, flags: tuple[str, ...]) -> None:
    script = "echo made >/made; readlink /proc/self/ns/net"
    file = f"--uuid-file-save={tmp_path}/uuid"
    done = stored(UNSIGNED, "run", "--net=host", *flags, file, NAME, "--exec=/bin/sh", "--", "-c", script)
    assert done.stdout == os.readlink("/proc/self/ns/net") + "\n"
    stored("export", "--app=busybox", (tmp_path / "uuid").read_text(), str(tmp_path / "out.aci"))
    assert stored(UNSIGNED, "run", str(tmp_path / "out.aci"), "--exec=/bin/cat", "--", "/made").stdout == "made\n"
