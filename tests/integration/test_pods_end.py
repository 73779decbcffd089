"""How a pod of several apps ends, and what its status is then."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy
from tests.support.app_lines import app_lines
from tests.support.pod_manifests import app, pod_of
from tests.support.pods import UNSIGNED, Running, states

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd", "kvm")]


def run(rktpy: Rktpy, manifest: str, status: int) -> list[tuple[str, str]]:
    """Run a pod to its end, whose status is given; the apps' lines with their names."""
    done = subprocess.run(rktpy.argv(UNSIGNED, "run", manifest), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert done.stderr == ""
    return app_lines(done.stdout)


def handlers(**scripts: str) -> list[dict[str, Any]]:
    """Event handlers by name; ``_`` stands for a dash."""
    return [{"name": name.replace("_", "-"), "exec": ["/bin/sh", "-c", script]} for name, script in scripts.items()]


def test_all_apps_end(stored: Rktpy, tmp_path: Path) -> None:
    """The pod lasts until the last one has, and one that ends well does not concern the others."""
    apps = [app(f"sleep {delay}; echo ends", f"app{number}") for number, delay in enumerate((0, 0.3, 0.8))]
    assert run(stored, pod_of(tmp_path, *apps), 0) == [(f"app{number}", "ends") for number in range(3)]
    (uuid,) = states(stored)
    assert {f"app-app{number}=0" for number in range(3)} <= set(stored("status", uuid).stdout.splitlines())


@pytest.mark.parametrize("end", ["exit 1", "exit 255", "kill -9 $$", "kill -11 $$"])
def test_the_first_that_fails_ends_the_pod(stored: Rktpy, tmp_path: Path, end: str) -> None:
    number = int(end.split()[1].lstrip("-"))
    polite = app("trap 'exit 3' TERM; while :; do sleep 0.05; done", "polite")
    apps = (app(f"sleep 0.3; {end}", "first"), polite)
    begun = time.monotonic()
    assert run(stored, pod_of(tmp_path, *apps), number) == []
    assert time.monotonic() - begun < 10
    (uuid,) = states(stored)
    assert {f"app-first={number}", "app-polite=3"} <= set(stored("status", uuid).stdout.splitlines())


def test_pre_start_fails(stored: Rktpy, tmp_path: Path) -> None:
    """The app never runs; the pod's status is the handler's. What post-stop would have undone was not done."""
    scripts = handlers(pre_start="echo preparing; exit 9", post_stop="echo stopped")
    fails = app("echo ran", "fails", eventHandlers=scripts)
    lines = run(stored, pod_of(tmp_path, fails, app("exec sleep 60", "other")), 9)
    assert [line for line in lines if line[0] != "systemd"] == [("fails", "preparing")]
    (uuid,) = states(stored)
    assert "app-fails=9" in stored("status", uuid).stdout.splitlines()


def test_handlers_run_in_order_and_confined(stored: Rktpy, tmp_path: Path) -> None:
    """As the app is: root, user, capabilities, system calls, groups, environment, directory."""
    look = (
        "echo $(id -u):$(id -G) $(grep -E '^(CapBnd|Seccomp|NoNewPrivs):' /proc/self/status) $MINE $(pwd)"
        " $(cat /made 2>/dev/null) $(ls /rkt /opt 2>/dev/null)"
    )
    section: dict[str, Any] = {
        "user": "7",
        "group": "8",
        "supplementaryGIDs": [9],
        "workingDirectory": "/tmp",
        "environment": [{"name": "MINE", "value": "yes"}],
        "isolators": [
            {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
            {"name": "os/linux/seccomp-remove-set", "value": {"set": ["mkdir", "mkdirat"], "errno": "EPERM"}},
        ],
    }
    refused = "; mkdir /tmp/d 2>/dev/null || echo no mkdir"
    scripts = handlers(pre_start=f"echo pre; {look}{refused}", post_stop=f"echo post; {look}{refused}")
    main = app(f"echo main; {look}{refused}; exit 4", "a", eventHandlers=scripts, **section)
    lines = run(stored, pod_of(tmp_path, main), 4)
    texts = [text for name, text in lines]
    assert {name for name, _text in lines} == {"a"}
    assert texts[::3] == ["pre", "main", "post"]
    assert texts[2::3] == ["no mkdir"] * 3
    (one,) = set(texts[1::3])
    assert one == "7:8 9 CapBnd: 0000000000000020 NoNewPrivs: 1 Seccomp: 2 yes /tmp"


def test_post_stop_that_fails_changes_no_status(stored: Rktpy, tmp_path: Path) -> None:
    one = app("exit 0", "one", eventHandlers=handlers(post_stop="echo after; exit 5"))
    assert run(stored, pod_of(tmp_path, one), 0) == [("one", "after")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_asked_to_end(stored: Rktpy, tmp_path: Path, number: int) -> None:
    """In order: the app is told, has time, then its handlers run; the status is 0."""
    script = "trap 'echo told; sleep 0.3; echo ends; exit 6' TERM; echo up; while :; do sleep 0.05; done"
    with Running(stored, tmp_path, script) as pod:
        assert pod.line() == "up\n"
        os.kill(pod.process.pid, number)
        assert pod.ended() == (0, "told\nends\n", "")
    assert "app-busybox=6" in stored("status", pod.uuid).stdout.splitlines()


def test_signals_from_an_app(stored: Rktpy, tmp_path: Path) -> None:
    """PID 1 executes itself anew, reads its units again, and so on; the pod goes on, and knows its end."""
    script = "for n in TERM HUP INT KILL USR1 USR2 WINCH; do kill -$n 1 2>/dev/null; sleep 0.2; done; echo still; exit 8"
    with Running(stored, tmp_path, script) as pod:
        status, out, _err = pod.ended()
    assert (status, out) == (8, "still\n")


def test_left_processes_end_with_the_app(stored: Rktpy, tmp_path: Path) -> None:
    mark = tmp_path / "v"
    mark.mkdir()
    script = "(trap '' TERM HUP; setsid sleep 1; echo late >/v/late) & exit 0"
    manifest = pod_of(
        tmp_path,
        app(script, "one", mounts=[{"volume": "v", "path": "/v"}]),
        volumes=[{"name": "v", "kind": "host", "source": str(mark)}],
    )
    run(stored, manifest, 0)
    time.sleep(1.2)
    assert list(mark.iterdir()) == []
