"""Pods of stage1-oci, with each runtime that is there: what is not the same as in the tests of all stage1s."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.leftovers import left_after_a_while
from tests.support.pod_manifests import app, pod_of
from tests.support.pods import BUSYBOX, UNSIGNED, Running, report, shell, states

pytestmark = [pytest.mark.root, pytest.mark.stage1("oci:runc", "oci:crun", "oci:rktpy-oci")]


def name_of(rktpy: Rktpy) -> str:
    return rktpy.stage1.partition(":")[2]


def two(rktpy: Rktpy, first: str, second: str, *pod: str, **options: int) -> subprocess.CompletedProcess[str]:
    """Run two shell scripts as the apps ``one`` and ``two`` of a pod."""
    apps: list[str] = []
    for name, script in (("one", first), ("two", second)):
        apps += [*(["---"] if apps else []), BUSYBOX, f"--name={name}", "--exec=/bin/sh", "--", "-c", script]
    return rktpy(UNSIGNED, "run", *pod, *apps, **options)


def test_apps_share_the_pods_namespaces(stored: Rktpy) -> None:
    """Processes, host name, addresses and shared memory are the pod's; roots and control groups each app's own."""
    script = "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; echo here >/dev/shm/$AC_APP_NAME; "
    script += "while [ ! -e /dev/shm/one -o ! -e /dev/shm/two ]; do busybox usleep 10000; done; hostname; ls /only-mine"
    done = two(stored, f"touch /only-mine; {script}", f"{script} 2>/dev/null; true", "--hostname=shared")
    lines = done.stdout.splitlines()
    for kind in ("pid", "net", "ipc", "uts"):
        seen = [line for line in lines if line.startswith(f"{kind}:")]
        assert len(seen) == 2 and len(set(seen)) == 1, kind
        assert seen[0] != os.readlink(f"/proc/self/ns/{kind}")
    for kind in ("mnt", "cgroup"):
        assert len({line for line in lines if line.startswith(f"{kind}:")}) == 2
    assert lines.count("shared") == 2 and lines.count("/only-mine") == 1


def test_the_app_that_fails_first_ends_the_pod(stored: Rktpy) -> None:
    """The others are asked to stop; what they do then is not the pod's status."""
    begun = time.monotonic()
    done = two(
        stored, "trap 'echo bye; exit 7' TERM; while :; do busybox usleep 10000; done", "busybox sleep 0.3; exit 5", status=5
    )
    assert done.stdout == "bye\n" and time.monotonic() - begun < 40
    (uuid,) = states(stored)
    told = stored("status", uuid).stdout.splitlines()
    assert {"app-one=7", "app-two=5", "exited=true"} <= set(told)


def test_the_processes_of_a_pod(stored: Rktpy, tmp_path: Path) -> None:
    """The monitor, conmon and the pod's own; nothing of Python. All end when the monitor is killed, and gc removes the rest."""
    with Running(stored, tmp_path, "echo up; exec sleep 1000") as pod:
        assert pod.line() == "up\n"
        directory = stored.data / "pods/run" / pod.uuid
        programs = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "cwd").startswith(str(directory)) or process.name == str(pod.process.pid):
                    programs[os.readlink(process / "exe").rpartition("/")[2]] = process
            except OSError:
                continue
        assert set(programs) == {"monitor", "conmon"}
        conmon = int(programs["conmon"].name)
        assert stored("logs", pod.uuid, "--output=cat").stdout == "up\n"
        os.kill(pod.process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{conmon}").exists() and "Z" not in Path(f"/proc/{conmon}/stat").read_text().rpartition(")")[2]:
            assert time.monotonic() < deadline, "conmon outlives the pod"
            time.sleep(0.02)
        stored("status", "--wait=10s", pod.uuid)
        stored("gc", "--grace-period=0s")
        assert left_after_a_while(stored.data, [pod.uuid]) == []


def test_logs(stored: Rktpy) -> None:
    """Kept by app and stream, with times, in the order in which lines were begun; readable when the pod has ended."""
    script = "echo -n first; echo error >&2; echo ' and more'; head -c 20000 /dev/zero | tr '\\0' x; echo; echo last"
    shell(stored, script)
    (uuid,) = states(stored)
    lines = stored("logs", "--output=cat", uuid).stdout.splitlines()
    assert sorted(lines) == sorted(["first and more", "error", "x" * 20000, "last"])
    entries = [json.loads(line) for line in stored("logs", "--output=json", "--app=busybox", uuid).stdout.splitlines()]
    assert {entry["MESSAGE"]: entry["PRIORITY"] for entry in entries}["error"] == "3"
    assert stored("logs", "--output=cat", "--lines=1", uuid).stdout == "last\n"
    assert stored("logs", "--since=2100-01-01", uuid).stdout == ""


def test_following_logs(stored: Rktpy, tmp_path: Path) -> None:
    script = "echo one; while [ ! -e /go ]; do busybox usleep 10000; done; echo two; sleep 0.2; echo three"
    with Running(stored, tmp_path, script) as pod:
        argv = stored.argv("logs", "--follow", "--output=cat", pod.uuid)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline() == "one\n"
            stored("enter", pod.uuid, "/bin/busybox", "touch", "/go")
            assert follower.stdout.readline() == "two\n"
            assert follower.communicate(timeout=30)[0] == "three\n"
        assert follower.returncode == 0


def test_limits_and_who_enforces_them(stored: Rktpy) -> None:
    done = shell(stored, "x=12345678; while [ ${#x} -lt 100000000 ]; do x=$x$x; done; echo survived", "--memory=16M", status=None)
    (uuid,) = states(stored)
    if name_of(stored) != "crun" or not Path("/sys/fs/cgroup/memory").exists():
        assert (done.returncode, done.stdout) == (137, "") and report(stored, uuid) == {"resource/memory": "enforced"}
        return
    # crun takes no control groups but those of a pure v2.
    assert done.stdout == "survived\n" and report(stored, uuid) == {"resource/memory": "ignored"}
    assert "stage1: app busybox: resource/memory is not enforced: crun uses no control groups of version 1" in done.stderr
    shell(stored, "echo ran", "--memory=16M", pod=("--strict",), status=254)


def test_a_network_and_a_forwarded_port(stored: Rktpy, tmp_path: Path) -> None:
    """The pod's container has the network before an app is started."""
    for plugin in ("bridge", "ptp"):
        if not Path(f"/usr/lib/cni/{plugin}").exists():
            need_tool(f"/usr/lib/cni/{plugin}")
    manifest = pod_of(
        tmp_path,
        app("busybox nc -l -p 8080 -e /bin/echo answered", ports=[{"name": "web", "protocol": "tcp", "port": 8080}]),
        ports=[{"name": "web", "hostPort": 18080}],
    )
    argv = stored.argv("--debug=false", UNSIGNED, "run", "--net=default", manifest)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        answer = b""
        deadline = time.monotonic() + 20
        while not answer:
            assert time.monotonic() < deadline and process.poll() is None, process.communicate(timeout=5)
            try:
                with socket.create_connection(("127.0.0.1", 18080), timeout=2) as connection:
                    answer = connection.recv(100)
            except OSError:
                time.sleep(0.1)
        assert answer == b"answered\n"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    (uuid,) = states(stored)
    stored("rm", uuid)
    assert left_after_a_while(stored.data, [uuid]) == []


def test_event_handlers_that_follow_the_app(stored: Rktpy, tmp_path: Path) -> None:
    handlers = [{"name": "post-stop", "exec": ["/bin/sh", "-c", "echo after; cat /left"]}]
    manifest = pod_of(tmp_path, app("echo by the app >/left; exit 4", eventHandlers=handlers))
    assert stored(UNSIGNED, "run", manifest, status=4).stdout == "after\nby the app\n"


@pytest.mark.stage1("oci:runc")
def test_runtimes_that_are_not_there(stored: Rktpy, tmp_path: Path) -> None:
    for runtime in ("no-such-runtime", str(tmp_path / "none")):
        done = stored(UNSIGNED, "run", f"--oci-runtime={runtime}", BUSYBOX, status=254)
        assert done.stderr.splitlines()[-1] == f'run: no OCI runtime "{runtime}" is installed'
    done = stored(UNSIGNED, "run", "--stage1=fly", "--oci-runtime=runc", BUSYBOX, status=254)
    assert done.stderr.splitlines()[-1] == "run: --oci-runtime is for stage1 oci only"
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\necho \'time="now" level=error msg="cannot do \\\\"it\\\\""\' >&2\nexit 3\n')
    broken.chmod(0o755)
    done = stored(UNSIGNED, "run", f"--oci-runtime={broken}", BUSYBOX, status=254)
    assert done.stderr.splitlines()[-1] == 'run: broken: cannot do "it"'
    uuids = states(stored)
    stored("gc", "--grace-period=0s")
    assert left_after_a_while(stored.data, uuids) == []


@pytest.mark.stage1("oci:runc")
def test_what_this_stage1_does_not_do_is_refused(stored: Rktpy) -> None:
    for flags, text in (
        (("--private-users",), "stage1-oci does not support private users"),
        (("--stdin=stream",), "no streams to attach to"),
    ):
        pod, of_app = (flags, ()) if flags[0] == "--private-users" else ((), flags)
        assert text in shell(stored, "echo ran", *of_app, pod=pod, status=254).stderr
