"""SIGKILL to the processes of a systemd pod, and to ``run`` at random instants: one ``gc`` leaves nothing of the pod."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.host_network import HostNetwork
from tests.support.leftovers import left_after_a_while, leftovers, reap
from tests.support.pods import BUSYBOX, UNSIGNED, Running, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

NETWORK = ("--net=default",)
KILLS = int(os.environ.get("RKTPY_TEST_KILLS", "40"))


def child_of(pid: int, name: str = "") -> int:
    """The child of a process (one with ``name`` in its command line)."""
    children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    found = [child for child in children if name.encode() in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(found) == 1, (name, children)
    return found[0]


def all_ended(rktpy: Rktpy) -> None:
    def ended() -> bool:
        reap()
        return "running" not in states(rktpy).values()

    wait_for("the end of all pods", ended)


def collect(rktpy: Rktpy, *uuids: str) -> None:
    """What a user does next works, and nothing is left."""
    rktpy("list", "--full")
    rktpy("gc", "--grace-period=0s")
    assert left_after_a_while(rktpy.data, uuids) == []


def exited(rktpy: Rktpy, uuid: str) -> None:
    def ended() -> bool:
        reap()
        return states(rktpy)[uuid] == "exited"

    wait_for("the end of the pod", ended)


def test_the_outer_process(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """Everything of the pod dies with it."""
    with Running(stored, tmp_path, "trap '' TERM HUP; echo up; while :; do sleep 0.05; done", "--memory=64M", pod=NETWORK) as pod:
        assert pod.line() == "up\n"
        there = {line.partition(" ")[0] for line in leftovers(stored.data, [pod.uuid])}
        assert there >= {"pod", "process", "cgroup", "network", "address", "rule"}
        pod.process.kill()
        assert pod.process.wait(10) == -signal.SIGKILL
    exited(stored, pod.uuid)
    collect(stored, pod.uuid)
    host.assert_clean()


def test_the_pods_first_process(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """The end of the pod is cleaned up at once, without gc."""
    with Running(stored, tmp_path, "echo up; exec sleep 60", "--memory=64M", pod=NETWORK) as pod:
        assert pod.line() == "up\n"
        os.kill(child_of(pod.process.pid), signal.SIGKILL)
        assert pod.process.wait(10) == 1
    assert [line for line in leftovers(stored.data, [pod.uuid]) if not line.startswith("pod ")] == []
    collect(stored, pod.uuid)
    host.assert_clean()


def test_the_journal(stored: Rktpy, tmp_path: Path) -> None:
    """It comes back, and the app's streams survive."""
    script = "echo before; read x </go; echo after; exit 5"
    with Running(stored, tmp_path, f"mkfifo /go; {script}") as pod:
        assert pod.line() == "before\n"
        # It prints a line before it keeps it.
        wait_for("the log", lambda: stored("logs", "--output=cat", pod.uuid).stdout == "before\n")
        for _ in range(2):
            journal = child_of(child_of(pod.process.pid), "systemd-journald")
            os.kill(journal, signal.SIGKILL)
            wait_for("another journal", lambda: has_journal(pod.process.pid, journal))  # noqa: B023
        # The end of the pod may come before that of the shell.
        stored("enter", pod.uuid, "/bin/sh", "-c", "echo >/go", status=None)
        status, out, _err = pod.ended()
        assert (status, out) == (5, "after\n")
    assert stored("logs", "--output=cat", pod.uuid).stdout == "before\nafter\n"
    collect(stored, pod.uuid)


def test_a_journal_that_does_not_come_back(stored: Rktpy, tmp_path: Path) -> None:
    """systemd tries some times; then the pod ends, and says so: its apps would write into the void."""
    with Running(stored, tmp_path, "echo up; exec sleep 60") as pod:
        assert pod.line() == "up\n"
        deadline = time.monotonic() + 20
        while pod.process.poll() is None:
            assert time.monotonic() < deadline
            try:
                os.kill(child_of(child_of(pod.process.pid), "systemd-journald"), signal.SIGKILL)
            except (AssertionError, OSError):
                time.sleep(0.01)
        status, _out, err = pod.ended()
        assert (status, err) == (254, "stage1: the journal of the pod cannot be started\n")
    collect(stored, pod.uuid)


def has_journal(outer: int, other_than: int) -> bool:
    try:
        return child_of(child_of(outer), "systemd-journald") != other_than
    except (AssertionError, OSError):
        return False


def test_an_app(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "echo up; while :; do sleep 0.05; done") as pod:
        assert pod.line() == "up\n"
        os.kill(child_of(child_of(pod.process.pid), "/bin/sh"), signal.SIGKILL)
        assert pod.ended() == (9, "", "")
    collect(stored, pod.uuid)


def test_what_cleans_up_at_the_end(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """The outer process becomes another program then, which is killed at some instants."""
    for number in range(5):
        with Running(stored, tmp_path, "echo up; sleep 0.2", "--memory=64M", pod=NETWORK) as pod:
            command = Path(f"/proc/{pod.process.pid}/cmdline")
            deadline = time.monotonic() + 10
            while b"finish\0" not in command.read_bytes() or b"monitor\0" in command.read_bytes():
                assert time.monotonic() < deadline and pod.process.poll() is None
            time.sleep(number * 0.03)
            pod.process.kill()
            pod.process.wait(10)
        exited(stored, pod.uuid)
        collect(stored, pod.uuid)
    host.assert_clean()


@pytest.mark.slow
def test_run_at_any_instant(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """With and without network and overlay; each time the next command works."""
    seed = int(os.environ.get("RKTPY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"RKTPY_TEST_SEED={seed}")
    chance = random.Random(seed)
    app = (BUSYBOX, "--memory=64M", "--exec=/bin/sh", "--", "-c", "echo x >/x; sleep 0.05")
    kinds = {kind: ("run", *kind, *app) for kind in (("--net=none",), ("--net=default",), ("--net=none", "--no-overlay"))}
    durations: dict[tuple[str, ...], float] = {}
    for kind, command in kinds.items():
        begun = time.monotonic()
        stored(UNSIGNED, *command)
        durations[kind] = time.monotonic() - begun
    seen: set[str] = set()
    killed = 0
    for number in range(KILLS):
        kind = chance.choice(list(kinds))
        process = subprocess.Popen(
            stored.argv(UNSIGNED, *kinds[kind]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(chance.uniform(0, durations[kind]))
        except subprocess.TimeoutExpired:
            killed += 1
        seen.update(path.name for path in stored.data.glob("pods/*/*"))
        process.kill()
        process.wait(10)
        reap()
        if number % 4 == 0:
            assert stored(UNSIGNED, "run", "--net=none", BUSYBOX, "--exec=/bin/echo", "--", "fine").stdout == "fine\n", seed
        stored("list", "--full")
        seen.update(path.name for path in stored.data.glob("pods/*/*"))
        if number % 3 == 0:
            all_ended(stored)
            stored("gc", "--grace-period=0s", "--expire-prepared=0s")
            found = left_after_a_while(stored.data, seen)
            assert found == [], (seed, number, kind)
    assert killed > KILLS // 3, "the machine is too slow for this test to say anything"
    all_ended(stored)
    stored("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert left_after_a_while(stored.data, seen) == [], seed
    host.assert_clean()
