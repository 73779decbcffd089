"""Many systemd pods, one after the other and at once, and pods that a restart of the machine has ended: nothing adds up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.host_network import HostNetwork
from tests.support.leftovers import left_after_a_while, reap
from tests.support.pods import BUSYBOX, UNSIGNED, Running, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd"), pytest.mark.slow]

PODS = int(os.environ.get("RKTPY_TEST_PODS", "30"))


def test_one_after_the_other(stored: Rktpy, host: HostNetwork) -> None:
    """Started, ended and collected; every third in a network, every fifth stopped by the user."""
    seen: set[str] = set()
    for number in range(PODS):
        net = "--net=default" if number % 3 == 0 else "--net=none"
        command = (UNSIGNED, "run", net, BUSYBOX, "--memory=64M", "--exec=/bin/sh", "--", "-c")
        if number % 5:
            assert stored(*command, f"echo number {number}").stdout == f"number {number}\n"
        else:
            with subprocess.Popen(stored.argv(*command, "sleep 60"), stdout=subprocess.DEVNULL) as process:
                wait_for("the pod", lambda: "running" in states(stored).values())
                (uuid,) = (uuid for uuid, state in states(stored).items() if state == "running")
                stored("status", "--wait-ready=10s", uuid)
                stored("stop", uuid)
                assert process.wait(10) == 0
        (uuid,) = states(stored)
        seen.add(uuid)
        assert states(stored) == {uuid: "exited"}
        stored("gc", "--grace-period=0s")
        assert states(stored) == {}
    assert len(seen) == PODS
    assert left_after_a_while(stored.data, seen) == []
    host.assert_clean()


def test_at_once(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """Eight pods have eight addresses, their own output and status; then eight collections at once remove them all."""
    argv = [
        stored.argv(
            UNSIGNED, "run", "--net=default", f"--uuid-file-save={tmp_path}/{number}", BUSYBOX, "--exec=/bin/sh", "--", "-c",
            f"ifconfig eth0 | grep -o 'inet addr:[0-9.]*'; echo pod {number}; exit {number}",
        )
        for number in range(8)
    ]  # fmt: skip
    processes = [subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for one in argv]
    addresses: set[str] = set()
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=60)
        assert process.returncode == number, err
        address, line = stored.app_output(out).splitlines()
        assert line == f"pod {number}"
        addresses.add(address)
    assert len(addresses) == 8 and all("172.16.28." in address for address in addresses)
    uuids = [(tmp_path / str(number)).read_text() for number in range(8)]
    assert set(states(stored)) == set(uuids)
    collections = [subprocess.Popen(stored.argv("gc", "--grace-period=0s"), stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [process.wait(60) for process in collections] == [0] * 8
    assert left_after_a_while(stored.data, uuids) == []
    host.assert_clean()


@pytest.mark.parametrize("overlay", ["", "--no-overlay"])
def test_a_restart_of_the_machine(stored: Rktpy, host: HostNetwork, tmp_path: Path, overlay: str) -> None:
    """After it the directory of a pod that ran is there, and nothing of what it tells: not its processes, groups or network."""
    flags = ("--net=default", *([overlay] if overlay else []))
    copy = tmp_path / "copy"
    with Running(stored, tmp_path, "echo up; exec sleep 60", "--memory=64M", pod=flags) as pod:
        assert pod.line() == "up\n"
        (running,) = stored.data.glob(f"pods/run/{pod.uuid}")
        subprocess.run(["cp", "-a", running, copy], check=True)
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(10) == 0
    stored("gc", "--grace-period=0s")
    assert left_after_a_while(stored.data, [pod.uuid]) == []
    shutil.move(copy, running)
    # Its numbers are those of others by now: of this process, which must not be touched.
    for name in ("pid", "ppid"):
        if (running / name).exists():
            (running / name).write_text(str(os.getpid()))
    assert states(stored) == {pod.uuid: "exited"}
    assert "state=exited" in stored("status", pod.uuid).stdout
    assert f'pod "{pod.uuid}" is already stopped' in stored("stop", "--force", pod.uuid).stdout
    assert "isn't currently running" in stored("enter", pod.uuid, "/bin/true", status=254).stderr
    assert stored("logs", "--output=cat", pod.uuid).stdout == "up\n"
    assert stored("gc", "--grace-period=0s").stderr == f'gc: moving pod "{pod.uuid}" to garbage\n'
    reap()
    assert left_after_a_while(stored.data, [pod.uuid]) == []
    host.assert_clean()
