"""The entry points of a foreign stage1 about single apps are called as rktpy-stage1(7) says, beside the pod's mounts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract import stub
from tests.contract.conftest import Pods, children, lines

pytestmark = pytest.mark.root

OVERLAY = pytest.mark.parametrize("option", ["--no-overlay=false", "--no-overlay=true"])
APP = "example.com/app"


def environment(path: Path) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in lines(path))


def status(pods: Pods, pod: Path, app: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pods.command("app", "status", "--format=json", f"--app={app}", pod.name).stdout)
    return found


def listed(pods: Pods, pod: Path) -> str:
    return pods.command("app", "list", "--no-legend", pod.name).stdout


@OVERLAY
def test_the_life_of_an_app(pods: Pods, option: str) -> None:
    pod = pods.sandbox(option, pods.stage1(), "--annotation=a=b", "--user-annotation=c=d", "--user-label=e=f")
    assert lines(pod / "called.run.args")[-2:] == ["--mutable", pod.name]
    manifest = json.loads((pod / "pod").read_text())
    assert manifest["apps"] == []
    assert {"name": "coreos.com/rkt/stage1/mutable", "value": "true"} in manifest["annotations"]
    assert {"name": "a", "value": "b"} in manifest["annotations"]
    assert (manifest["userAnnotations"], manifest["userLabels"]) == ({"c": "d"}, {"e": "f"})
    assert listed(pods, pod) == "\n"
    assert pods.command("list", "--no-legend").stdout.split()[:4] == [pod.name[:8], "-", "-", "running"]

    pods.command("app", "add", pod.name, APP, "--name=one", "--exec=/bin/x", "--environment=A=B", "--", "a", "b")
    program, *arguments = lines(pod / "called.app-add.args")
    assert program == f"{pod}/stage1/rootfs/usr/lib/app-add"
    assert arguments == ["--debug=false", f"--uuid={pod.name}", "--app=one"]
    assert lines(pod / "called.app-add.cwd") == [str(pod)]
    assert lines(pod / "called.app-add.root") == ["etc", "gone", "hello"]
    assert (pod / "appsinfo/one/treeStoreID").exists() == option.endswith("false")
    seen = environment(pod / "called.app-add.env")
    assert seen["RKT_STAGE1_ENTERCMD"] == f"{pod}/stage1/rootfs/usr/lib/enter"
    assert seen["RKT_STAGE1_ENTERPID"] == (pod / "pid").read_text().strip()
    assert seen["RKT_STAGE1_ENTERAPP"] == "one"
    assert "HOME" not in seen and seen["PATH"] == os.environ["PATH"]
    assert {"A=B", "AC_APP_NAME=one", "HOME=/root"} <= set(lines(pod / "called.app-add.envfile"))
    (app,) = json.loads((pod / "pod").read_text())["apps"]
    assert app["name"] == "one" and app["app"]["exec"] == ["/bin/x", "a", "b"]
    assert list(json.loads((pod / "trust").read_text())["apps"]) == ["one"]
    assert listed(pods, pod) == "one\tcreated\n"

    pods.command("app", "start", "--app=one", pod.name)
    assert lines(pod / "called.app-start.args")[1:] == ["--debug=false", "--app=one"]
    assert (pod / "entered-for-one").exists()
    assert listed(pods, pod) == "one\trunning\n"
    pods.command("app", "stop", "--app=one", pod.name)
    document = status(pods, pod, "one")
    assert (document["state"], document["exit_code"]) == ("exited", 9)
    assert document["created_at"] < document["started_at"] <= document["finished_at"]
    whole = json.loads(pods.command("status", "--format=json", pod.name).stdout)
    assert whole["app_names"] == ["one"] and whole["apps"] == [document]
    pods.command("app", "start", "--app=one", pod.name)
    again = status(pods, pod, "one")
    assert again["state"] == "running" and "exit_code" not in again and again["started_at"] > document["started_at"]

    pods.command("app", "rm", "--app=one", pod.name)
    assert lines(pod / "called.app-rm.args")[1:] == ["--debug=false", "--app=one"]
    assert listed(pods, pod) == "\n"
    assert json.loads((pod / "trust").read_text())["apps"] == {}
    left = [str(path) for path in pod.rglob("*") if "one" in path.name and not path.name.startswith("entered")]
    assert left == []
    pods.command("app", "add", pod.name, APP, "--name=one")
    # Nothing of the first one's root came back.
    assert lines(pod / "called.app-add.root") == ["etc", "gone", "hello"]
    assert str(pods.rktpy.data) not in Path("/proc/self/mountinfo").read_text()


@OVERLAY
def test_a_refused_addition_leaves_nothing(pods: Pods, option: str) -> None:
    pod = pods.sandbox(option, pods.stage1())
    manifest = (pod / "pod").read_bytes()
    done = pods.command("app", "add", pod.name, APP, "--name=refused", status=254)
    assert done.stderr == "add: error adding app to pod: error executing stage1 entrypoint: app/add ended with status 3\n"
    assert (pod / "pod").read_bytes() == manifest
    assert [path for path in pod.rglob("*") if "refused" in path.name or path.name == "manifest"] == [pod / "stage1/manifest"]
    assert [path for path in pod.glob("overlay/*") if path.name != (pod / "stage1TreeStoreID").read_text()] == []
    assert listed(pods, pod) == "\n"
    pods.command("app", "add", pod.name, APP, "--name=other")


def test_two_apps_of_one_image(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    for name in ("a", "b"):
        pods.command("app", "add", pod.name, APP, f"--name={name}")
    pods.command("app", "rm", "--app=a", pod.name)
    (changed,) = pod.glob("overlay/*/upper/*/changed-by-stage1")
    assert changed.parent.name == "b"
    assert listed(pods, pod) == "b\tcreated\n"


def test_what_a_killed_addition_left_can_be_removed_and_added_again(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    (pod / "appsinfo/one").mkdir()
    (pod / "appsinfo/one/manifest").write_text("half")
    pods.command("app", "rm", "--app=one", pod.name)
    assert not (pod / "appsinfo/one").exists()
    (pod / "appsinfo/one").mkdir()
    pods.command("app", "add", pod.name, APP, "--name=one")
    # Killed when the manifest had it, before the stage1 knew.
    (pod / "called.app-rm.args").unlink(missing_ok=True)
    pods.command("app", "rm", "--app=one", pod.name)
    assert (pod / "called.app-rm.args").exists()


def test_refusals(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    pods.command("app", "add", pod.name, APP)
    immutable = pods.start(pods.stage1())

    def refused(*args: str) -> str:
        return pods.command("app", *args, status=254).stderr

    assert refused("add", pod.name, APP) == "add: error adding app to pod: error: multiple apps with name app\n"
    assert refused("add", immutable.name, APP, "--name=x") == (
        "add: error adding app to pod: cannot add application: immutable pod\n"
    )
    assert refused("add", pod.name, "example.com/missing") == (
        'add: error finding images: cannot find image "example.com/missing"\n'
    )
    volume = "--mount=volume=v,target=/v"
    assert "could not find volume v" in refused("add", pod.name, APP, "--name=x", volume)
    assert refused("start", "--app=x", pod.name) == 'start: error starting app: error: nonexistent app "x"\n'
    assert refused("stop", "--app=x", pod.name) == 'stop: error stopping app: error: nonexistent app "x"\n'
    assert refused("stop", "--app=app", pod.name) == 'stop: error stopping app: app "app" is not running\n'
    assert refused("rm", "--app=x", pod.name) == 'rm: error removing app: error: nonexistent app "x"\n'
    assert "invalid app name" in refused("rm", "--app=../x", pod.name)
    pods.command("app", "add", pod.name, APP, "--name=broken")
    assert "app/start ended with status 1" in refused("start", "--app=broken", pod.name)
    assert "broken\tcreated" in listed(pods, pod).replace("\t\t", "\t")


def test_unsigned_images_are_refused(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    done = pods.rktpy("app", "add", pod.name, APP, status=254)
    assert done.stderr.startswith("add: error adding app to pod: ") and "sign" in done.stderr
    assert listed(pods, pod) == "\n"


def test_volumes_of_one_app(pods: Pods, tmp_path: Path) -> None:
    pod = pods.sandbox(pods.stage1())
    flag = f"--mnt-volume=name=v,kind=host,source={tmp_path},target=../v,readOnly=true"
    pods.command("app", "add", pod.name, APP, flag)
    (app,) = json.loads((pod / "pod").read_text())["apps"]
    assert app["mounts"] == [
        {
            "volume": "v",
            "path": "/../v",
            "appVolume": {"name": "v", "kind": "host", "source": str(tmp_path), "readOnly": True},
        }
    ]
    text = pods.command("app", "status", "--app=app", pod.name).stdout
    assert f"mounts={tmp_path}:/../v:(read_only:true)\n" in text


def test_output_of_the_entry_points_is_shown_when_debugging(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    assert "added" not in pods.command("app", "add", pod.name, APP, "--name=a").stderr
    assert "\nstage0: added\n" in pods.command("--debug", "app", "add", pod.name, APP, "--name=b").stderr


def test_attach_has_the_callers_streams(pods: Pods) -> None:
    pod = pods.start(pods.stage1())
    done = pods.rktpy("attach", "--mode=stdin,stderr", pod.name, input="through\n", status=4)
    assert done.stdout == "through\n"
    assert lines(pod / "called.attach.args")[1:] == [
        "--action=custom-attach",
        "--tty-in=false",
        "--tty-out=false",
        "--stdin=true",
        "--stdout=false",
        "--stderr=true",
        "--app=app",
        "--debug=false",
    ]


def test_a_stage1_that_left_its_namespace_is_not_reached(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            (pod / "pid").write_text(f"{stranger.pid}\n")
            done = pods.command("app", "add", pod.name, APP, status=254)
            assert "does not share the mounts that the pod was started with" in done.stderr
        finally:
            stranger.kill()
    assert str(pods.rktpy.data) not in Path("/proc/self/mountinfo").read_text()


def test_ports_and_names_of_the_sandbox(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1(), "--port=web:tcp:80:127.0.0.1:8080", "--hostname=h", "--dns=10.0.0.1")
    assert "--hostname=h" in lines(pod / "called.run.args")
    (port,) = json.loads((pod / "pod").read_text())["ports"]
    assert port["podPort"] == {"name": "web", "protocol": "tcp", "port": 80, "count": 1, "socketActivated": False}
    assert (port["hostPort"], port["hostIP"]) == (8080, "127.0.0.1")


@pytest.mark.parametrize(("version", "missing"), [("4", ""), ("6", "app/rm")])
def test_a_stage1_without_mutable_pods_is_refused_before_anything_is_made(pods: Pods, version: str, missing: str) -> None:
    aci = stub.stage1_aci(version, entries=tuple([entry for entry in stub.ENTRIES if entry != missing]))
    image_id = stub.add(pods.store, pods.directory, aci)
    done = pods.command("app", "sandbox", f"--stage1-hash={image_id}", status=254)
    assert done.stderr.endswith("sandbox: stage1 does not support mutable pods\n")
    assert "stage1 does not support mutable pods" in pods.command("app", "sandbox", "--stage1=fly", status=254).stderr
    assert not (pods.rktpy.data / "pods").exists()


def test_apps_of_an_exited_pod(pods: Pods) -> None:
    pod = pods.sandbox(pods.stage1())
    for name in ("a", "b"):
        pods.command("app", "add", pod.name, APP, f"--name={name}")
        pods.command("app", "start", f"--app={name}", pod.name)
    pods.command("stop", pod.name)
    pods.command("status", "--wait=20s", pod.name)
    assert not children(pods.running[0].pid)
    assert listed(pods, pod) == "a\texited\nb\texited\n"
    assert pods.command("app", "stop", "--app=a", pod.name).stdout == f'pod "{pod.name}" is already stopped\n'
    assert "isn't currently running" in pods.command("app", "start", "--app=a", pod.name, status=254).stderr
    pods.command("app", "rm", "--app=a", pod.name)
    assert listed(pods, pod) == "b\texited\n"
    pods.command("rm", pod.name)
    assert not pod.exists()
