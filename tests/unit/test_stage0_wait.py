"""Waits for pods wake up by themselves."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from rktpy.stage0 import pod_states, pods
from tests.unit.test_stage0_pods import UUID, Holder, make


def test_wait_exited_wakes_when_the_lock_goes(tmp_path: Path) -> None:
    path = make(tmp_path, "run")
    holder = Holder(path)
    with pods.open_pod(str(tmp_path), UUID) as pod:
        begin = time.monotonic()
        assert not pod.wait_exited(0.1)
        assert 0.09 < time.monotonic() - begin < 2
        timer = threading.Timer(0.2, holder.release)
        timer.start()
        begin = time.monotonic()
        assert pod.wait_exited(20)
        assert time.monotonic() - begin < 5
        timer.join()
        assert pod.state == pod_states.EXITED
        assert pod.wait_exited(None)


def test_wait_exited_of_a_prepared_pod_waits_for_its_run(tmp_path: Path) -> None:
    path = make(tmp_path, "prepared")
    with pods.open_pod(str(tmp_path), UUID) as pod:
        assert not pod.wait_exited(0.05)

        def run() -> None:
            holder = Holder(path)
            path.rename(tmp_path / "pods" / "run" / UUID)
            time.sleep(0.15)
            holder.release()

        timer = threading.Timer(0.15, run)
        timer.start()
        assert pod.wait_exited(20)
        timer.join()
        assert pod.directory == "run"


def test_wait_ready(tmp_path: Path) -> None:
    path = make(tmp_path, "prepared")
    with pods.open_pod(str(tmp_path), UUID) as pod:
        assert not pod.wait_ready(0.05)
        held: list[Holder] = []

        def run() -> None:
            held.append(Holder(path))
            moved = path.rename(tmp_path / "pods" / "run" / UUID)
            (moved / "stage1" / "rootfs").mkdir(parents=True)
            time.sleep(0.05)
            (moved / "stage1" / "rootfs" / "rkt").mkdir()
            time.sleep(0.05)
            (moved / "stage1" / "rootfs" / "rkt" / "supervisor-status").symlink_to("ready")

        timer = threading.Timer(0.1, run)
        timer.start()
        assert pod.wait_ready(20)
        timer.join()
        held[0].release()


def test_wait_ready_ends_with_a_pod_that_never_was(tmp_path: Path) -> None:
    path = make(tmp_path, "run")
    holder = Holder(path)
    with pods.open_pod(str(tmp_path), UUID) as pod:
        timer = threading.Timer(0.1, holder.release)
        timer.start()
        assert not pod.wait_ready(None)
        timer.join()
        assert pod.state == pod_states.EXITED
