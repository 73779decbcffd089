"""stage1-fly's arguments, volumes and mount plan, read without root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import Stage1Error, UsageError
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.entry_arguments import Arguments, parse_arguments, parse_pairs
from rktpy.formats.pod import PodManifest
from rktpy.formats.stage1 import CURRENT_VERSION, EntryPoints
from rktpy.isolate.environment import app_environment
from rktpy.isolate.plan import describe_plan
from rktpy.isolate.pod_app import PodApp
from rktpy.isolate.users import Account, User
from rktpy.isolate.volumes import choose_mounts
from rktpy.stage1.fly.run import mount_plan

FLY = Path(__file__).resolve().parents[2] / "stages/stage1-fly"


def fly_pod(app: dict[str, Any] | None = None, runtime: dict[str, Any] | None = None, **pod: Any) -> PodApp:
    section = {"exec": ["/bin/true"], "user": "0", "group": "0", **(app or {})}
    entry = {"name": "web", "image": {"id": "sha512-" + "0" * 128}, "app": section, **(runtime or {})}
    document = {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [entry], **pod}
    manifest = PodManifest.from_bytes(json.dumps(document).encode())
    return PodApp("/pods/run/u", "u", manifest, manifest.apps[0])


def plan(pod: PodApp, **flags: str) -> list[str]:
    lines = describe_plan(mount_plan(pod, Arguments({name.replace("_", "-"): value for name, value in flags.items()}, [])))
    return lines.splitlines()[2:]  # the first two make the namespace and the root


def test_manifest_names_the_entry_points() -> None:
    manifest = ImageManifest.from_bytes((FLY / "manifest").read_bytes())
    points = EntryPoints.from_manifest(manifest)
    assert points.interface_version == CURRENT_VERSION
    for name in (points.run, points.enter, points.stop, points.gc):
        path = FLY / name
        assert path.stat().st_mode & 0o111 == 0o111
        assert path.read_text().startswith("#!/usr/bin/python3 -IS\n")


def test_arguments_as_go_reads_them() -> None:
    parsed = parse_arguments(
        ["-debug", "--net=a,b", "--hostname", "h", "--strict=false", "uuid", "--debug"], ("debug", "strict"), ("net", "hostname")
    )
    assert (parsed.flags, parsed.rest) == (
        {"debug": "true", "net": "a,b", "hostname": "h", "strict": "false"},
        ["uuid", "--debug"],
    )
    assert parsed.is_set("debug") and not parsed.is_set("strict") and not parsed.is_set("absent")
    assert parse_arguments(["--debug", "--", "-x"], ("debug",), ()).rest == ["-x"]
    assert parse_arguments(["--", "--debug"], ("debug",), ()).rest == ["--debug"]
    assert parse_arguments(["-"], (), ()).rest == ["-"]
    for wrong in (["--other"], ["--debug=perhaps"], ["--net"], ["--debugging"]):
        with pytest.raises(UsageError):
            parse_arguments(wrong, ("debug",), ("net",))


def test_pairs() -> None:
    allowed = {"resolv": ("host", "default"), "hosts": ("stage0", "default")}
    assert parse_pairs("hosts=stage0", allowed, "f") == {"resolv": "default", "hosts": "stage0"}
    assert parse_pairs("", allowed, "f") == {"resolv": "default", "hosts": "default"}
    for wrong in ("hosts", "hosts=host", "other=host", "resolv=host,"):
        with pytest.raises(UsageError):
            parse_pairs(wrong, allowed, "f")


def test_plain_plan() -> None:
    assert plan(fly_pod()) == [
        'bind recursively "/dev" at "/dev"',
        'bind recursively "/proc" at "/proc"',
        'bind recursively "/sys" at "/sys"',
        'mount a tmpfs at "/tmp" with mode=1777',
        'write "/etc/hosts" unless it is there',
    ]


def test_name_files_and_read_only_root() -> None:
    pod = fly_pod(runtime={"readOnlyRootFS": True})
    assert plan(pod, dns_conf_mode="resolv=host,hosts=stage0")[4:] == [
        'bind read-only "/etc/resolv.conf" at "/etc/resolv.conf"',
        'bind "/pods/run/u/stage1/rootfs/etc/rkt-hosts" at "/etc/hosts"',
        'make "/" read-only',
    ]


def host(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "kind": "host", "source": f"/srv/{name}", **more}


def test_volumes_shallow_first_and_made_once() -> None:
    pod = fly_pod(
        {"mountPoints": [{"name": "b", "path": "/x/y/z"}, {"name": "a", "path": "/x", "readOnly": True}]},
        {"mounts": [{"volume": "e", "path": "/e/two"}, {"volume": "e", "path": "/one/../e1"}]},
        volumes=[
            host("a", recursive=True),
            host("b"),
            {"name": "e", "kind": "empty", "mode": "0700", "uid": 1},
            host("unused"),
        ],
    )
    assert plan(pod)[4:-1] == [
        'make the volume "/pods/run/u/sharedVolumes/e"',
        'bind "/pods/run/u/sharedVolumes/e" at "/e1"',
        'bind recursively read-only "/srv/a" at "/x"',
        'bind "/pods/run/u/sharedVolumes/e" at "/e/two"',
        'bind "/srv/b" at "/x/y/z"',
    ]


def test_a_mount_takes_the_place_of_the_mount_point() -> None:
    pod = fly_pod(
        {"mountPoints": [{"name": "data", "path": "/data", "readOnly": True}]},
        {"mounts": [{"volume": "other", "path": "/data/"}]},
        volumes=[host("other"), host("data")],
    )
    assert [(mount.volume.name, mount.path, mount.read_only) for mount in choose_mounts(pod)] == [("other", "/data", False)]


def test_inline_volume_of_a_mount() -> None:
    inline = {"volume": "v", "path": "/v", "appVolume": host("v", readOnly=True)}
    assert [(mount.volume.source, mount.read_only) for mount in choose_mounts(fly_pod(runtime={"mounts": [inline]}))] == [
        ("/srv/v", True)
    ]


def test_mounts_that_cannot_be() -> None:
    for mount, message in (
        ({"volume": "no", "path": "/x"}, "could not find"),
        ({"volume": "a", "path": "/x/.."}, "over the root"),
    ):
        with pytest.raises(Stage1Error, match=message):
            choose_mounts(fly_pod(runtime={"mounts": [mount]}, volumes=[host("a")]))


def test_environment() -> None:
    app = fly_pod({"environment": [{"name": "PATH", "value": "/x"}, {"name": "A", "value": "b=c\n"}]}).app
    web = app_environment("web", app, User(5, 5, (5,), Account("joe", 5, 5, "", "")))
    assert web["PATH"] == "/x" and web["A"] == "b=c\n" and web["AC_APP_NAME"] == "web"
    assert (web["USER"], web["HOME"], web["SHELL"]) == ("joe", "/", "/bin/sh")
    nobody = app_environment("web", app, User(5, 5))
    assert "USER" not in nobody and nobody["HOME"] == "/"
    assert app_environment("web", app, User(0, 0))["HOME"] == "/root"


@pytest.mark.parametrize("name", ["run", "enter", "stop", "gc"])
def test_entry_points_load_little(name: str) -> None:
    """Only what is free at start-up or our own (the C library's modules of Python, no re, json, typing, enum ...)."""
    program = (
        f"import sys; sys.path.append({str(FLY.parent.parent)!r}); before = set(sys.modules); import rktpy.stage1.fly.{name}; "
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('rktpy.')))"
    )
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    done = subprocess.run([python, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    free = {"_socket", "_stat", "_collections_abc", "_json", "_struct", "errno", "genericpath", "os", "os.path", "posixpath"}
    assert set(done.stdout.split()) <= free | {"rktpy", "stat", "struct", "select", "fcntl", "zlib", "time", "__future__"}
