"""Unit files and wrapper scripts written for rkt work unchanged: services, their clean-up by UUID file, timers, boot wrappers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

NAME = "example.com/busybox:1"
UNSIGNED = "--insecure-options=image"
UNKNOWN = "0f746094-3438-42bc-ab37-3cf85f132e60"
SERVICE = "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def stored(rktpy: Rktpy, busybox_images: Path) -> Rktpy:
    """rktpy with busybox in the store."""
    rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    return rktpy


@pytest.fixture
def service(stored: Rktpy, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """What a unit's ExecStart made: the process that systemd watches, and the UUID file; the app is up."""
    file = tmp_path / "service.uuid"
    argv = stored.argv("run", UNSIGNED, f"--uuid-file-save={file}", NAME, "--exec=/bin/sh", "--", "-c", SERVICE)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert stored.app_output(process.stdout.readline()) == "up\n"
            yield process, file
        finally:
            process.kill()


def test_a_service_ends_by_sigterm_to_run(stored: Rktpy, service: tuple[subprocess.Popen[str], Path]) -> None:
    process, file = service
    os.kill(process.pid, signal.SIGTERM)
    assert stored.app_output(process.communicate(timeout=20)[0]) == "stopped\n"
    assert process.returncode == 0
    assert "state=exited\n" in stored("status", f"--uuid-file={file}").stdout
    assert stored("rm", "--uuid-file", str(file)).stdout == f'"{file.read_text()}"\n'
    assert stored("list", "--no-legend").stdout == ""


def test_a_service_ends_by_stop_with_its_uuid_file(stored: Rktpy, service: tuple[subprocess.Popen[str], Path]) -> None:
    process, file = service
    uuid = file.read_text()
    assert re.fullmatch(r"[0-9a-f-]{36}", uuid), "no newline: scripts write $(cat FILE) and compare files"
    assert "state=running\n" in stored("status", "--wait-ready=10s", f"--uuid-file={file}").stdout
    assert stored("stop", f"--uuid-file={file}").stdout == f'"{uuid}"\n'
    assert process.wait(20) == 0
    assert stored("stop", f"--uuid-file={file}").stdout == f'pod "{uuid}" is already stopped\n'


def test_a_stubborn_service_is_killed_by_stop_force(stored: Rktpy, service: tuple[subprocess.Popen[str], Path]) -> None:
    process, file = service
    stored("stop", "--force=true", file.read_text()[:8])
    assert process.wait(20) == (-signal.SIGKILL if stored.stage1 == "fly" else 1)


@pytest.mark.stage1()
def test_clean_up_before_the_first_start(rktpy: Rktpy, tmp_path: Path) -> None:
    """``ExecStartPre=-rkt rm --uuid-file=…`` when there is no file yet, and when the pod is long gone."""
    file = tmp_path / "uuid"
    problem = f"unable to resolve UUID from file: {file}: no such file or directory\n"
    assert rktpy("rm", f"--uuid-file={file}", status=254).stderr.startswith(f"rm: {problem}")
    assert rktpy("stop", f"--uuid-file={file}", status=1).stderr == f"stop: {problem}"
    assert rktpy("status", f"--uuid-file={file}", status=1).stderr == f"status: {problem}"
    file.write_text(f"{UNKNOWN}\n")
    gone = f'cannot get pod: no matches found for "{UNKNOWN}"\n'
    assert rktpy("rm", f"--uuid-file={file}", status=254).stderr == f"rm: {gone}rm: failed to remove one or more pods\n"
    assert rktpy("stop", f"--uuid-file={file}", status=254).stderr == f"stop: {gone}stop: failed to stop 1 pod(s)\n"


def test_a_restarted_service_overwrites_its_uuid_file(stored: Rktpy, tmp_path: Path) -> None:
    file = tmp_path / "uuid"
    file.write_text("f" * 60)
    stored("run", UNSIGNED, f"--uuid-file-save={file}", NAME)
    first = file.read_text()
    stored("run", UNSIGNED, f"--uuid-file-save={file}", NAME)
    assert len(first) == len(file.read_text()) == 36
    assert first != file.read_text()


def test_the_status_of_the_app_is_that_of_the_service(stored: Rktpy) -> None:
    for status in (0, 5, 254):
        stored("run", UNSIGNED, NAME, "--exec=/bin/sh", "--", "-c", f"exit {status}", status=status)


def test_gc_from_a_service_and_from_a_timer(stored: Rktpy) -> None:
    """``ExecStopPost=rkt gc --mark-only`` and a timer with ``rkt gc --grace-period=…``."""
    stored("run", UNSIGNED, NAME)
    uuid = stored("list", "--full", "--no-legend").stdout.split("\t")[0]
    prepared = stored("prepare", UNSIGNED, NAME).stdout.strip()
    # rkt takes boolean flags by "=" alone and passes over what stands beside them.
    done = stored("gc", "--mark-only", "true", "--expire-prepared=0")
    assert done.stderr == f'gc: ignoring argument "true"\ngc: moving pod "{uuid}" to garbage\n'
    assert "exited garbage" in stored("list").stdout
    assert stored("gc", "--grace-period=24h").stdout == ""
    assert stored("gc", "--grace-period=0s", "--expire-prepared=24h").stdout == f'Garbage collecting pod "{uuid}"\n'
    assert stored("list", "--full", "--no-legend").stdout.startswith(prepared)
    done = stored("gc", "--expire-prepared=0s")
    assert done.stderr == f'gc: moving expired prepared pod "{prepared}" to garbage\n'
    assert done.stdout == f'Garbage collecting pod "{prepared}"\n'


@pytest.mark.stage1()
@pytest.mark.parametrize("command", [("list",), ("image", "list"), ("version",), ("config",), ("gc",), ("image", "gc")])
def test_commands_without_arguments_pass_over_them(rktpy: Rktpy, command: tuple[str, ...]) -> None:
    expected = rktpy(*command).stdout
    done = rktpy(*command, "extra")
    assert (done.stdout, done.stderr) == (expected, f'{command[-1]}: ignoring argument "extra"\n')


@pytest.mark.stage1()
@pytest.mark.parametrize(
    "flag",
    [
        "--stage1-from-dir=stage1-fly.aci",
        "--stage1-path=/usr/lib/rkt/stage1-images/stage1-fly.aci",
        "--stage1-name=coreos.com/rkt/stage1-fly:1.30.0",
    ],
)
def test_a_boot_wrapper(stored: Rktpy, tmp_path: Path, flag: str) -> None:
    """A service of the host in a fly pod, as operating systems made for rkt start etcd and the kubelet."""
    notify = tmp_path / "notify"
    data = tmp_path / "state"
    data.mkdir()
    environment = tmp_path / "service.env"
    environment.write_text("# of the unit\nSERVICE_NAME=node one\n")
    (tmp_path / "release").write_text("ID=test\n")
    script = "id -u; id -g; cat /etc/os-release; echo $SERVICE_NAME $HOSTS_OWN $NOTIFY_SOCKET; ls -l /run/n; echo x >/state/made"
    os.chmod(data, 0o777)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(notify))
        done = stored(
            "run", UNSIGNED, "--trust-keys-from-https", "--net=host", "--dns=host", "--hosts-entry", "host", "--inherit-env",
            f"--uuid-file-save={tmp_path}/uuid",
            f"--volume=notify,kind=host,source={notify}", "--mount=volume=notify,target=/run/n",
            "--set-env=NOTIFY_SOCKET=/run/n", f"--set-env-file={environment}",
            "--volume", f"state,kind=host,source={data},readOnly=false,recursive=true", "--mount", "volume=state,target=/state",
            f"--volume=release,kind=host,source={tmp_path}/release,readOnly=true",
            "--mount=volume=release,target=/etc/os-release",
            flag, NAME, "--user=232", "--exec=/bin/sh", "--", "-c", script,
            env={**os.environ, "HOSTS_OWN": "kept"},
        )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[:4] == ["232", "0", "ID=test", "node one kept /run/n"]
    assert lines[4].startswith("s")
    assert (data / "made").stat().st_uid == 232


@pytest.mark.stage1()
def test_a_configured_stage1_file_of_rkts(stored: Rktpy) -> None:
    """Configuration that names rkt's fly image gives the fly that comes with rktpy, where that image is not installed."""
    directory = stored.config / "stage1.d"
    directory.mkdir(parents=True)
    document = directory / "fly.json"
    text = '{"rktKind": "stage1", "rktVersion": "v1", "name": "coreos.com/rkt/stage1-fly", "version": "1.30.0", "location": "%s"}'
    document.write_text(text % "/usr/lib/rkt/stage1-images/stage1-fly.aci")
    assert stored("run", UNSIGNED, NAME).stdout == "hello from busybox, an ACI\n"
    document.write_text(text % "/usr/lib/rkt/stage1-images/stage1-other.aci")
    assert "stage1-other.aci" in stored("run", UNSIGNED, NAME, status=254).stderr


def test_waiting_for_the_end_of_a_pod(stored: Rktpy, tmp_path: Path) -> None:
    file = tmp_path / "uuid"
    argv = stored.argv("run", UNSIGNED, f"--uuid-file-save={file}", NAME, "--exec=/bin/sleep", "--", "0.7")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        while not file.exists() or not file.read_text():
            time.sleep(0.02)
        done = stored("status", "--wait=10ms", f"--uuid-file={file}", status=254)
        assert done.stderr.startswith("status: error waiting for pod to finish")
        assert "state=exited\n" in stored("status", "--wait", f"--uuid-file={file}").stdout
        assert process.wait(10) == 0
    assert "state=exited\n" in stored("status", "--wait=true", "--wait-ready=false", f"--uuid-file={file}").stdout
