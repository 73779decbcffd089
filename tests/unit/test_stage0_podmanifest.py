"""Pod manifests from images and flags, and from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import NotFoundError, RktpyError, UsageError
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.aci.types import NameValue
from rktpy.formats.cli_values import parse_port, parse_volume
from rktpy.formats.pod import PodManifest
from rktpy.stage0 import podmanifest
from rktpy.stage0.app_settings import merge_environment, override_app, read_env_file
from rktpy.stage0.options import AppOptions, FetchOptions, PodOptions
from rktpy.stage0.podmanifest import Image

ID = "sha512-" + "ab" * 64
OTHER_ID = "sha256-" + "cd" * 32


def image(name: str = "example.com/Web_App".lower(), image_id: str = ID, **app: Any) -> Image:
    document: dict[str, Any] = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": name,
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}, {"name": "version", "value": "2"}],
    }
    if app.pop("app", True):
        document["app"] = {"exec": ["/bin/web", "-v"], "user": "0", "group": "0", **app}
    data = json.dumps(document).encode()
    return Image(image_id, ImageManifest.from_bytes(data), data)


def build(*apps: AppOptions, images: list[Image] | None = None, **pod: Any) -> PodManifest:
    options = PodOptions(apps=apps, **pod)
    podmanifest.check_options(options)
    return podmanifest.from_options(options, images or [image() for _ in apps])


def as_json(manifest: PodManifest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(podmanifest.checked(manifest))
    return document


def test_of_one_image() -> None:
    assert as_json(build(AppOptions("x"))) == {
        "acKind": "PodManifest",
        "acVersion": "0.8.11",
        "apps": [
            {
                "name": "web-app",
                "image": {
                    "name": "example.com/web_app",
                    "id": ID,
                    "labels": [
                        {"name": "os", "value": "linux"},
                        {"name": "arch", "value": "amd64"},
                        {"name": "version", "value": "2"},
                    ],
                },
                "app": {"exec": ["/bin/web", "-v"], "user": "0", "group": "0"},
            }
        ],
        "volumes": [],
        "isolators": [],
        "annotations": [{"name": "coreos.com/rkt/stage1/mutable", "value": "false"}],
        "ports": [],
    }


def test_flags_of_an_image() -> None:
    options = AppOptions(
        "x",
        args=("a", "--b"),
        name="front",
        exec="/bin/sh",
        user="bin",
        group="/etc/x",
        supplementary_gids=(7, 8),
        working_directory="/srv",
        readonly_rootfs=True,
        annotations=(NameValue("k", "v"),),
        user_annotations=(NameValue("ua", "1"),),
        user_labels=(NameValue("ul", "2"),),
        memory="16Mi",
        cpu="250m",
        cpu_shares=512,
        oom_score_adj=-7,
        caps_retain=("CAP_CHOWN",),
        seccomp="mode=remove,errno=EPERM,chmod",
        stdin="tty",
        stdout="log",
        stderr="null",
    )
    app = as_json(
        build(
            options,
            images=[
                image(
                    isolators=[
                        {"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL"]}},
                        {"name": "os/linux/cpu-shares", "value": 2},
                        {"name": "resource/memory", "value": {"limit": "1G"}},
                        {"name": "example.com/unknown", "value": [1]},
                    ]
                )
            ],
        )
    )["apps"][0]
    assert app["name"] == "front" and app["readOnlyRootFS"] is True
    assert app["annotations"] == [
        {"name": "k", "value": "v"},
        {"name": "coreos.com/rkt/stage2/stdin", "value": "tty"},
        {"name": "coreos.com/rkt/stage2/stdout", "value": "log"},
        {"name": "coreos.com/rkt/stage2/stderr", "value": "null"},
    ]
    inner = app["app"]
    isolators = inner.pop("isolators")
    assert inner == {
        "exec": ["/bin/sh", "a", "--b"],
        "user": "bin",
        "group": "/etc/x",
        "supplementaryGIDs": [7, 8],
        "workingDirectory": "/srv",
        "userAnnotations": {"ua": "1"},
        "userLabels": {"ul": "2"},
    }
    assert [one["name"] for one in isolators] == [
        "resource/memory",
        "example.com/unknown",
        "resource/memory",
        "resource/cpu",
        "os/linux/cpu-shares",
        "os/linux/oom-score-adj",
        "os/linux/capabilities-retain-set",
        "os/linux/seccomp-remove-set",
    ]
    assert isolators[2]["value"]["limit"] == "16Mi"


def test_arguments_follow_the_image_s_own() -> None:
    assert build(AppOptions("x", args=("z",))).apps[0].app.exec == ("/bin/web", "-v", "z")  # type: ignore[union-attr]


def test_image_without_app_section_needs_exec() -> None:
    with pytest.raises(UsageError, match="has no app section and --exec argument is not provided"):
        build(AppOptions("x"), images=[image(app=False)])
    app = build(AppOptions("x", exec="/x"), images=[image(app=False)]).apps[0].app
    assert app is not None and app.exec == ("/x",) and app.user.isdigit()


def test_duplicate_names_say_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"multiple apps with name web-app .*--name"):
        build(AppOptions("x"), AppOptions("y"))
    assert [app.name for app in build(AppOptions("x"), AppOptions("y", name="two")).apps] == ["web-app", "two"]


@pytest.mark.parametrize("name", ["Web", "-x", "a/b", "..", "a\0b"])
def test_app_names_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match="invalid app name format"):
        build(AppOptions("x", name=name))


def test_both_capability_flags() -> None:
    with pytest.raises(UsageError, match="cannot use both --caps-retain and --caps-remove"):
        build(AppOptions("x", caps_retain=("CAP_KILL",), caps_remove=("CAP_CHOWN",)))


def test_environment_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(__import__("os").environ):
        monkeypatch.delenv(name)
    for name in ("A", "B", "C", "D", "E"):
        monkeypatch.setenv(name, "inherited")
    monkeypatch.setenv("BASH_FUNC_x%%", "() { :; }")
    file = tmp_path / "env"
    file.write_text("# comment\n; other\n\nC=file=1\nD=file\nE=file\n")
    app = AppOptions("x", environment=(NameValue("E", "app"),))
    manifest = build(
        app,
        images=[image(environment=[{"name": name, "value": "image"} for name in "BCDE"])],
        inherit_env=True,
        environment=(NameValue("D", "set"), NameValue("E", "set")),
        env_files=(str(file),),
    )
    assert manifest.apps[0].app is not None
    assert {pair.name: pair.value for pair in manifest.apps[0].app.environment} == {
        "A": "inherited",
        "B": "image",
        "C": "file=1",
        "D": "set",
        "E": "app",
    }


def test_inherited_variables_that_no_manifest_can_hold() -> None:
    assert merge_environment((), inherited={"OK": "1", "X": "\udcff", "1A": "b", "": "c"}) == (NameValue("OK", "1"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [("novalue\n", "must be specified as name=value"), ("=x\n", "name=value"), ("A=1\nA=2\n", '"A" already set')],
)
def test_bad_env_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "env"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_env_file(str(file))


def test_missing_env_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read environment file"):
        build(AppOptions("x"), env_files=(str(tmp_path / "no"),))


def test_mounts_of_the_app_come_before_those_of_the_pod() -> None:
    volumes = (parse_volume("a,kind=host,source=/a"), parse_volume("b,kind=empty"))
    manifest = build(AppOptions("x", mounts=(("a", "/data/"),)), volumes=volumes, mounts=(("b", "/data"), ("b", "/other")))
    assert [(mount.volume, mount.path) for mount in manifest.apps[0].mounts] == [("a", "/data/"), ("b", "/other")]


def test_mount_points_are_left_to_stage1() -> None:
    points = [{"name": "given", "path": "/given"}, {"name": "missing", "path": "/missing", "readOnly": True}]
    manifest = build(AppOptions("x"), images=[image(mountPoints=points)], volumes=(parse_volume("given,kind=host,source=/g"),))
    assert manifest.apps[0].mounts == () and [volume.name for volume in manifest.volumes] == ["given"]


def test_dangling_mount() -> None:
    with pytest.raises(UsageError, match='dangling mount point "/x": volume "no" not found'):
        build(AppOptions("x", mounts=(("no", "/x"),)))


def test_relative_mount_target() -> None:
    with pytest.raises(UsageError, match="not an absolute path"):
        build(AppOptions("x", mounts=(("v", "x"),)), volumes=(parse_volume("v,kind=empty"),))


HTTP = {"name": "http", "protocol": "tcp", "port": 80}


def test_ports() -> None:
    manifest = build(AppOptions("x"), images=[image(ports=[HTTP])], ports=(parse_port("http:8080"),))
    assert as_json(manifest)["ports"] == [{"name": "http", "hostPort": 8080}]
    with pytest.raises(UsageError, match='port name "nope" could not be found in any apps'):
        build(AppOptions("x"), images=[image(ports=[HTTP])], ports=(parse_port("nope:8080"),))
    with pytest.raises(UsageError, match='port name "http" defined multiple apps'):
        build(
            AppOptions("x"),
            AppOptions("y", name="y"),
            images=[image(ports=[HTTP]), image(ports=[HTTP])],
            ports=(parse_port("http:8080"),),
        )


@pytest.mark.parametrize(("second", "fine"), [("a:10.0.0.1:80", False), ("a:80", False), ("a:10.0.0.2:80", True)])
def test_ports_taken_twice(second: str, fine: bool) -> None:
    images = [image(ports=[HTTP, {"name": "a", "protocol": "tcp", "port": 81}])]
    ports = (parse_port("http:10.0.0.1:80"), parse_port(second))
    if fine:
        build(AppOptions("x"), images=images, ports=ports)
    else:
        with pytest.raises(UsageError, match="already mapped to pod port 80"):
            build(AppOptions("x"), images=images, ports=ports)


def test_conflicting_flags() -> None:
    conflict = "conflicting flags set with --pod-manifest"
    for options in (
        PodOptions(pod_manifest="f", apps=(AppOptions("x"),)),
        PodOptions(pod_manifest="f", fetch=FetchOptions(pull_policy="never")),
        PodOptions(pod_manifest="f", inherit_env=True),
        PodOptions(pod_manifest="f", environment=(NameValue("a", "b"),)),
        PodOptions(pod_manifest="f", volumes=(parse_volume("v,kind=empty"),)),
    ):
        with pytest.raises(UsageError, match=conflict):
            podmanifest.check_options(options)
    podmanifest.check_options(PodOptions(pod_manifest="f"))
    with pytest.raises(UsageError, match="must provide at least one image or specify the pod manifest"):
        podmanifest.check_options(PodOptions())


class FakeStore:
    """The questions that a pod manifest asks a store."""

    def __init__(self, *images: Image) -> None:
        self.images = {one.id: one for one in images}

    def manifest_bytes(self, image_id: str) -> bytes:
        if image_id not in self.images:
            raise NotFoundError(f"image {image_id} is not in the store")
        return self.images[image_id].data

    def resolve_id(self, prefix: str) -> str:
        for image_id in self.images:
            if image_id.startswith(prefix):
                return image_id
        raise NotFoundError("no image IDs found")

    def find_by_name(self, name: str, labels: tuple[NameValue, ...]) -> Any:
        for one in self.images.values():
            if one.manifest.name == name and all(one.manifest.label(label.name) == label.value for label in labels):
                return one
        return None


def find(*images: Image) -> Any:
    return FakeStore(*images)


def user_manifest(tmp_path: Path, *apps: dict[str, Any], **members: Any) -> str:
    file = tmp_path / "pod.json"
    file.write_text(json.dumps({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": list(apps), **members}))
    return str(file)


def test_manifest_file_that_needs_nothing_is_kept_byte_for_byte(tmp_path: Path) -> None:
    path = user_manifest(
        tmp_path,
        {"name": "a", "image": {"id": ID}, "app": {"exec": ["/x"], "user": "0", "group": "0"}, "x-own": 1},
        future=[1],
    )
    manifest, images = podmanifest.from_file(path, find(image()))
    assert podmanifest.checked(manifest) == Path(path).read_bytes()
    assert [one.id for one in images] == [ID]


def test_manifest_file_is_completed(tmp_path: Path) -> None:
    path = user_manifest(
        tmp_path,
        {"name": "a", "image": {"id": ID[:20]}, "x-own": 1},
        {"name": "b", "image": {"name": "example.com/other", "labels": [{"name": "version", "value": "2"}]}},
    )
    other = image("example.com/other", OTHER_ID, mountPoints=[{"name": "data", "path": "/data"}])
    document = as_json(podmanifest.from_file(path, find(image(), other))[0])
    assert document["apps"][0]["image"]["id"] == ID and document["apps"][0]["x-own"] == 1
    assert document["apps"][0]["app"]["exec"] == ["/bin/web", "-v"]
    assert document["apps"][1]["image"]["id"] == OTHER_ID
    assert document["apps"][1]["app"]["mountPoints"] == [{"name": "data", "path": "/data"}]


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        ([{"name": "a", "image": {"id": "sha512-00"}}], "error getting the image manifest from store"),
        (
            [{"name": "a", "image": {"id": "sha512-00", "name": "example.com/bare"}}],
            "error getting the image manifest from store",
        ),
        ([{"name": "a", "image": {"name": "example.com/none"}}], 'image "example.com/none" is not in the store'),
        ([{"name": "a", "image": {}}], "must be set"),
        ([{"name": "a"}], "no image ID for app"),
        ([{"name": "a", "image": {"id": OTHER_ID}}], "no app section in the pod manifest or the image manifest"),
        ([{"name": "a", "image": {"id": ID}}, {"name": "a", "image": {"id": ID}}], "duplicate apps of name"),
        ([{"name": "../a", "image": {"id": ID}}], "ACName"),
        ([{"name": "a", "image": {"id": ID}, "mounts": [{"volume": "v", "path": "/x"}]}], "could not find volume v"),
        ([], "pod must contain at least one application"),
    ],
)
def test_bad_manifest_files(tmp_path: Path, apps: list[dict[str, Any]], message: str) -> None:
    path = user_manifest(tmp_path, *apps)
    with pytest.raises(RktpyError, match=message):
        podmanifest.from_file(path, find(image(), image("example.com/bare", OTHER_ID, app=False)))


def test_missing_manifest_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="error reading pod manifest"):
        podmanifest.from_file(str(tmp_path / "no"), find())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"name": "arch", "value": "amd64"}], "missing os label in the image manifest"),
        ([{"name": "os", "value": "linux"}], "missing arch label in the image manifest"),
        ([{"name": "os", "value": "freebsd"}, {"name": "arch", "value": "amd64"}], 'bad os "freebsd"'),
        ([{"name": "os", "value": "linux"}, {"name": "arch", "value": "s390x"}], 'bad arch "s390x" for linux'),
    ],
)
def test_images_for_other_machines(labels: list[dict[str, str]], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Machine:
        machine = "x86_64"

    monkeypatch.setattr("os.uname", Machine)
    document = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "x", "labels": labels}
    data = json.dumps(document).encode()
    store: Any = FakeStore(Image(ID, ImageManifest.from_bytes(data), data))
    with pytest.raises(UsageError, match=message):
        podmanifest.load_image(store, ID)


def test_override_of_nothing_keeps_the_record() -> None:
    app = image().manifest.app
    assert app is not None and override_app(app, AppOptions("x")) is app
