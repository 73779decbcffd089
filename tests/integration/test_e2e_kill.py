"""kill -9 at random instants: whatever was under way, the next command works, the store is sound, and nothing is left over."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pods import cgroups_of_pods, kill, mounts_of, processes_with, states, wait_for
from tests.support.registry import Registry, make_image

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.stage1("fly", "oci", "systemd")]

KILLS = 120
SECONDS = 100.0
FETCH = "--insecure-options=image,http"
GREETING = "hello from busybox, an ACI\n"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, busybox_images: Path) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("registry")
    noise = random.Random(7)
    layers = [{f"/data/{number}-{n}": noise.randbytes(200_000) for n in range(4)} for number in range(3)]
    with Registry(directory) as registry:
        registry.push(make_image(directory, layers), "team/data:v1")
        registry.push(f"oci:{busybox_images}/busybox-oci:1", "team/busybox:1")
        yield registry


class Victims:
    """Commands to be killed, by name; each call gives the arguments for one."""

    def __init__(self, rktpy: Rktpy, registry: Registry, images: Path, seed: int) -> None:
        self.rktpy = rktpy
        self.random = random.Random(seed)
        self.aci = str(images / "busybox.aci")
        self.oci = f"docker://{registry.host}/team/busybox:1"
        self.data = f"docker://{registry.host}/team/data:v1"
        self.makers: dict[str, Callable[[], list[str]]] = {
            "fetch from a registry": lambda: [FETCH, "fetch", "--pull-policy=update", self.random.choice((self.oci, self.data))],
            "fetch a file": lambda: [FETCH, "fetch", self.aci],
            "prepare": lambda: [FETCH, "prepare", *self._flags(), self.random.choice((self.oci, self.aci))],
            "run": lambda: [FETCH, "run", *self._flags(), self.aci, "--memory=50M", "--exec=/bin/sh", "--", "-c", "sleep 0.1"],
            "run-prepared": lambda: ["run-prepared", self._pod("prepared")],
            "gc": lambda: ["gc", "--grace-period=0s", "--expire-prepared=0s"],
            "rm": lambda: ["rm", self._pod(self.random.choice(("prepared", "run", "exited-garbage")))],
            "image gc": lambda: ["image", "gc", "--grace-period=0s"],
            "image rm": lambda: ["image", "rm", self._image()],
        }

    def _flags(self) -> list[str]:
        return ["--no-overlay"] if self.random.random() < 0.2 else []

    def _pod(self, state: str) -> str:
        pods = sorted((self.rktpy.data / "pods" / state).glob("*"))
        return self.random.choice(pods).name if pods else self.rktpy(FETCH, "prepare", "--quiet", self.aci).stdout.strip()

    def _image(self) -> str:
        images = sorted((self.rktpy.data / "cas/images").glob("sha*"))
        return self.random.choice(images).name if images else self.rktpy(FETCH, "fetch", "--full", self.aci).stdout.strip()

    def start(self, name: str) -> subprocess.Popen[bytes]:
        argv = self.rktpy.argv(*self.makers[name]())
        null = subprocess.DEVNULL
        return subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True)


def measured(victims: Victims, name: str) -> float:
    """Seconds that a command takes when it is left alone."""
    process = victims.start(name)
    began = time.monotonic()
    try:
        assert process.wait(30) in (0, 254), name
    finally:
        kill(process)
    return time.monotonic() - began


def check_sound(rktpy: Rktpy) -> None:
    done = rktpy("image", "check", status=None)
    broken = [line for line in done.stdout.splitlines() if not line.startswith("leftover:")]
    assert (broken, done.returncode) == ([], 0), done.stdout + done.stderr


def next_command(victims: Victims, number: int) -> None:
    """Every command has to work after every kill; one of them is tried, in turn."""
    rktpy = victims.rktpy
    turn = number % 8
    if turn == 0:
        assert rktpy(FETCH, "run", victims.aci).stdout == GREETING
    elif turn == 1:
        rktpy("list", "--full")
    elif turn == 2:
        rktpy("image", "list")
    elif turn == 3:
        assert rktpy(FETCH, "fetch", "--full", victims.data).stdout.startswith("sha256-")
    elif turn == 4:
        uuid = rktpy(FETCH, "prepare", "--quiet", victims.oci).stdout.strip()
        assert "state=prepared" in rktpy("status", uuid).stdout
    elif turn == 5:
        rktpy("gc")
    elif turn == 6:
        check_sound(rktpy)
    else:
        assert rktpy(FETCH, "run", victims.oci).stdout == "hello from busybox, an OCI image\n"


def test_killed_at_any_instant(rktpy: Rktpy, registry: Registry, busybox_images: Path) -> None:
    seed = int(os.environ.get("RKTPY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"RKTPY_TEST_SEED={seed}")
    seen: set[str] = set()
    victims = Victims(rktpy, registry, busybox_images, seed)
    chance = victims.random
    for name in victims.makers:
        measured(victims, name)
    durations = {name: measured(victims, name) for name in victims.makers}
    deadline = time.monotonic() + SECONDS
    commands = killed = 0
    order: list[str] = []
    while killed < KILLS and time.monotonic() < deadline:
        if not order:
            order = [*victims.makers]
            chance.shuffle(order)
        name = order.pop()
        process = victims.start(name)
        try:
            process.wait(chance.uniform(0, durations[name]))
            # How long a command takes depends on what the ones before it have left: five of six shall be hit.
            durations[name] *= 0.85
        except subprocess.TimeoutExpired:
            killed += 1
            durations[name] *= 1.03
        if chance.random() < 0.5:
            process.kill()
            process.wait(10)
        else:
            kill(process)
        seen.update(path.name for path in rktpy.data.glob("pods/*/*"))
        try:
            next_command(victims, commands)
        except AssertionError as error:
            raise AssertionError(f"after kill {killed} ({name}), seed {seed}: {error}") from error
        seen.update(path.name for path in rktpy.data.glob("pods/*/*"))
        commands += 1
    print(f"{killed} of {commands} commands killed before they ended")
    assert killed > 50, "the machine is too slow for this test to say anything"

    wait_for("the end of all pods", lambda: "running" not in states(rktpy).values())
    check_sound(rktpy)
    rktpy("gc", "--grace-period=0s", "--expire-prepared=0s")
    rktpy("image", "gc", "--grace-period=0s")
    assert rktpy("image", "check").stdout == ""
    assert states(rktpy) == {}
    assert mounts_of(rktpy.data) == []
    assert len(seen) > 10
    assert [group for uuid in seen for group in cgroups_of_pods(uuid)] == []
    assert processes_with(str(rktpy.data)) == {}
    assert sorted(path.name for path in (rktpy.data / "cas/tmp").iterdir()) == []
    assert list((rktpy.data / "pods").glob("*/*")) == []
    assert rktpy(FETCH, "run", victims.aci).stdout == GREETING
