"""Images that other tools made run unchanged, and unpack to what those tools unpack them to."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from tests.conftest import Rktpy, need_tool
from tests.support.registry import Registry
from tests.support.trees import Fact, snapshot

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

FETCH = "--insecure-options=image,http"
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{0}/graph"\nrunroot = "{0}/run"\n'
SAYS = "uid=1000 gid=1001 in /work, COLOUR=blue\n"
COMMAND = 'echo "uid=$(id -u) gid=$(id -g) in $(pwd), COLOUR=$COLOUR"'


class Tools:
    """skopeo, umoci, podman and buildah in a directory of their own, with a configuration under which they work anywhere."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "policy.json").write_text(POLICY)
        (directory / "containers.conf").write_text('[containers]\ndefault_ulimits = []\n[engine]\nevents_logger = "file"\n')
        (directory / "storage.conf").write_text(STORAGE.format(directory))
        (directory / "registries.conf").write_text("")
        self.environment = {
            **os.environ,
            "HOME": str(directory),
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf"),
        }

    def __call__(self, *argv: str) -> str:
        need_tool(argv[0])
        done = subprocess.run(
            argv, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def skopeo(self, *argv: str) -> str:
        return self("skopeo", f"--policy={self.directory}/policy.json", *argv)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools(tmp_path_factory.mktemp("tools"))


def first_layer(root: Path) -> None:
    """Everything that a file system can hold."""
    for name in ("bin", "etc", "work", "gone/deep", "opaque/below", "becomes-file/inner", "linked"):
        (root / name).mkdir(parents=True)
    shutil.copy(need_tool("busybox"), root / "bin/busybox")
    for applet in ("sh", "id", "cat", "ls"):
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/work:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nwww:x:1001:\n")
    (root / "tmp").mkdir(mode=0o777)
    os.chmod(root / "tmp", 0o1777)
    os.chown(root / "work", 1000, 1001)
    (root / "bin/setuid").write_bytes(b"#!/bin/sh\n")
    os.chown(root / "bin/setuid", 12345, 70000)
    os.chmod(root / "bin/setuid", 0o6755)
    (root / "bin/capable").write_bytes(b"x")
    subprocess.run([need_tool("setcap"), "cap_net_raw+ep", str(root / "bin/capable")], check=True)
    (root / "etc/attributes").write_text("with an attribute")
    os.setxattr(root / "etc/attributes", "user.note", b"\0binary\xff")
    (root / "linked/one").write_text("the same file\n")
    os.link(root / "linked/one", root / "linked/two")
    os.link(root / "linked/one", root / "etc/three")
    os.symlink("/etc/passwd", root / "absolute")
    os.symlink("../../../../outside", root / "linked/up")
    os.mkfifo(root / "linked/pipe", 0o640)
    os.mknod(root / "linked/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (root / ("long-" * 20) / ("name-" * 40)).mkdir(parents=True)
    (root / ("long-" * 20) / ("name-" * 40) / ("file-" * 40)).write_text("long")
    (root / "umlaut-ä").write_text("utf-8")
    (root / "gone/deep/file").write_text("to be removed")
    (root / "gone/other").write_text("to be removed")
    (root / "removed").write_text("to be removed")
    (root / "opaque/old").write_text("to be hidden")
    (root / "becomes-file/inner/x").write_text("x")
    (root / "becomes-dir").write_text("x")
    (root / "empty").write_bytes(b"")
    os.utime(root / "empty", (1_000_000_000, 1_000_000_000))
    with (root / "hole").open("wb") as file:
        file.truncate(3 << 20)


def second_layer(root: Path) -> None:
    """Removals and replacements of every kind."""
    (root / "removed").unlink()
    shutil.rmtree(root / "gone")
    shutil.rmtree(root / "becomes-file")
    (root / "becomes-file").write_text("a file now")
    (root / "becomes-dir").unlink()
    (root / "becomes-dir").mkdir()
    (root / "becomes-dir/file").write_text("in a directory now")
    (root / "linked/two").unlink()
    os.chmod(root / "etc", 0o711)
    (root / "bin/ls").unlink()


@pytest.fixture(scope="module")
def layout(tools: Tools) -> str:
    """The layout ``rich`` with the image ``v1`` of umoci: four layers, one with an opaque directory."""
    need_tool("umoci")
    tools("umoci", "init", "--layout", "rich")
    tools("umoci", "new", "--image", "rich:v1")
    for number, change in enumerate((first_layer, second_layer)):
        tools("umoci", "unpack", "--image", "rich:v1", f"bundle{number}")
        change(tools.directory / f"bundle{number}/rootfs")
        tools("umoci", "repack", "--image", "rich:v1", f"bundle{number}")
        shutil.rmtree(tools.directory / f"bundle{number}")
    fresh = tools.directory / "fresh"
    fresh.mkdir()
    (fresh / "new").write_text("all that is left")
    tools("umoci", "insert", "--opaque", "--image", "rich:v1", "fresh", "/opaque")
    tools("umoci", "insert", "--image", "rich:v1", "fresh/new", "/inserted")
    settings = ("--config.user=1000:1001", "--config.workingdir=/work", "--config.env=COLOUR=blue", "--config.env=PATH=/bin")
    command = ("--config.entrypoint=/bin/sh", "--config.entrypoint=-c", f"--config.cmd={COMMAND}")
    tools("umoci", "config", "--image", "rich:v1", *settings, *command)
    return f"{tools.directory}/rich"


@pytest.fixture(scope="module")
def unpacked(tools: Tools, layout: str) -> dict[bytes, Fact]:
    """What umoci unpacks of the image."""
    tools("umoci", "unpack", "--image", f"{layout}:v1", "reference")
    return facts(tools.directory / "reference/rootfs")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


def facts(root: Path) -> dict[bytes, Fact]:
    """What is in a tree. The times of directories are nobody's business: each tool sets them in its own way."""
    found = snapshot(root, times=False)
    found.pop(b"")
    for path, fact in found.items():
        if fact[0] == stat.S_IFREG:
            found[path] = (*fact, os.lstat(os.path.join(os.fsencode(root), path)).st_mtime_ns // 10**9)
    return found


def rendered(rktpy: Rktpy, image: str, directory: Path) -> dict[bytes, Fact]:
    """What rktpy makes of a stored image."""
    target = directory / "rendered"
    rktpy("image", "render", "--rootfs-only", "--overwrite", image, str(target))
    return facts(target)


def check(rktpy: Rktpy, reference: str, unpacked: dict[bytes, Fact], directory: Path) -> str:
    """Fetch, run and render the rich image; its ID."""
    image = rktpy(FETCH, "fetch", "--full", reference).stdout.strip()
    assert rktpy(FETCH, "run", image).stdout == SAYS
    ours = rendered(rktpy, image, directory)
    assert sorted(ours) == sorted(unpacked)
    assert {path: (ours[path], fact) for path, fact in unpacked.items() if ours[path] != fact} == {}
    assert rktpy("image", "check").stdout == ""
    return image


def test_umoci(rktpy: Rktpy, layout: str, unpacked: dict[bytes, Fact], tmp_path: Path) -> None:
    check(rktpy, f"oci:{layout}:v1", unpacked, tmp_path)
    # Not by comparison alone.
    names = set(unpacked)
    assert {b"opaque/new", b"inserted", b"becomes-dir/file", b"linked/null", b"umlaut-\xc3\xa4"} <= names
    assert not names & {b"opaque/old", b"opaque/below", b"gone", b"gone/deep/file", b"removed", b"linked/two", b"bin/ls"}
    tree = tmp_path / "rendered"
    assert stat.S_IMODE((tree / "bin/setuid").stat().st_mode) == 0o6755
    assert (tree / "bin/setuid").stat().st_uid == 12345
    assert os.getxattr(tree / "bin/capable", "security.capability")
    assert os.getxattr(tree / "etc/attributes", "user.note") == b"\0binary\xff"
    assert (tree / "linked/one").stat().st_ino == (tree / "etc/three").stat().st_ino
    assert (tree / "hole").stat().st_size == 3 << 20


def test_both_ways_of_running(rktpy: Rktpy, layout: str) -> None:
    """The app sees the same files in an overlay, in a copy, and after the tree was rendered from stored layers."""
    script = "cd /; find . -xdev | grep -v '^./\\(proc\\|sys\\|dev\\)' | sort; stat -c '%a %u' bin/setuid; cat etc/three"
    arguments = (f"oci:{layout}:v1", "--user=0", "--group=0", "--working-dir=/", "--exec=/bin/busybox", "--", "sh", "-c", script)
    streamed = rktpy(FETCH, "run", *arguments).stdout
    assert "./opaque/new\n" in streamed
    assert rktpy(FETCH, "run", "--no-overlay", *arguments).stdout == streamed
    rktpy("gc", "--grace-period=0s")
    rktpy("image", "gc", "--grace-period=1h")
    assert list((rktpy.data / "cas/tree").iterdir()) == []
    assert rktpy(FETCH, "run", *arguments).stdout == streamed


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("oci:{}/copy:tag", ()),
        ("oci-archive:{}/copy.tar:tag", ()),
        ("docker-archive:{}/saved.tar:example.com/rich:1", ()),
        ("docker://{registry}/rich/oci:1", ("--format=oci",)),
        ("docker://{registry}/rich/schema2:1", ("--format=v2s2",)),
    ],
    ids=["layout", "oci archive", "docker archive", "registry", "schema 2"],
)
def test_skopeo(
    rktpy: Rktpy,
    tools: Tools,
    layout: str,
    unpacked: dict[bytes, Fact],
    registry: Registry,
    tmp_path: Path,
    kind: str,
    options: tuple[str, ...],
) -> None:
    target = kind.format(tmp_path, registry=registry.host)
    extra = ("--dest-tls-verify=false",) if "docker://" in target else ()
    tools.skopeo("copy", "-q", *extra, *options, f"oci:{layout}:v1", target)
    image = check(rktpy, target, unpacked, tmp_path)
    if "docker://" in target:
        by_digest = f"{target.rpartition(':')[0]}@sha256:{next((rktpy.data / 'cas/images').iterdir()).name[7:]}"
        assert rktpy(FETCH, "fetch", "--full", by_digest).stdout.strip() == image


def test_skopeo_zstd(rktpy: Rktpy, tools: Tools, layout: str, unpacked: dict[bytes, Fact], tmp_path: Path) -> None:
    # skopeo compresses only what is not compressed yet, and what this registry has not got in another form.
    tools.skopeo("copy", "-q", "--dest-decompress", f"oci:{layout}:v1", f"dir:{tmp_path}/plain")
    with Registry(tmp_path / "registry") as fresh:
        target = f"docker://{fresh.host}/rich/zstd:1"
        options = ("--dest-tls-verify=false", "--format=oci", "--dest-compress", "--dest-compress-format=zstd")
        tools.skopeo("copy", "-q", *options, f"dir:{tmp_path}/plain", target)
        check(rktpy, target, unpacked, tmp_path)
    record = json.loads(next((rktpy.data / "cas/images").iterdir()).read_bytes())
    assert {layer["mediaType"].rpartition("+")[2] for layer in record["layers"]} == {"zstd"}


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_podman_save(rktpy: Rktpy, tools: Tools, layout: str, unpacked: dict[bytes, Fact], tmp_path: Path, form: str) -> None:
    tools("podman", "pull", "-q", f"--signature-policy={tools.directory}/policy.json", f"oci:{layout}:v1")
    name = json.loads(tools("podman", "images", "--format=json"))[0]["Id"]
    tools("podman", "tag", name, "localhost/rich:1")
    tools("podman", "save", "-q", f"--format={form}", "-o", f"{tmp_path}/saved.tar", "localhost/rich:1")
    check(rktpy, f"{form}:{tmp_path}/saved.tar", unpacked, tmp_path)
    mounted = Path(tools("podman", "image", "mount", "localhost/rich:1").strip())
    try:
        theirs = facts(mounted)
    finally:
        tools("podman", "image", "unmount", "localhost/rich:1")
    assert theirs == facts(tmp_path / "rendered")


def test_buildah(rktpy: Rktpy, tools: Tools, registry: Registry, tmp_path: Path) -> None:
    container = tools("buildah", "from", "scratch").strip()
    tools("buildah", "copy", "--quiet", container, need_tool("busybox"), "/bin/busybox")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("copied by buildah\n")
    tools("buildah", "copy", "--quiet", "--chown=7:8", container, str(tmp_path / "data"), "/data")
    tools("buildah", "config", '--entrypoint=["/bin/busybox"]', "--cmd=sh -c 'stat -c %u:%g /data/file; cat $WHERE'", container)
    tools("buildah", "config", "--env=WHERE=/data/file", "--volume=/var/keep", "--port=8080", container)
    policy = f"--signature-policy={tools.directory}/policy.json"
    for form in ("oci", "docker"):
        tools("buildah", "commit", "--quiet", policy, f"--format={form}", container, f"localhost/built:{form}")
        target = f"docker://{registry.host}/built/{form}:1"
        tools("buildah", "push", "--quiet", policy, "--tls-verify=false", f"localhost/built:{form}", target)
        assert rktpy(FETCH, "run", target).stdout == "7:8\ncopied by buildah\n"
        manifest = json.loads(rktpy("image", "cat-manifest", target).stdout)
        assert [point["path"] for point in manifest["app"]["mountPoints"]] == ["/var/keep"]
        assert [port["port"] for port in manifest["app"]["ports"]] == [8080]
    tools("buildah", "rm", container)


def test_index_for_many_platforms(rktpy: Rktpy, registry: Registry, tools: Tools, busybox_images: Path) -> None:
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    other = "arm64" if here == "amd64" else "amd64"
    entries = []
    for architecture in (other, here):
        layout = f"many-{rktpy.stage1}-{architecture}"
        tools("umoci", "init", "--layout", layout)
        tools("umoci", "new", "--image", f"{layout}:1")
        tools("umoci", "insert", "--image", f"{layout}:1", need_tool("busybox"), "/bin/busybox")
        command = ("--config.cmd=/bin/busybox", "--config.cmd=echo", f"--config.cmd=for {architecture}")
        tools("umoci", "config", "--image", f"{layout}:1", f"--architecture={architecture}", *command)
        registry.push(f"oci:{tools.directory}/{layout}:1", f"many/app:{architecture}", "--format=oci")
        manifest = tools.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/many/app:{architecture}")
        digest = registry.put_manifest("many/app", architecture, json.loads(manifest), OCI_MANIFEST)
        entries.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest,
                "size": len(json.dumps(json.loads(manifest))),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    digest = registry.put_manifest("many/app", "all", index, OCI_INDEX)
    assert rktpy(FETCH, "run", f"docker://{registry.host}/many/app:all").stdout == f"for {here}\n"
    assert rktpy(FETCH, "run", f"docker://{registry.host}/many/app@{digest}").stdout == f"for {here}\n"
    ids = rktpy("image", "list", "--no-legend", "--full", "--fields=id").stdout.split()
    assert len(ids) == 1
    fetched = rktpy(FETCH, "fetch", "--full", f"--platform=linux/{other}", f"docker://{registry.host}/many/app:all")
    assert fetched.stdout.strip() not in ids
    done = rktpy(FETCH, "fetch", "--platform=linux/s390x", f"docker://{registry.host}/many/app:all", status=254)
    assert "s390x" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
