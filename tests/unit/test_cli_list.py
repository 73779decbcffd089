"""Tables and documents of pods, with pods made by hand."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from rktpy.__main__ import main

Captured = pytest.CaptureFixture[str]

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
NOW = int(time.time())
IMAGE = "sha512-" + "ab" * 64


def app(name: str, image: str = "example.com/i") -> dict[str, object]:
    labels = [{"name": "version", "value": "v1"}]
    return {"name": name, "image": {"id": IMAGE, "name": image, "labels": labels}}


def make_pod(data: Path, directory: str, uuid: str, *names: str, age: int = 3 * 3600 + 60) -> Path:
    pod = data / "pods" / directory / uuid
    pod.mkdir(parents=True)
    manifest = {"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [app(name) for name in names]}
    (pod / "pod").write_text(json.dumps(manifest))
    (pod / "pod-created").touch()
    os.utime(pod / "pod-created", (NOW - age, NOW - age))
    return pod


@pytest.fixture
def run(tmp_path: Path, capfd: Captured):  # type: ignore[no-untyped-def]
    places = [f"--dir={tmp_path}", f"--local-config={tmp_path}/l", f"--system-config={tmp_path}/s"]

    def call(*argv: str, status: int = 0) -> tuple[str, str]:
        assert main([*places, *argv]) == status
        captured = capfd.readouterr()
        return captured.out, captured.err

    return call


def test_nothing(run) -> None:  # type: ignore[no-untyped-def]
    assert run("list") == ("UUID\tAPP\tIMAGE NAME\tSTATE\tCREATED\tSTARTED\tNETWORKS\n", "")
    assert run("list", "--no-legend") == ("", "")
    assert run("list", "--format=json") == ("[]\n", "")
    assert run("list", "--format=json-pretty") == ("[]\n", "")


def test_a_table(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pod = make_pod(tmp_path, "run", TWO, "redis", "etcd")
    (pod / "pid").write_text("12")
    os.utime(pod / "pid", (NOW - 7260, NOW - 7260))
    networks = [{"netName": "default", "ip": "172.16.28.7"}, {"netName": "other", "ip": "10.0.0.1"}]
    (pod / "net-info.json").write_text(json.dumps(networks))
    make_pod(tmp_path, "prepared", ONE, "nginx")
    out, err = run("list")
    assert err == ""
    lines = out.split("\n")
    assert lines[1] == "11111111\tnginx\texample.com/i:v1\tprepared\t3 hours ago\t\t\t"
    assert lines[2] == (
        "22222222\tredis\texample.com/i:v1\texited\t\t3 hours ago\t2 hours ago\tdefault:ip4=172.16.28.7, other:ip4=10.0.0.1"
    )
    assert lines[3] == "\t\tetcd\texample.com/i:v1\t\t\t\t\t\t\t"
    full = run("list", "--full", "--no-legend")[0].split("\n")
    assert re.match(f"{ONE}\tnginx\texample.com/i:v1\tsha512-abababababab\tprepared\t\\d{{4}}-\\d\\d-\\d\\d ", full[0])


def test_a_pod_that_cannot_be_read(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_pod(tmp_path, "run", ONE, "good")
    (make_pod(tmp_path, "run", TWO, "bad") / "pod").write_text("{")
    for argv in (["list"], ["list", "--format=json"]):
        out, err = run(*argv)
        assert "good" in out
        assert "22222222" not in out
        lines = err.split("\n")
        assert lines[0] == "list: 1 error(s) encountered when listing pods:"
        assert lines[1] == "list: " + "-" * 40
        assert lines[2] == f"list: Unable to read pod {TWO} manifest:"
        assert "not JSON" in lines[3]


def test_an_app_without_an_image_name(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pod = make_pod(tmp_path, "run", ONE, "a")
    (pod / "pod").write_text(json.dumps({"apps": [{"name": "a", "image": {"id": IMAGE}}]}))
    out, err = run("list", "--no-legend")
    assert out.startswith("11111111\ta\t--\texited")
    assert f"pod {ONE} ImageManifest could not be loaded" in err


@pytest.mark.parametrize("directory", ["prepare", "prepared", "run", "exited-garbage"])
def test_states(run, tmp_path: Path, directory: str) -> None:  # type: ignore[no-untyped-def]
    make_pod(tmp_path, directory, ONE, "a")
    state = {"prepare": "aborted prepare", "prepared": "prepared", "run": "exited", "exited-garbage": "exited garbage"}[directory]
    out, _err = run("status", "1")
    assert out.split("\n")[0] == f"state={state}"
    (pod,) = json.loads(run("list", "--format=json")[0])
    assert (pod["name"], pod["state"]) == (ONE, state)


def test_status_waits_no_longer_than_asked(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_pod(tmp_path, "prepared", ONE, "a")
    assert run("status", "--wait=10ms", ONE, status=254)[1] == "status: error waiting for pod to finish: time is up\n"
    assert run("status", "--wait-ready=10ms", ONE, status=254)[1] == "status: error waiting for pod readiness: time is up\n"
    assert run("status", "--wait=0", "--wait-ready=false", ONE)[0].startswith("state=prepared\n")
    assert "time: invalid duration" in run("status", "--wait=soon", ONE, status=254)[1]


def test_waiting_for_a_pod_that_will_never_be_ready(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_pod(tmp_path, "run", ONE, "a")
    assert run("status", "--wait-ready", ONE, status=254)[1] == (
        f'status: error waiting for pod readiness: pod "{ONE}" ended before it was ready\n'
    )
    assert run("status", "--wait", ONE)[0].startswith("state=exited\n")


def test_the_manifest_is_printed(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pod = make_pod(tmp_path, "run", ONE, "a")
    document = json.loads((pod / "pod").read_text())
    assert json.loads(run("cat-manifest", ONE)[0]) == document
    assert run("cat-manifest", "--pretty-print=false", "1")[0] == json.dumps(document, separators=(",", ":")) + "\n"
    saved = tmp_path / "uuid"
    saved.write_text(f" {ONE}\n")
    assert json.loads(run("cat-manifest", f"--uuid-file={saved}")[0]) == document
    assert "wants one pod" in run("cat-manifest", f"--uuid-file={saved}", ONE, status=254)[1]


def test_uuids_are_prefixes(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_pod(tmp_path, "run", ONE, "a")
    make_pod(tmp_path, "prepared", ONE.replace("8", "9"), "a")
    assert run("status", "1111", status=254)[1] == "status: problem retrieving pod: ambiguous uuid, 2 matches\n"
    assert run("status", "3", status=254)[1] == 'status: problem retrieving pod: no matches found for "3"\n'
    assert run("status", "", status=254)[1] == "status: problem retrieving pod: UUID cannot be empty\n"


def test_logs_say_why_there_are_none(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pod = make_pod(tmp_path, "run", ONE, "a")
    (pod / "stage1-bundled").write_text("fly")
    assert run("logs", "--follow", ONE, status=254)[1].startswith("logs: the stage1 fly keeps no output: ")
    assert run("logs", "--app=b", ONE, status=254)[1] == f'logs: app "b" is not in pod "{ONE}"\n'
