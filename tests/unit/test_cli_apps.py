"""The command lines of ``app`` and ``attach``, and what ``app status`` shows."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from rktpy.__main__ import main
from rktpy.cli.parse import parse
from rktpy.errors import UsageError
from rktpy.formats import stage1 as contract
from rktpy.formats.cli_values import parse_sandbox_port
from rktpy.stage0 import pod_files
from rktpy.stage0.attach import mode_arguments

UUID = "5bc080ca-9e03-480d-b705-5928af396cc5"
IMAGE = "sha512-" + "ab" * 64
Captured = pytest.CaptureFixture[str]


def test_app_add_takes_a_pod_and_an_image() -> None:
    line = "app add --debug=false u --mount volume=w,target=/w img --name=n --mnt-volume name=v,kind=empty,target=/v -- a --b"
    arguments = parse(line.split())
    assert arguments.args == ["u"] and arguments.images is not None
    (app,) = arguments.images.apps()
    assert (app.image, app.name, app.args) == ("img", "n", ("a", "--b"))
    (mount,) = app.mount_volumes
    assert mount.app_volume is not None
    assert (mount.path, mount.app_volume.kind) == ("/v", "empty")
    assert arguments.images.mounts == [("w", "/w")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("app add u --name=n img", "--name must follow an image"),
        ("app add u img --mnt-volume name=v,kind=empty", "missing target= parameter"),
        ("app add u img --mnt-volume name=v,kind=host,source=rel,target=/v", "source for host volume must be absolute path"),
        ("app add u img --stdin=log", 'invalid stdin mode "log"'),
        ("app add u img --signature=x", "unknown flag: --signature"),
        ("app sandbox --port=web:tcp:80", "is not in name:proto:podPort:hostIP:hostPort format"),
        ("app sandbox --annotation=a", "must be specified as key=value"),
        ("app start u --force", "unknown flag: --force"),
    ],
)
def test_bad_command_lines(line: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    cause = caught.value.__cause__
    assert problem in (str(cause) if cause is not None else str(caught.value))


def test_app_exec_leaves_the_commands_flags_alone() -> None:
    arguments = parse(["app", "exec", "--app=a", "u", "/bin/ls", "--app=b", "-l"])
    assert arguments.text("app") == "a"
    assert arguments.args == ["u", "/bin/ls", "--app=b", "-l"]


@pytest.mark.parametrize(
    ("line", "message", "status"),
    [
        ("app list", "list: wants one pod's UUID", 1),
        ("app status x", "status: wants one pod's UUID and --app", 1),
        ("app list x", "list: error listing apps: no matches found", 1),
        ("app status --app=a x", "status: error getting app status: no matches found", 1),
        ("app add x", "add: must provide the pod UUID and an IMAGEID", 254),
        ("app add x a b", "add: must give only one app", 254),
        ("app start x", "start: must provide the app to start", 254),
        ("app stop x", "stop: must provide the app to stop", 254),
        ("app rm x", "rm: must provide the app to remove", 254),
        ("app rm --app=a", "rm: must provide the pod UUID", 254),
        ("attach", "attach: wants one pod's UUID", 254),
        ("attach --mode=x y", 'attach: invalid attach mode: unknown endpoint "x"', 254),
    ],
)
def test_errors(line: str, message: str, status: int, tmp_path: Path, capfd: Captured) -> None:
    if os.geteuid() != 0 and status == 254:
        pytest.skip("needs root to get that far")
    assert main([f"--dir={tmp_path}", f"--local-config={tmp_path}", f"--system-config={tmp_path}", *line.split()]) == status
    assert capfd.readouterr().err.startswith(message)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web:tcp:80:0.0.0.0:8080", ("web", 8080, "0.0.0.0", "tcp", 80)),
        ("dns:udp:53:[::1]:5353", ("dns", 5353, "::1", "udp", 53)),
        ("dns:udp:53:fe80::1:5353", ("dns", 5353, "fe80::1", "udp", 53)),
    ],
)
def test_ports_of_a_sandbox(text: str, shown: tuple[Any, ...]) -> None:
    port = parse_sandbox_port(text)
    assert port.pod_port is not None
    assert (port.name, port.host_port, port.host_ip, port.pod_port.protocol, port.pod_port.port) == shown


@pytest.mark.parametrize(
    "text",
    ["", "web", "web:tcp:80:0.0.0.0", "web:sctp:80:0.0.0.0:80", "web:tcp:0:0.0.0.0:80", "web:tcp:80:0.0.0.0:65536"]
    + ["web:tcp:80:localhost:80", "Web:tcp:80:0.0.0.0:80", "web:tcp:8x:0.0.0.0:80", "web:tcp:80:[0.0.0.0:80"],
)
def test_ports_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_sandbox_port(text)


def test_attach_modes() -> None:
    assert mode_arguments("list") == ["--action=list"]
    assert mode_arguments("auto") == mode_arguments("") == ["--action=auto-attach"]
    streams = ["--tty-in=false", "--tty-out=false", "--stdin=true", "--stdout=false", "--stderr=true"]
    assert mode_arguments("stdin,stderr") == ["--action=custom-attach", *streams]
    assert mode_arguments("tty")[1:3] == ["--tty-in=true", "--tty-out=true"]
    assert mode_arguments("tty-out")[1:3] == ["--tty-in=false", "--tty-out=true"]
    for mode in ("tty,stdin", "stdin,x", "stdin,", "list,stdin"):
        with pytest.raises(UsageError, match="invalid attach mode"):
            mode_arguments(mode)


def test_the_name_of_the_annotation_is_the_contracts() -> None:
    assert pod_files.MUTABLE == contract.MUTABLE


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """An exited mutable pod of one app that has a mount, an annotation and a label."""
    directory = tmp_path / "data/pods/run" / UUID
    (directory / "stage1/rootfs/rkt/status").mkdir(parents=True)
    app = {
        "name": "web",
        "image": {"id": IMAGE, "name": "example.com/web"},
        "app": {"exec": ["/x"], "user": "0", "group": "0", "userAnnotations": {"a": "b"}, "userLabels": {"c": "d", "e": "f"}},
        "mounts": [{"volume": "v", "path": "/v", "appVolume": {"name": "v", "kind": "host", "source": "/srv", "readOnly": True}}],
    }
    manifest = {
        "acKind": "PodManifest",
        "acVersion": "0.8.11",
        "apps": [app],
        "annotations": [{"name": contract.MUTABLE, "value": "true"}],
    }
    (directory / "pod").write_text(json.dumps(manifest))
    (directory / "pod-created").touch()
    return directory


def shown(pod: Path, capfd: Captured, *flags: str) -> str:
    places = [f"--dir={pod.parents[2]}", f"--local-config={pod}", f"--system-config={pod}"]
    assert main([*places, "app", "status", "--app=web", *flags, UUID]) == 0
    return capfd.readouterr().out


def mark(pod: Path, name: str, seconds: int, content: str = "") -> None:
    path = pod / "stage1/rootfs/rkt/status" / name
    path.write_text(content)
    os.utime(path, (seconds, seconds))


def test_status_of_an_app(pod: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    mark(pod, "web-created", 1_700_000_000)
    mark(pod, "web-started", 1_700_000_001)
    mark(pod, "web", 1_700_000_002, "7\n")
    assert shown(pod, capfd).splitlines() == [
        "name=web",
        "state=exited",
        f"image_id={IMAGE}",
        "created_at=2023-11-14 22:13:20 +0000 UTC",
        "started_at=2023-11-14 22:13:21 +0000 UTC",
        "finished_at=2023-11-14 22:13:22 +0000 UTC",
        "exit_code=7",
        "mounts=/srv:/v:(read_only:true)",
        "user_annotations=a:b",
        "user_labels=c:d,e:f",
    ]
    document = json.loads(shown(pod, capfd, "--format=json"))
    assert document["finished_at"] == 1_700_000_002 * 10**9 and document["exit_code"] == 7
    assert shown(pod, capfd, "--format=json-pretty").startswith('{\n\t"name": "web",\n')
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({}, {"state": "exited"}),
        ({"web-created": ""}, {"state": "exited", "created_at": 1}),
        ({"web-created": "", "web-started": ""}, {"state": "exited", "created_at": 1, "started_at": 1}),
        # A status without a start is that of a run before.
        ({"web-created": "", "web": "3"}, {"state": "exited", "created_at": 1}),
        (
            {"web-created": "", "web-started": "", "web": ""},
            {"state": "exited", "created_at": 1, "started_at": 1, "finished_at": 1, "exit_code": 1},
        ),
    ],
)
def test_states_of_apps_after_the_pod(pod: Path, capfd: Captured, files: dict[str, str], state: dict[str, Any]) -> None:
    for name, content in files.items():
        mark(pod, name, 1, content)
    document = json.loads(shown(pod, capfd, "--format=json"))
    seen = {
        name: document[name] for name in ("state", "created_at", "started_at", "finished_at", "exit_code") if name in document
    }
    wanted = {name: value * 10**9 if name.endswith("_at") else value for name, value in state.items()}
    assert seen == wanted
