"""A hundred pods at once, where the machine lets them: started, listed, stopped and collected."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.leftovers import left_after_a_while, reap
from tests.support.pods import BUSYBOX, UNSIGNED, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd"), pytest.mark.slow]

PODS = 100
#: Of fs.inotify.max_user_instances: what a pod's systemd has open, and what others may have.
_NEEDED = PODS * 3 + 32
#: Started at a time; all of them run before the first is asked to stop.
_AT_A_TIME = 4


def test_a_hundred_pods(stored: Rktpy, tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    if limit < _NEEDED:
        pytest.skip(f"fs.inotify.max_user_instances is {limit}, {PODS} pods need {_NEEDED}")
    running: list[subprocess.Popen[bytes]] = []
    try:
        for first in range(0, PODS, _AT_A_TIME):
            files = [tmp_path / f"uuid{number}" for number in range(first, first + _AT_A_TIME)]
            for file in files:
                command = ("run", f"--uuid-file-save={file}", BUSYBOX, "--memory=32M", "--exec=/bin/sleep", "--", "6000")
                running.append(subprocess.Popen(stored.argv(UNSIGNED, *command), stdout=subprocess.DEVNULL))
            for file in files:
                wait_for(f"the pod of {file.name}", lambda file=file: file.exists() and file.read_text(), 60)
                stored("status", "--wait-ready=60s", file.read_text())
        uuids = [path.read_text() for path in tmp_path.glob("uuid*")]
        assert states(stored) == dict.fromkeys(uuids, "running") and len(uuids) == PODS
        # Each one is a pod of its own still: entered, it answers.
        for uuid in uuids[:: PODS // 5]:
            assert stored("enter", uuid, "/bin/echo", "here").stdout == "here\n"
        stored("stop", *uuids, timeout=600)
        assert [process.wait(300) for process in running] == [0] * PODS
        assert set(states(stored).values()) == {"exited"}
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
    stored("gc", "--grace-period=0s", timeout=600)
    assert states(stored) == {}
    reap()
    assert left_after_a_while(stored.data, uuids) == []
    assert os.listdir(stored.data / "pods" / "run") == []
