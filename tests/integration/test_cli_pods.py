"""The pod commands as a user calls them, through a pod's whole life."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "kvm", "oci", "systemd")]

NAME = "example.com/busybox:1"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture
def stored(rktpy: Rktpy, busybox_images: Path) -> Rktpy:
    """rktpy with busybox in the store."""
    rktpy("--insecure-options=image", "fetch", str(busybox_images / "busybox.aci"))
    return rktpy


def prepare(rktpy: Rktpy, *command: str) -> str:
    """The UUID of a prepared pod that runs busybox's shell with ``command`` as script."""
    done = rktpy("--insecure-options=image", "prepare", "--quiet", NAME, "--exec=/bin/sh", "--", "-c", *command)
    assert UUID.fullmatch(done.stdout.strip()), done.stdout
    return done.stdout.strip()


@pytest.fixture
def running(stored: Rktpy) -> Iterator[str]:
    """The UUID of a running pod."""
    uuid = prepare(stored, "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    with subprocess.Popen(stored.argv("run-prepared", uuid), stdin=subprocess.DEVNULL) as process:
        try:
            stored("status", "--wait-ready=10s", uuid)
            yield uuid
        finally:
            process.kill()


def keys(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_run_gives_the_apps_status_and_output(stored: Rktpy, tmp_path: Path) -> None:
    script = 'echo "$1 $A"; exit 7'
    saved = tmp_path / "uuid"
    flags = ["--insecure-options=image", f"--uuid-file-save={saved}", "--set-env=A=env"]
    done = stored("run", *flags, NAME, "--exec", "/bin/sh", "--", "-c", script, "x", "hello", status=7)
    assert done.stdout == "hello env\n"
    uuid = saved.read_text()
    status = keys(stored("status", f"--uuid-file={saved}").stdout)
    assert list(status)[:6] == ["state", "created", "started", "networks", "pid", "exited"]
    assert (status["state"], status["exited"]) == ("exited", "true")
    assert stored("rm", f"--uuid-file={saved}").stdout == f'"{uuid}"\n'


def test_prepared_pods(stored: Rktpy) -> None:
    uuid = prepare(stored, "exit 3")
    lines = stored("list").stdout.split("\n")
    assert re.sub(r"\t+", "|", lines[0]) == "UUID|APP|IMAGE NAME|STATE|CREATED|STARTED|NETWORKS"
    assert re.fullmatch(rf"{uuid[:8]}\|busybox\|{NAME}\|prepared\|(now|\d+ seconds? ago)\|", re.sub(r"\t+", "|", lines[1]))
    assert stored("status", uuid[:5].upper()).stdout.startswith("state=prepared\ncreated=")
    manifest = json.loads(stored("cat-manifest", uuid).stdout)
    assert manifest["apps"][0]["name"] == "busybox"
    stored("run-prepared", uuid, status=3)
    assert f'pod "{uuid}" is not prepared' in stored("run-prepared", uuid, status=254).stderr


@pytest.mark.stage1()
def test_list_shows_every_app(stored: Rktpy) -> None:
    done = stored("--insecure-options=image", "prepare", NAME, "--name=one", NAME, "--name=two")
    full = [line.split("\t") for line in stored("list", "--full", "--no-legend").stdout.splitlines()]
    cells = [[cell for cell in row if cell] for row in full]
    assert cells[0][:2] == [done.stdout.strip(), "one"]
    assert re.fullmatch(r"sha512-[0-9a-f]{12}", cells[0][3])
    assert cells[0][4] == "prepared"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,3})? [-+]\d{4} \S+", cells[0][5])
    # The pod's own columns stand in its first row only.
    assert full[1][0] == ""
    assert cells[1] == ["two", NAME, cells[0][3]]
    (pod,) = json.loads(stored("list", "--format=json").stdout)
    assert pod["app_names"] == ["one", "two"]
    assert json.loads(stored("status", "--format=json-pretty", pod["name"]).stdout) == pod


def test_a_running_pod(stored: Rktpy, running: str) -> None:
    status = keys(stored("status", running).stdout)
    assert (status["state"], status["exited"]) == ("running", "false")
    assert int(status["pid"]) > 0
    assert stored("enter", running, "/bin/busybox", "echo", "--debug", "inside").stdout == "--debug inside\n"
    assert stored("enter", "--app=busybox", running[:8], "/bin/sh", "-c", "exit 9", status=9).stdout == ""
    assert "not present" in stored("enter", "--app=other", running, "/bin/true", status=254).stderr
    assert stored("rm", running, status=254).stderr == (
        f'rm: pod "{running}" is currently running\nrm: failed to remove one or more pods\n'
    )
    assert "not exited" in stored("export", running, "/nowhere/x.aci", status=254).stderr
    if stored.stage1 == "fly":
        assert "keeps no output" in stored("logs", running, status=254).stderr
    else:
        assert stored("logs", running).stdout == ""
    assert stored("status", "--wait=50ms", running, status=254).stderr == "status: error waiting for pod to finish: time is up\n"


@pytest.mark.parametrize("force", [False, True])
def test_stop(stored: Rktpy, running: str, force: bool) -> None:
    done = stored("stop", *(["--force"] if force else []), running)
    assert done.stdout == f'"{running}"\n'
    status = keys(stored("status", "--wait=20s", running).stdout)
    assert (status["state"], status["exited"]) == ("exited", "true")
    assert stored("stop", running).stdout == f'pod "{running}" is already stopped\n'


def test_an_exited_pod_is_exported_and_collected(stored: Rktpy, tmp_path: Path) -> None:
    uuid = prepare(stored, "echo made >/made")
    stored("run-prepared", uuid)
    target = tmp_path / "out.aci"
    assert "extension must be .aci" in stored("export", uuid, "x.tar", status=254).stderr
    stored("export", "--app=busybox", uuid, str(target))
    with tarfile.open(target, "r:gz") as archive:
        file = archive.extractfile("rootfs/made")
        assert file is not None
        assert file.read() == b"made\n"
    assert "exists" in stored("export", uuid, str(target), status=254).stderr
    stored("export", "--overwrite", uuid, str(target))

    assert stored("gc", "--mark-only").stderr == f'gc: moving pod "{uuid}" to garbage\n'
    assert stored("gc").stderr == f'gc: pod "{uuid}" not removed: still within grace period (30m0s)\n'
    assert "exited garbage" in stored("list").stdout
    assert stored("gc", "--grace-period=0s").stdout == f'Garbage collecting pod "{uuid}"\n'
    assert stored("list", "--no-legend").stdout == ""


def test_the_image_of_a_prepared_pod_can_be_removed(stored: Rktpy) -> None:
    uuid = prepare(stored, "exit 0")
    assert "rm: 1 image(s) successfully removed\n" in stored("image", "rm", NAME).stderr
    stored("run-prepared", uuid)
    assert stored("rm", uuid).stdout == f'"{uuid}"\n'


@pytest.mark.stage1()
def test_pods_that_are_not_there(rktpy: Rktpy, tmp_path: Path) -> None:
    for command in ("status", "cat-manifest", "run-prepared", "enter", "logs"):
        assert rktpy(command, "abcd", status=254).stderr.endswith(
            f'{command}: problem retrieving pod: no matches found for "abcd"\n'
        )
        assert "UUID cannot be empty" in rktpy(command, "", status=254).stderr
    assert rktpy("rm", "abcd", status=254).stderr.startswith('rm: cannot get pod: no matches found for "abcd"\n')
    done = rktpy("stop", "abcd", "ef", status=254)
    assert done.stderr == (
        'stop: cannot get pod: no matches found for "abcd"\nstop: cannot get pod: no matches found for "ef"\n'
        "stop: failed to stop 2 pod(s)\n"
    )
    missing = tmp_path / "missing"
    assert rktpy("status", f"--uuid-file={missing}", status=1).stderr.startswith("status: unable to resolve UUID from file: ")
    assert rktpy("rm", f"--uuid-file={missing}", status=254).stderr.startswith("rm: unable to resolve UUID from file: ")


@pytest.mark.stage1()
def test_the_chain_of_causes_with_debug(rktpy: Rktpy) -> None:
    assert rktpy("--debug", "status", "abcd", status=254).stderr == (
        'status: problem retrieving pod\n  └─unable to resolve UUID\n    └─no matches found for "abcd"\n'
    )


@pytest.mark.stage1()
def test_what_run_refuses(stored: Rktpy) -> None:
    for argv, problem in (
        (["run"], "run: must provide at least one image or specify the pod manifest\n"),
        (["run", "--pod-manifest=/x", NAME], "run: conflicting flags set with --pod-manifest (see --help)\n"),
        (["run", "--interactive", NAME, NAME], "run: interactive option only supports one image\n"),
        (["run", "--net=host", "--port=http:80", NAME], "run: --port flag does not work with 'host' networking\n"),
        (["run", "--net=none", "--port=http:80", NAME], "run: --port flag does not work with 'none' networking\n"),
        (["run", "--store-only", "--no-store", NAME], "run: both --store-only and --no-store specified\n"),
        (["run", "--dns=x", NAME], "run: error with dns flags: Invalid IP passed to --dns: x\n"),
    ):
        assert stored(*argv, status=254).stderr.endswith(problem), argv
    assert stored("list", "--no-legend").stdout == ""


def test_dry_run_leaves_nothing(stored: Rktpy) -> None:
    done = stored("run", "--dry-run", "--insecure-options=image", NAME, "--exec=/bin/false")
    assert '"/bin/false"' in done.stdout
    assert stored("list", "--no-legend").stdout == ""
