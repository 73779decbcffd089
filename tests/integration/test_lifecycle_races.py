"""Several commands at one pod at once, and commands that are killed at any instant."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.integration.test_lifecycle import IMAGE, Pods, mounts_of

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

SEED = int(os.environ.get("RKTPY_TEST_SEED", "20261"))


@pytest.fixture
def pods(rktpy: Rktpy, busybox_images: Path) -> Iterator[Pods]:
    rktpy("--insecure-options=image", "fetch", str(busybox_images / "busybox.aci"))
    yield Pods(rktpy)


def start(pods: Pods, *args: str) -> subprocess.Popen[str]:
    argv = pods.rktpy.argv("--insecure-options=image", *args)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    return [(process.returncode, *out) for process, out in [(process, process.communicate(timeout=60)) for process in processes]]


def ran(pods: Pods, *outputs: str) -> str:
    """What the apps wrote, of what the commands printed."""
    return "".join([pods.rktpy.app_output(output) for output in outputs])


def test_one_of_many_runs_a_prepared_pod(pods: Pods) -> None:
    uuid = pods.prepare(IMAGE, "--exec=/bin/sh", "--", "-c", "echo ran")
    results = finish([start(pods, "run-prepared", uuid) for _ in range(8)])
    assert sorted(result[0] for result in results) == [0] + [254] * 7
    assert ran(pods, *[result[1] for result in results]) == "ran\n"
    assert all(f'pod "{uuid}" is not prepared' in err or status == 0 for status, _out, err in results), results
    assert pods.where() == {"run": [uuid]}


def test_run_against_rm(pods: Pods) -> None:
    """Either the pod runs, or it is removed before; nothing in between."""
    for _ in range(6):
        uuid = pods.prepare(IMAGE, "--exec=/bin/sh", "--", "-c", "echo ran; sleep 0.3")
        (status, out, _), (removed, _, err) = finish([start(pods, "run-prepared", uuid), start(pods, "rm", uuid)])
        if removed == 0:
            assert (status, out) == (254, "")
            assert pods.where() == {}
        else:
            assert (status, ran(pods, out)) == (0, "ran\n") and "running" in err
            pods("rm", uuid)


@pytest.mark.stage1("fly")
def test_many_remove_one_pod(pods: Pods) -> None:
    pods.sh("true")
    (uuid,) = pods.where()["run"]
    results = finish([start(pods, *command) for command in [("rm", uuid)] * 4 + [("gc", "--grace-period=0s")] * 4])
    said = "".join(out for _status, out, _err in results)
    assert f'"{uuid}"' in said
    for status, _out, err in results:
        assert "internal error" not in err
        assert status in (0, 254)
    assert pods.where() == {}


def test_parallel_runs_and_collections(pods: Pods) -> None:
    processes = [start(pods, "run", IMAGE, "--exec=/bin/sh", "--", "-c", f"exit {number}") for number in range(10)]
    collectors = [start(pods, "gc", "--grace-period=0s") for _ in range(4)]
    assert [result[0] for result in finish(processes)] == list(range(10))
    assert [result[0] for result in finish(collectors)] == [0] * 4
    pods("gc", "--grace-period=0s")
    assert pods.where() == {}


def test_killed_at_any_instant(pods: Pods, tmp_path: Path) -> None:
    """After each kill -9 the next commands work; in the end one gc leaves nothing."""
    rng = random.Random(SEED)
    pods.sh("true")
    pods.sh("true", "--no-overlay")
    commands = {
        "prepare": ("prepare", IMAGE),
        "copy": ("prepare", "--no-overlay", IMAGE),
        "run": ("run", IMAGE, "--exec=/bin/sh", "--", "-c", "echo x > /x; sleep 0.05"),
        "gc": ("gc", "--grace-period=0s", "--expire-prepared=0s"),
        "rm": ("rm",),
    }
    # How long each takes when nobody kills it.
    durations: dict[str, float] = {}
    for name, command in commands.items():
        begin = time.monotonic()
        pods(*command, *([pods.prepare()] if name == "rm" else []))
        durations[name] = time.monotonic() - begin
    deaths = 0
    for round_number in range(60):
        name = rng.choice(list(commands))
        arguments = list(commands[name])
        if name == "rm":
            there = [uuid for state, uuids in pods.where().items() if state in ("run", "prepared", "prepare") for uuid in uuids]
            arguments.append(rng.choice(there) if there else pods.prepare())
        process = start(pods, *arguments)
        time.sleep(rng.uniform(0, durations[name] * 1.1))
        process.kill()
        process.communicate(timeout=60)
        deaths += process.returncode == -signal.SIGKILL
        if round_number % 5 == 0:
            listed = pods("list", "--full")
            assert "internal error" not in listed.stderr, listed.stderr
            assert pods.sh("echo fine").stdout == "fine\n"
        assert mounts_of(pods.data) == []
    assert deaths > 20, f"only {deaths} of the commands were killed"
    pods("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert pods.where() == {}
    assert no_process_in(pods.data)


def no_process_in(data: Path) -> bool:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(f"{data}/") or str(data) in os.readlink(f"/proc/{pid}/root"):
                return False
        except OSError:
            continue
    return True


@pytest.mark.stage1("fly")
def test_collection_finishes_what_a_killed_one_began(pods: Pods) -> None:
    """Whichever files of the pod are gone already, the next gc removes the others."""
    rng = random.Random(SEED)
    for _ in range(4):
        pods.sh("mkdir /d; echo x > /d/x")
        (uuid,) = pods.where()["run"]
        pods("gc", "--mark-only")
        pod = pods.data / "pods/exited-garbage" / uuid
        files = sorted(path for path in pod.rglob("*") if not path.is_dir() or path.is_symlink())
        for path in rng.sample(files, rng.randrange(1, len(files))):
            path.unlink()
        assert pods("list").stdout
        pods("gc", "--grace-period=0s")
        assert pods.where() == {}
