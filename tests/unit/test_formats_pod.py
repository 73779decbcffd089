"""Pod manifests (formats/pod.py) and the flags that become parts of them (formats/cli_values.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import FormatError, UsageError
from rktpy.formats import cli_values
from rktpy.formats.aci.manifest import App, Port
from rktpy.formats.aci.types import NameValue
from rktpy.formats.pod import ExposedPort, Mount, PodManifest, RuntimeApp, RuntimeImage, Volume, is_ip_address
from tests.unit.test_formats_aci import JSON

ID = "sha512-" + "1b" * 64

# In the shape of the specification's own sample, with rkt's acVersion and Go's nulls.
POD: dict[str, Any] = {
    "acVersion": "1.30.0",
    "acKind": "PodManifest",
    "apps": [
        {
            "name": "indexer",
            "image": {"name": "example.org/indexer", "id": ID, "labels": [{"name": "version", "value": "1.0.0"}]},
            "app": {
                "exec": ["/bin/indexer", "--debug=true"],
                "group": "0",
                "user": "0",
                "mountPoints": [{"name": "work", "path": "/var/lib/work"}],
                "ports": [{"name": "ftp", "protocol": "tcp", "port": 21, "count": 1, "socketActivated": False}],
            },
            "readOnlyRootFS": True,
            "mounts": [
                {"volume": "work", "path": "/var/lib/work"},
                {"volume": "own", "path": "/own", "appVolume": {"name": "own", "kind": "empty"}},
            ],
            "annotations": [{"name": "foo", "value": "baz"}],
        },
        {"name": "register", "image": {"id": "sha256-" + "2c" * 32}},
    ],
    "volumes": [
        {"name": "work", "kind": "host", "source": "/opt/work", "readOnly": True, "recursive": False},
        {"name": "scratch", "kind": "empty", "mode": "1777", "uid": 5, "gid": 6},
        {"name": "plain", "kind": "empty"},
    ],
    "isolators": None,
    "annotations": [{"name": "ip-address", "value": "10.1.2.3"}],
    "ports": [
        {"name": "ftp", "hostPort": 2121},
        {"name": "web", "hostPort": 80, "hostIP": "127.0.0.1", "podPort": {"name": "web", "protocol": "tcp", "port": 8080}},
    ],
    "userLabels": {"a": "b"},
}


def altered(path: str, value: object) -> dict[str, Any]:
    document = json.loads(json.dumps(POD))
    at: Any = document
    *parents, last = path.split(".")
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    if value is ...:
        del at[last]
    elif isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return document


def test_every_member_is_read() -> None:
    pod = PodManifest.from_dict(POD)
    assert pod.ac_version == "1.30.0"
    indexer = pod.app("indexer")
    assert indexer is not None
    assert indexer.image == RuntimeImage(ID, "example.org/indexer", (NameValue("version", "1.0.0"),))
    assert indexer.app is not None
    assert indexer.app.exec == ("/bin/indexer", "--debug=true")
    assert indexer.read_only_root_fs
    assert indexer.mounts == (
        Mount("work", "/var/lib/work"),
        Mount("own", "/own", Volume("own", "empty", mode="0755", uid=0, gid=0)),
    )
    assert indexer.annotation("foo") == "baz"
    assert pod.apps[1] == RuntimeApp("register", RuntimeImage("sha256-" + "2c" * 32))
    assert pod.volumes == (
        Volume("work", "host", "/opt/work", True, False),
        Volume("scratch", "empty", mode="1777", uid=5, gid=6),
        Volume("plain", "empty", mode="0755", uid=0, gid=0),
    )
    assert pod.volumes[1].mode_bits == 0o1777
    assert pod.volume("plain") is pod.volumes[2]
    assert pod.isolators == ()
    assert pod.annotation("ip-address") == "10.1.2.3"
    assert pod.ports == (ExposedPort("ftp", 2121), ExposedPort("web", 80, "127.0.0.1", Port("web", "tcp", 8080)))
    assert pod.user_labels == {"a": "b"}
    assert (pod.app("none"), pod.volume("none"), pod.annotation("none")) == (None, None, None)


def test_round_trip() -> None:
    data = json.dumps(POD, indent=1).encode()
    pod = PodManifest.from_bytes(data)
    assert pod.to_bytes() == data
    assert pod.to_dict() == POD


def test_changes_keep_what_is_unknown() -> None:
    pod = PodManifest.from_dict(altered("apps.1.future", 1))
    app = pod.apps[1].replace(mounts=(Mount("work", "/w"),))
    document = pod.replace(apps=(pod.apps[0], app)).to_dict()
    assert document["apps"][0] == POD["apps"][0]
    assert document["apps"][1] == {**POD["apps"][1], "future": 1, "mounts": [{"volume": "work", "path": "/w"}]}
    assert document["isolators"] is None


def test_a_new_pod() -> None:
    pod = PodManifest(
        "1.30.0", (RuntimeApp("a", RuntimeImage(ID), App(("/a",))),), (Volume("v", "empty", mode="0755", uid=0, gid=0),)
    )
    assert json.loads(pod.to_bytes()) == {
        "acKind": "PodManifest",
        "acVersion": "1.30.0",
        "apps": [{"name": "a", "image": {"id": ID}, "app": {"exec": ["/a"], "user": "0", "group": "0"}}],
        "volumes": [{"name": "v", "kind": "empty", "mode": "0755", "uid": 0, "gid": 0}],
        "isolators": [],
        "annotations": [],
        "ports": [],
    }
    assert PodManifest.from_bytes(pod.to_bytes()) == pod


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("acKind", "ImageManifest", "acKind: must be 'PodManifest'"),
        ("acVersion", ..., "acVersion: must be set"),
        ("apps.0.name", "A", r"apps\[0\].name: ACName must contain only"),
        ("apps.0.name", "register", r"apps\[1\].name: duplicate apps of name 'register'"),
        ("apps.1.image", ..., r"apps\[1\].image: no image ID for app 'register'"),
        ("apps.1.image.id", ..., r"apps\[1\].image.id: must be set"),
        ("apps.1.image.id", "sha512-zz", r"apps\[1\].image.id: 'sha512-zz' is not a sha512 value"),
        ("apps.0.image.name", "", r"apps\[0\].image.name: must be set"),
        ("apps.0.app.exec", [1], r"apps\[0\].app.exec\[0\]: must be a string"),
        ("apps.0.readOnlyRootFS", 1, r"apps\[0\].readOnlyRootFS: must be true or false"),
        ("apps.0.mounts.0.path", "", r"apps\[0\].mounts\[0\].path: must be set"),
        ("apps.0.mounts.1.appVolume.kind", "host", r"mounts\[1\].appVolume.source: source for host volume cannot be empty"),
        ("volumes.1.name", "work", r"volumes\[1\].name: duplicate volume name 'work'"),
        ("volumes.0.kind", "nfs", r"volumes\[0\].kind: unrecognized volume kind"),
        ("volumes.0.source", "opt", r"volumes\[0\].source: source for host volume must be absolute path"),
        ("volumes.0.mode", "0755", r"volumes\[0\].mode: mode for host volume cannot be set"),
        ("volumes.0.uid", 0, r"volumes\[0\].uid: uid for host volume cannot be set"),
        ("volumes.0.recursive", "yes", r"volumes\[0\].recursive: must be true or false"),
        ("volumes.1.source", "/x", r"volumes\[1\].source: source for empty volume must be empty"),
        ("volumes.1.mode", "0999", r"volumes\[1\].mode: '0999' is not an octal file mode"),
        ("volumes.1.mode", "17777", r"volumes\[1\].mode: '17777' is not an octal file mode"),
        ("volumes.1.gid", -1, r"volumes\[1\].gid: must be in"),
        ("ports.0.hostPort", 0, r"ports\[0\].hostPort: port must be in 1-65535 range"),
        ("ports.0.hostPort", ..., r"ports\[0\].hostPort: port must be in 1-65535 range"),
        ("ports.1.hostIP", "localhost", r"ports\[1\].hostIP: 'localhost' is not a valid IP"),
        ("ports.1.podPort.port", 0, r"ports\[1\].podPort.port: port must be"),
        ("isolators", [{"name": "os/linux/cpu-shares", "value": 0}], r"isolators\[0\].value: must be between"),
    ],
)
def test_rules(path: str, value: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        PodManifest.from_dict(altered(path, value))


@settings(deadline=None)
@given(st.sampled_from(["", "apps.0", "apps.0.image", "apps.0.mounts.0", "volumes.0", "ports.1"]), st.text(max_size=6), JSON)
def test_any_member_is_read_or_an_error(place: str, member: str, value: Any) -> None:
    known = {"": "apps", "apps.0": "mounts", "apps.0.image": "id", "apps.0.mounts.0": "appVolume", "volumes.0": "kind"}
    document = altered(f"{place}.{member or known.get(place, 'hostIP')}".lstrip("."), value) if "." not in member else POD
    try:
        pod = PodManifest.from_dict(document)
    except FormatError:
        return
    assert pod.to_dict() == document
    assert PodManifest.from_bytes(pod.to_bytes()) == pod


def test_addresses() -> None:
    assert is_ip_address("10.0.0.1")
    assert is_ip_address("::1")
    for text in ("", "10.0.0", "10.0.0.1\0", "a", "::g", "1.2.3.4:5"):
        assert not is_ip_address(text)


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("data,kind=host,source=/srv/data", Volume("data", "host", "/srv/data")),
        ("data,kind=host,source=/a=b+c%20,readOnly=true,recursive=0", Volume("data", "host", "/a=b+c%20", True, False)),
        ("data,kind=empty", Volume("data", "empty", mode="0755", uid=0, gid=0)),
        ("data,kind=empty,mode=0700,uid=7,gid=8,readOnly=F", Volume("data", "empty", mode="0700", uid=7, gid=8)),
    ],
)
def test_volume_flag(text: str, volume: Volume) -> None:
    assert cli_values.parse_volume(text) == volume


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data", "unrecognized volume kind"),
        ("", "name: must be set"),
        ("Data,kind=empty", "ACName must contain only"),
        ("data,kind=host", "source for host volume cannot be empty"),
        ("data,kind=host,source=x", "source for host volume must be absolute path"),
        ("data,kind=host,source=/x,mode=0755", "mode for host volume cannot be set"),
        ("data,kind=empty,source=/x", "source for empty volume must be empty"),
        ("data,kind=host,source=/x,readOnly", "has a label without a value: readOnly"),
        ("data,kind=host,source=/x,readOnly=maybe", "readOnly: 'maybe' is not true or false"),
        ("data,kind=host,source=/x,source=/y", "label source with multiple values"),
        ("data,kind=host,source=/x,size=5", "unknown volume parameter 'size'"),
        ("data,kind=empty,uid=x", "uid: 'x' is not an integer"),
        ("data,kind=empty,uid=-1", "uid: must be in"),
    ],
)
def test_bad_volume_flag(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        cli_values.parse_volume(text)
    assert str(caught.value).startswith("invalid value in --volume flag ")
    assert message in str(caught.value)


def test_mount_flag() -> None:
    assert cli_values.parse_mount("volume=data,target=/var/x=y+z") == Mount("data", "/var/x=y+z")
    for text, message in (
        ("volume=data", "missing target="),
        ("volume=,target=/x", "invalid volume name ''"),
        ("target=/x", "invalid volume name ''"),
        ("volume=data,target=/x,mode=1", "unknown mount parameter 'mode'"),
        ("volume=data,volume=b,target=/x", "label volume with multiple values"),
        ("data", "has a label without a value"),
    ):
        with pytest.raises(UsageError, match=message):
            cli_values.parse_mount(text)


def test_mount_volume_flag() -> None:
    assert cli_values.parse_mount_volume("name=d,kind=host,source=/s,target=/t,readOnly=true") == Mount(
        "d", "/t", Volume("d", "host", "/s", True)
    )
    for text, message in (("name=d,kind=empty", "missing target="), ("kind=empty,target=/t", "error parsing volume component")):
        with pytest.raises(UsageError, match=message):
            cli_values.parse_mount_volume(text)


def test_port_flag() -> None:
    assert cli_values.parse_port("http:80") == ExposedPort("http", 80)
    assert cli_values.parse_port("http:10.0.0.1:80") == ExposedPort("http", 80, "10.0.0.1")
    assert cli_values.parse_port("http:[::1]:80") == ExposedPort("http", 80, "::1")
    for text, message in (
        ("http", "is not in name:\\[ip:\\]port format"),
        ("HTTP:80", "'HTTP' is not a valid port name"),
        ("http:", "'' is not a valid port number"),
        ("http:0", "'0' is not a valid port number"),
        ("http:65536", "'65536' is not a valid port number"),
        ("http:a:80", "'a' is not a valid IP"),
        ("http:::1:80", "'::1' is not a valid IP"),
    ):
        with pytest.raises(UsageError, match=message):
            cli_values.parse_port(text)


@settings(deadline=None)
@given(st.text(max_size=30), st.sampled_from([cli_values.parse_volume, cli_values.parse_mount, cli_values.parse_port]))
def test_any_flag_value_is_read_or_an_error(text: str, parse: Any) -> None:
    try:
        parse(text)
    except UsageError:
        pass
