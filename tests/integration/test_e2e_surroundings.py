"""Callers and places of all kinds: odd directories, closed streams, umasks, bare environments, full pipes, other users."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from copy import copy
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.http_server import Answer, Server
from tests.support.pods import (
    BUSYBOX,
    UNSIGNED,
    Running,
    cgroups_of_pods,
    mounts_of,
    prepare,
    processes_with,
    shell,
    states,
    wait_for,
)

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

GREETING = "hello from busybox, an ACI\n"


# --- places


@pytest.mark.parametrize("name", [b'we:ird, di\\r "x" $y', "äöü".encode(), b"bytes\xff", b"-", b"new\nline", b"x" * 200])
def test_names_of_the_data_directory(rktpy: Rktpy, busybox_images: Path, tmp_path: Path, name: bytes) -> None:
    if rktpy.stage1 == "oci" and b"\xff" in name:
        pytest.skip("runc writes paths into JSON, which cannot hold this one")
    rktpy.data = tmp_path / os.fsdecode(name)
    aci = str(busybox_images / "busybox.aci")
    assert rktpy(UNSIGNED, "run", aci).stdout == GREETING
    assert rktpy(UNSIGNED, "run", "--volume=v,kind=empty", aci, "--mount=volume=v,target=/v").stdout == GREETING
    assert sorted(states(rktpy).values()) == ["exited", "exited"]
    rktpy("gc", "--grace-period=0s")
    assert rktpy("image", "check").stdout == ""
    assert states(rktpy) == {}


def test_data_directory_behind_a_link(stored: Rktpy, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(stored.data)
    linked = copy(stored)
    linked.data = tmp_path / "link"
    assert shell(linked, "echo ran").stdout == "ran\n"
    assert states(linked) == states(stored)
    linked("gc", "--grace-period=0s")
    assert states(stored) == {}


def test_data_directory_on_an_overlay(rktpy: Rktpy, busybox_images: Path, tmp_path: Path) -> None:
    """An overlay cannot be the upper layer of another one: the image is copied, and that is told."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(tmp_path / "merged")], check=True)
    try:
        rktpy.data = tmp_path / "merged/data"
        done = rktpy(UNSIGNED, "run", str(busybox_images / "busybox.aci"))
        assert done.stdout == GREETING
        assert "stage0: disabling overlay support" in done.stderr
        rktpy("gc", "--grace-period=0s")
        assert rktpy("image", "check").stdout == ""
    finally:
        subprocess.run(["umount", str(tmp_path / "merged")], check=True)


def test_working_directory_is_gone(stored: Rktpy, tmp_path: Path) -> None:
    """Only a path that is relative to it is of no use then."""
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'cd "$0" && rmdir "$0" && exec "$@"'
    argv = ["sh", "-c", command, str(gone), *stored.argv(UNSIGNED, "run", BUSYBOX)]
    assert stored.app_output(subprocess.check_output(argv, text=True, timeout=20)) == GREETING


# --- callers


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077, 0o777])
def test_umask(rktpy: Rktpy, busybox_images: Path, tmp_path: Path, umask: int) -> None:
    """What the caller's umask is shows neither in the image's files nor in who may change ours."""
    os.mkdir(tmp_path / "parent")
    rktpy.data = tmp_path / "parent/data"
    script = "id -u; cat /etc/group; stat -c '%a %n' / /etc /bin/busybox /tmp /deep /deep/v /etc/hosts"
    volume = ("--volume=v,kind=empty,mode=0751", "--mount=volume=v,target=/deep/v")
    arguments = (*volume, str(busybox_images / "busybox.aci"), "--user=7")
    done = rktpy(UNSIGNED, "run", "--hosts-entry=192.0.2.1=x", *arguments, "--exec=/bin/sh", "--", "-c", script, umask=umask)
    modes = ["755 /", "755 /etc", "755 /bin/busybox", "1777 /tmp", "755 /deep", "751 /deep/v", "644 /etc/hosts"]
    assert done.stdout.splitlines() == ["7", "root:x:0:", *modes]
    open_to_all = [
        str(path)
        for path in [rktpy.data, *rktpy.data.rglob("*")]
        if "/rootfs/" not in str(path) and not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o002
    ]
    assert open_to_all == []
    rktpy("gc", "--grace-period=0s")
    assert rktpy("image", "check", umask=umask).stdout == ""


def test_bare_environment(stored: Rktpy) -> None:
    assert stored(UNSIGNED, "run", BUSYBOX, env={}).stdout == GREETING
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert shell(stored, "echo $PATH $HOME", env={}).stdout == f"{path} /root\n"
    hostile = {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "LANG": "C", "RKT_LOCK_FD": "1"}
    assert shell(stored, "env", env=hostile).stdout.count("nowhere") == 0


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams(stored: Rktpy, tmp_path: Path, closed: str) -> None:
    """The pod's lock must not become the app's standard input."""
    volume = (f"--volume=out,kind=host,source={tmp_path}", BUSYBOX, "--mount=volume=out,target=/out")
    script = "for n in 0 1 2; do test -d /proc/self/fd/$n && echo $n is a directory >>/out/bad; done; echo ran >/out/ran"
    argv = stored.argv(UNSIGNED, "run", *volume, "--exec=/bin/sh", "--", "-c", script)
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *argv], check=False, timeout=20)
    assert done.returncode == 0
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert not (tmp_path / "bad").exists(), (tmp_path / "bad").read_text()
    assert list(states(stored).values()) == ["exited"]


@pytest.mark.stage1()
def test_output_that_nobody_takes(stored: Rktpy, busybox_images: Path) -> None:
    shell(stored, "true")
    for command in (("list",), ("image", "list", "--format=json"), ("fetch", str(busybox_images / "busybox.aci")), ("version",)):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                stored.argv(UNSIGNED, *command), stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False
            )
        assert done.returncode == 254, command
        assert "cannot write to standard output: no space left on device" in done.stderr.splitlines()[-1]
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            stored.argv(UNSIGNED, *command), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=20, check=False
        )
        os.close(writer)
        assert done.returncode in (254, 128 + signal.SIGPIPE), command
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr


@pytest.mark.stage1()
def test_other_users(stored: Rktpy, request: pytest.FixtureRequest) -> None:
    # pytest's own directories are closed to others, which would be all that they see.
    open_to_all = Path(tempfile.mkdtemp(prefix="rktpy-test-"))
    request.addfinalizer(lambda: shutil.rmtree(open_to_all))
    open_to_all.chmod(0o755)
    stored.launcher = Path(shutil.copy(stored.launcher, open_to_all / "rktpy"))
    stored.data = Path(shutil.copytree(stored.data, open_to_all / "data", symlinks=True))
    for command in (("list",), ("image", "list"), ("status", "abc"), ("run", BUSYBOX), ("gc",), ("rm", "abc"), ("image", "gc")):
        argv = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", *stored.argv(UNSIGNED, *command)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout) == (254, ""), (command, done)
        lines = [line for line in done.stderr.splitlines() if "verification has been disabled" not in line]
        assert len(lines) == 1, (command, done.stderr)
        assert "permission denied" in lines[0] or "unprivileged user" in lines[0], (command, done.stderr)


@pytest.mark.stage1()
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, {130, -signal.SIGINT}), (signal.SIGTERM, {143, -signal.SIGTERM})])
def test_interrupted_fetch(rktpy: Rktpy, number: signal.Signals, status: set[int]) -> None:
    with Server() as server:
        server.serve("/a.aci", Answer(200, bytes(1 << 20), {"ETag": '"1"'}, pace=(10_000, 0.1)))
        argv = rktpy.argv("--insecure-options=image,http", "fetch", f"{server.url}/a.aci")
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_for("the download", lambda: any(p.stat().st_size for p in (rktpy.data / "cas/tmp").glob("*.part")))
            began = time.monotonic()
            process.send_signal(number)
            _out, err = process.communicate(timeout=10)
        finally:
            process.kill()
            process.wait()
    assert process.returncode in status
    assert time.monotonic() - began < 3
    assert "Traceback" not in err and "internal error" not in err
    assert list((rktpy.data / "cas/tmp").glob("*.part")), "kept, to be continued"


@pytest.mark.stage1()
def test_interrupted_prepare_leaves_nothing_that_runs(rktpy: Rktpy, busybox_images: Path) -> None:
    preparing = rktpy.data / "pods/prepare"
    for delay in (0.0, 0.01, 0.03):
        argv = rktpy.argv(UNSIGNED, "prepare", "--no-overlay", str(busybox_images / "busybox.aci"))
        seen = set(preparing.glob("*"))
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("a pod", lambda: set(preparing.glob("*")) - seen or process.poll() is not None)  # noqa: B023
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=10)
        assert "Traceback" not in err
        assert set(states(rktpy).values()) <= {"aborted prepare", "prepared"}
    rktpy("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert states(rktpy) == {}


# --- apps that leave something behind


@pytest.mark.stage1("fly")
def test_child_that_outlives_the_app(stored: Rktpy, tmp_path: Path) -> None:
    """The pod runs for as long as anything of it does; stop reaches what is left."""
    uuid_file = tmp_path / "uuid"
    shell(stored, "sleep 100 >/dev/null 2>&1 & echo started", pod=(f"--uuid-file-save={uuid_file}",))
    uuid = uuid_file.read_text().strip()
    assert states(stored) == {uuid: "running"}
    stored("rm", uuid, status=254)
    stored("stop", uuid)
    assert "state=exited" in stored("status", "--wait=10s", uuid).stdout
    stored("rm", uuid)
    assert processes_with(str(stored.data)) == {}


@pytest.mark.stage1("fly")
def test_child_that_gives_the_lock_away(stored: Rktpy, tmp_path: Path) -> None:
    """A process that closes every descriptor is found by its control group."""
    uuid_file = tmp_path / "uuid"
    hide = 'for n in 3 4 5 6 7 8 9; do eval "exec $n>&-"; done; sleep 4321 >/dev/null 2>&1 & echo started'
    shell(stored, hide, "--memory=50M", pod=(f"--uuid-file-save={uuid_file}",))
    uuid = uuid_file.read_text().strip()
    assert states(stored) == {uuid: "exited"}
    assert cgroups_of_pods(uuid)
    stored("rm", uuid)
    assert cgroups_of_pods(uuid) == []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                assert b"4321" not in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue


@pytest.mark.stage1("systemd")
def test_child_that_systemd_ends(stored: Rktpy) -> None:
    """However it hides from the app: the pod ends with its apps, and takes everything along."""
    hide = (
        'for n in 3 4 5 6 7 8 9; do eval "exec $n>&-"; done; trap "" TERM HUP; setsid sleep 4321 >/dev/null 2>&1 & echo started'
    )
    assert shell(stored, hide, "--memory=50M").stdout == "started\n"
    (uuid,) = states(stored)
    assert states(stored) == {uuid: "exited"}
    assert cgroups_of_pods(uuid) == []
    assert processes_with("4321") == processes_with(str(stored.data)) == {}


# --- things that are in use


def test_image_gc_keeps_the_image_of_a_prepared_pod(stored: Rktpy) -> None:
    uuid = prepare(stored)
    image = json.loads(stored("image", "list", "--full", "--format=json").stdout)[0]["id"]
    stored("image", "gc", "--grace-period=0s")
    assert image in stored("image", "list", "--full").stdout
    assert stored("run-prepared", uuid).stdout == GREETING


def test_nothing_is_mounted_for_others(stored: Rktpy, tmp_path: Path) -> None:
    unconfined = ("--insecure-options=image,all-run",)
    with Running(stored, tmp_path, "mkdir /m; mount -t tmpfs only-inside /m; echo up; exec sleep 100", pod=unconfined) as pod:
        assert pod.line() == "up\n"
        assert "only-inside" in stored("enter", pod.uuid, "cat", "/proc/self/mountinfo").stdout
        assert "only-inside" not in Path("/proc/self/mountinfo").read_text()
        assert mounts_of(stored.data) == []
