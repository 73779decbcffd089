"""Many commands at once: one download, no lost pods, and nothing fails without saying why."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pods import (
    BUSYBOX,
    UNSIGNED,
    cgroups_of_pods,
    mounts_of,
    prepare,
    processes_with,
    states,
    store_with,
    wait_for,
)
from tests.support.registry import Registry, make_image

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

MANY = 20
FETCH = "--insecure-options=image,http"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, busybox_images: Path) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("registry")
    noise = random.Random(3)
    with Registry(directory) as registry:
        registry.push(make_image(directory, [{f"/data/{n}": noise.randbytes(1_000_000)} for n in range(3)]), "team/data:v1")
        registry.push(f"oci:{busybox_images}/busybox-oci:1", "team/busybox:1")
        yield registry


@pytest.fixture
def stored(rktpy: Rktpy, busybox_images: Path) -> Rktpy:
    """The command, with busybox rendered in its store."""
    store_with(rktpy, busybox_images / "busybox.aci")
    return rktpy


class Crowd:
    """Commands that run at the same time; all are waited for, or killed, when the context ends."""

    def __init__(self, rktpy: Rktpy) -> None:
        self.rktpy = rktpy
        self.started: list[tuple[tuple[str, ...], subprocess.Popen[str]]] = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for _args, process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)

    def start(self, *args: str) -> None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(self.rktpy.argv(*args), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        self.started.append((args, process))

    def results(self) -> list[tuple[tuple[str, ...], int, str, str]]:
        """Arguments, exit status, stdout and stderr of each, in the order of their starts."""
        found = []
        for args, process in self.started:
            out, err = process.communicate(timeout=120)
            assert "internal error" not in err and "Traceback" not in err, (args, err)
            found.append((args, process.returncode, out, err))
        self.started.clear()
        return found

    def app_output(self, *outputs: str) -> str:
        """What the apps wrote, of what the commands printed."""
        return "".join([self.rktpy.app_output(output) for output in outputs])

    def all_well(self) -> list[str]:
        """The outputs, when all have ended well."""
        results = self.results()
        assert [(args, status, err) for args, status, _out, err in results if status] == []
        return [out for _args, _status, out, _err in results]


def blob_downloads(registry: Registry, repository: str) -> list[str]:
    """The blobs that were asked for, in the order of the registry's log."""
    lines = [line for line in registry.requests(f"/v2/{repository}/blobs/") if '"GET ' in line]
    return [line.split("/blobs/")[1].split()[0] for line in lines]


@pytest.mark.stage1()
def test_twenty_fetches_are_one_download(rktpy: Rktpy, registry: Registry) -> None:
    reference = f"docker://{registry.host}/team/data:v1"
    with Crowd(rktpy) as crowd:
        for _ in range(MANY):
            crowd.start(FETCH, "fetch", "--full", reference)
        outputs = crowd.all_well()
    assert len(set(outputs)) == 1
    manifest = json.loads((rktpy.data / "cas/blobs/sha256" / outputs[0].strip().removeprefix("sha256-")).read_bytes())
    wanted = sorted([manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])])
    assert sorted(blob_downloads(registry, "team/data")) == wanted
    assert len(json.loads(rktpy("image", "list", "--format=json").stdout)) == 1
    assert rktpy("image", "check").stdout == ""


def test_twenty_runs_of_an_image_that_is_not_there_yet(rktpy: Rktpy, registry: Registry) -> None:
    before = len(blob_downloads(registry, "team/busybox"))
    reference = f"docker://{registry.host}/team/busybox:1"
    with Crowd(rktpy) as crowd:
        for number in range(MANY):
            crowd.start(FETCH, "run", reference, "--exec=/bin/sh", "--", "-c", f"echo {number} >/mine; cat /mine")
        assert [crowd.app_output(out) for out in crowd.all_well()] == [f"{number}\n" for number in range(MANY)]
    assert len(blob_downloads(registry, "team/busybox")) - before == 2
    assert sorted(states(rktpy).values()) == ["exited"] * MANY
    assert len(list((rktpy.data / "cas/tree").iterdir())) == 1
    with Crowd(rktpy) as crowd:
        for _ in range(4):
            crowd.start("gc", "--grace-period=0s")
        outputs = crowd.all_well()
    wait_for("the end of all pods", lambda: states(rktpy) == {})
    assert sum(out.count("Garbage collecting pod") for out in outputs) == MANY, "each pod is removed once"
    assert mounts_of(rktpy.data) == []


@pytest.mark.stage1("fly")
def test_prepare_beside_gc_and_image_gc(stored: Rktpy, busybox_images: Path) -> None:
    aci = str(busybox_images / "busybox.aci")
    with Crowd(stored) as crowd:
        for _ in range(6):
            crowd.start(UNSIGNED, "prepare", "--quiet", aci)
            crowd.start("gc", "--grace-period=0s")
            crowd.start("image", "gc", "--grace-period=0s")
        results = crowd.results()
    pods: list[str] = []
    for args, status, out, err in results:
        if "prepare" in args and status == 0:
            pods.append(out.strip())
        elif "prepare" in args:
            # Collected without a grace period between the fetch and the preparing.
            assert err.endswith(" is not in the store\n") and len(err.splitlines()) == 2, err
        else:
            assert status == 0, (args, err)
    assert pods
    assert states(stored) == dict.fromkeys(pods, "prepared")
    for uuid in pods:
        assert stored("run-prepared", uuid).stdout == "hello from busybox, an ACI\n"
    assert stored("image", "check").stdout == ""


def test_runs_beside_everything_else(stored: Rktpy, busybox_images: Path, tmp_path: Path) -> None:
    aci = str(busybox_images / "busybox.aci")
    with Crowd(stored) as crowd:
        for number in range(5):
            uuid_file = f"--uuid-file-save={tmp_path}/{number}.uuid"
            crowd.start(UNSIGNED, "run", uuid_file, aci, "--memory=50M", "--exec=/bin/echo", "--", str(number))
            crowd.start("gc", "--grace-period=0s")
            crowd.start("list", "--format=json")
            crowd.start("image", "list")
            crowd.start("image", "gc", "--grace-period=0s")
        results = crowd.results()
    assert [(args, status, err) for args, status, _out, err in results if status] == []
    ran = [crowd.app_output(out) for args, _s, out, _e in results if "run" in args]
    assert ran == [f"{number}\n" for number in range(5)]
    stored("gc", "--grace-period=0s")
    assert states(stored) == {}
    uuids = [path.read_text().strip() for path in tmp_path.glob("*.uuid")]
    assert len(uuids) == 5
    assert [group for uuid in uuids for group in cgroups_of_pods(uuid)] == []
    assert processes_with(str(stored.data)) == {}


@pytest.mark.stage1()
def test_one_pod_is_removed_once(stored: Rktpy) -> None:
    for _ in range(3):
        uuid = prepare(stored)
        with Crowd(stored) as crowd:
            for _ in range(8):
                crowd.start("rm", uuid)
            results = crowd.results()
        winners = [out for _args, status, out, _err in results if status == 0]
        assert f'"{uuid}"\n' in winners, results
        for _args, status, _out, err in results:
            if status:
                assert status == 254
                reasons = ("no matches found", "is currently being deleted", "was not present")
                assert any(reason in err for reason in reasons), err
    assert list((stored.data / "pods").glob("*/*")) == []


def test_one_pod_is_run_once(stored: Rktpy) -> None:
    uuid = prepare(stored, BUSYBOX, "--exec=/bin/sh", "--", "-c", "echo ran; sleep 0.3")
    with Crowd(stored) as crowd:
        for _ in range(6):
            crowd.start("run-prepared", uuid)
        results = crowd.results()
    assert sorted(status for _args, status, _out, _err in results) == [0, *[254] * 5]
    assert crowd.app_output(*[out for _args, _status, out, _err in results]) == "ran\n"
    for _args, status, _out, err in results:
        if status:
            assert err == f'run-prepared: pod "{uuid}" is not prepared\n'


def test_image_rm_beside_runs(stored: Rktpy, busybox_images: Path) -> None:
    aci = str(busybox_images / "busybox.aci")
    image = json.loads(stored("image", "list", "--full", "--format=json").stdout)[0]["id"]
    with Crowd(stored) as crowd:
        for _ in range(4):
            crowd.start(UNSIGNED, "run", aci)
            crowd.start("image", "rm", image)
        for args, status, out, err in crowd.results():
            if "run" in args and status == 0:
                assert crowd.app_output(out) == "hello from busybox, an ACI\n"
            elif "run" in args:
                # Removed between the fetch and the preparing.
                assert (out, err.count(" is not in the store\n"), len(err.splitlines())) == ("", 1, 2), err
            elif status:
                assert len(err.splitlines()) <= 2, err
    assert stored("image", "check", status=None).returncode == 0
