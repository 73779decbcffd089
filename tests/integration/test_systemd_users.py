"""Systemd pods with users of their own (``--private-users``): none of them is one of the host's, and all else is as ever."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.leftovers import left_after_a_while
from tests.support.pod_manifests import app, isolators, pod_of
from tests.support.pods import BUSYBOX, UNSIGNED, Running, prepare, report, shell, states, wait_for
from tests.support.userns_image import make_image

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

USERS = "--private-users"
ROOTS = pytest.mark.parametrize("root", [(), ("--no-overlay",)], ids=["overlay", "copy"])
UID_MAP = "cat /proc/self/uid_map /proc/self/gid_map"


def first_user(rktpy: Rktpy, uuid: str) -> int:
    """The host's ID of the pod's root."""
    (path,) = rktpy.data.glob(f"pods/*/{uuid}/private-users-prepared")
    return int(path.read_text().split(":")[0])


def process_of(pod: Running, word: bytes) -> Path:
    """The /proc directory of the pod's process with ``word`` in its command line, once it is there."""
    (systemd,) = Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children").read_text().split()
    found: list[str] = []

    def is_there() -> bool:
        children = Path(f"/proc/{systemd}/task/{systemd}/children").read_text().split()
        found[:] = [child for child in children if word in Path(f"/proc/{child}/cmdline").read_bytes()]
        return bool(found)

    wait_for(word.decode(), is_there)
    return Path(f"/proc/{found[0]}")


@ROOTS
def test_ids_in_the_pod_and_on_the_host(stored: Rktpy, tmp_path: Path, root: tuple[str, ...]) -> None:
    look = "stat -c '%u %g' / /bin/busybox /etc/hostname /dev/null"
    script = f"{UID_MAP}; id -u; {look}; touch /mine; chown 12:34 /mine; echo up; exec sleep 60"
    with Running(stored, tmp_path, script, pod=(USERS, *root)) as pod:
        base = first_user(stored, pod.uuid)
        assert base > 65535 and base % 65536 == 0
        for _ in range(2):
            assert pod.line().split() == ["0", str(base), "65536"]
        lines = [pod.line().strip() for _ in range(5)]
        # A device node is bound from the host, whose root the pod does not know.
        assert lines == ["0", "0 0", "0 0", "0 0", "65534 65534"]
        assert pod.line() == "up\n"
        process = process_of(pod, b"sleep")
        assert {int(word) for word in process.joinpath("status").read_text().partition("Uid:")[2].split("\n")[0].split()} == {
            base
        }
        made = os.stat(f"{process}/root/mine")
        assert (made.st_uid, made.st_gid) == (base + 12, base + 34)
        # PID 1 and the journal are not the host's root either.
        for word in (b"systemd-journald",):
            assert process_of(pod, word).stat().st_uid == base
        # One that enters is one of the pod.
        assert stored("enter", pod.uuid, "/bin/sh", "-c", UID_MAP).stdout.split()[:3] == ["0", str(base), "65536"]
        inside = stored("enter", pod.uuid, "/bin/sh", "-c", "touch /entered; stat -c '%u %g' /entered").stdout
        assert inside == "0 0\n" and os.stat(f"{process}/root/entered").st_uid == base


def test_other_users_and_app_exec(stored: Rktpy, tmp_path: Path) -> None:
    script = "id -u; id -g; touch /tmp/f && stat -c '%u %g' /tmp/f; exec sleep 60"
    flags = ("--user=7", "--group=8", "--supplementary-gids=9")
    with Running(stored, tmp_path, script, *flags, pod=(USERS,)) as pod:
        assert [pod.line() for _ in range(3)] == ["7\n", "8\n", "7 8\n"]
        base = first_user(stored, pod.uuid)
        assert process_of(pod, b"sleep").stat().st_uid == base + 7
        look = "echo $(id -u) $(id -G); kill -0 1 2>/dev/null || echo no"
        for command in (("enter",), ("app", "exec", "--app=busybox")):
            done = stored(*command, pod.uuid, "/bin/sh", "-c", look, env={**os.environ, "RKT_EXPERIMENT_APP": "1"})
            assert done.stdout == "7 8 9\nno\n"


def test_volumes(stored: Rktpy, tmp_path: Path) -> None:
    """A host's file belongs to nobody in the pod, unless it is the pod's user's; with an empty volume all is as ever."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    (source / "file").chmod(0o600)
    script = (
        "cd /host; stat -c '%u %g' file . own; cat file 2>/dev/null || echo refused;"
        " touch new 2>/dev/null || echo refused; echo y >own; stat -c '%u %g %a' /empty; touch /empty/f && echo ok"
    )
    volumes = (
        *(f"--volume=host,kind=host,source={source}", "--mount=volume=host,target=/host"),
        *("--volume=empty,kind=empty,uid=12,gid=13,mode=0750", "--mount=volume=empty,target=/empty"),
    )
    uuid = prepare(stored, USERS, *volumes, BUSYBOX, "--exec=/bin/sh", "--", "-c", script)
    base = first_user(stored, uuid)
    (source / "own").touch()
    os.chown(source / "own", base + 5, base + 6)
    done = stored("run-prepared", uuid)
    nobody = "65534 65534"
    assert done.stdout.splitlines() == [nobody, nobody, "5 6", "refused", "refused", "12 13 750", "ok"], done.stderr
    assert (source / "own").read_text() == "y\n" and not (source / "new").exists()


def test_volumes_with_mounts_below(stored: Rktpy, tmp_path: Path) -> None:
    """They come along, or are left out."""
    below = tmp_path / "source/below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
    try:
        (below / "file").write_text("inner\n")
        volume = (f"--volume=v,kind=host,source={below.parent}", "--mount=volume=v,target=/v")
        assert shell(stored, "cat /v/below/file", pod=(USERS, *volume)).stdout == "inner\n"
        (tmp_path / "behind").mkdir()
        subprocess.run(["mount", "--bind", below.parent, tmp_path / "behind"], check=True)
        try:
            (tmp_path / "behind/below/file").write_text("outer\n")
        finally:
            subprocess.run(["umount", tmp_path / "behind"], check=True)
        alone = (f"{volume[0]},recursive=false", volume[1])
        assert shell(stored, "cat /v/below/file", pod=(USERS, *alone)).stdout == "outer\n"
    finally:
        subprocess.run(["umount", below], check=True)


def test_no_two_pods_share_users(stored: Rktpy, tmp_path: Path) -> None:
    ranges = set()
    pods = [Running(stored, tmp_path, "exec sleep 60", pod=(USERS,)) for _ in range(3)]
    try:
        for pod in pods:
            ranges.add(first_user(stored, pod.__enter__().uuid))
        uuids = [prepare(stored, USERS, BUSYBOX) for _ in range(3)]
        ranges.update(first_user(stored, uuid) for uuid in uuids)
        assert len(ranges) == 6
        stored("run-prepared", uuids[0])
    finally:
        for pod in pods:
            pod.__exit__(None, None, None)


@ROOTS
def test_export_has_the_owners_of_the_pod(stored: Rktpy, tmp_path: Path, root: tuple[str, ...]) -> None:
    shell(stored, "touch /root/f; chown 12:34 /root/f; mkdir /root/d; chmod 2750 /root/d", pod=(USERS, *root))
    (uuid,) = states(stored)
    stored("export", uuid, str(tmp_path / "out.aci"))
    with tarfile.open(tmp_path / "out.aci") as archive:
        owners = {member.name.removeprefix("./"): (member.uid, member.gid, member.mode) for member in archive}
    assert owners["rootfs/root/f"] == (12, 34, 0o644)
    assert owners["rootfs/root/d"] == (0, 0, 0o2750)
    assert {owner[:2] for owner in owners.values()} == {(0, 0), (12, 34)}


@ROOTS
def test_set_user_id_programs_and_file_capabilities(stored: Rktpy, tmp_path: Path, root: tuple[str, ...]) -> None:
    """They work as in any pod, for the pod's users; a filter of system calls makes them void, as ever."""
    image = str(make_image(tmp_path))
    for program, alone in (("/plain", 1), ("/setuid", 0), ("/capable", 0)):
        command = ("run", USERS, *root, image, f"--exec={program}", "--user=1000")
        stored("--insecure-options=image,seccomp", *command, status=alone)
        stored(UNSIGNED, *command, status=1)
    command = ("run", USERS, *root, image, "--exec=/plain", "--user=0")
    stored(UNSIGNED, *command)
    stored(UNSIGNED, *command, "--caps-remove=CAP_NET_RAW", status=1)


def test_what_the_pods_root_may_not(stored: Rktpy, tmp_path: Path) -> None:
    """With all capabilities and no filter it still has none on the host: no devices, parameters, other users' files."""
    volume = tmp_path / "v"
    volume.mkdir()
    (volume / "secret").write_text("secret")
    (volume / "secret").chmod(0o600)
    script = (
        'say() { "$@" >/dev/null 2>&1 && echo $*; }; say mknod /n b 7 0; say dmesg -n 1;'
        " say cat /v/secret; say sh -c 'exec 9>>/proc/sys/vm/swappiness';"
        " say sh -c 'exec 9>>/sys/kernel/uevent_helper'; say chroot /proc/1/root ls /boot; say chroot /proc/1/root touch /usr/x;"
        " say mount -o remount,rw /usr; say chown 0 /v/secret; hostname changed; hostname; exit 3"
    )
    flags = (USERS, f"--volume=v,kind=host,source={volume}", "--mount=volume=v,target=/v")
    everything = "--insecure-options=image,capabilities,seccomp,paths"
    done = stored(everything, "run", *flags, BUSYBOX, "--exec=/bin/sh", "--", "-c", script, status=3)
    assert done.stdout.splitlines() == ["changed"], done.stdout
    assert os.uname().nodename != "changed"


def test_limits_and_network(stored: Rktpy, tmp_path: Path) -> None:
    shell(stored, "x=12345678; while :; do x=$x$x; done", "--memory=32M", pod=(USERS, "--strict"), status=9)
    values = isolators(os__unix__sysctl={"net.ipv4.ip_default_ttl": "77"})
    manifest = pod_of(tmp_path, app("cat /proc/sys/net/ipv4/ip_default_ttl; ifconfig lo | grep -c 127.0.0.1"), isolators=values)
    assert stored(UNSIGNED, "run", USERS, manifest).stdout == "77\n1\n"
    for uuid in states(stored):
        assert set(report(stored, uuid).values()) == {"enforced"}
    shell(stored, "id -u", pod=(USERS, "--net=host"))


def test_signals_and_the_end(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done", pod=(USERS,)) as pod:
        assert pod.line() == "up\n"
        stored("stop", pod.uuid)
        assert pod.ended() == (0, "told\n", "")
    stored("gc", "--grace-period=0s")
    assert left_after_a_while(stored.data, [pod.uuid]) == []


def test_files_of_the_pod_on_the_host(stored: Rktpy, tmp_path: Path) -> None:
    """Nobody but the host's root reaches the pod's files from outside: a user of the host may have a pod's number."""
    with Running(
        stored, tmp_path, "echo s >/secret; chmod 777 /secret; chmod u+s /bin/busybox; exec sleep 60", pod=(USERS,)
    ) as pod:
        (directory,) = stored.data.glob(f"pods/run/{pod.uuid}")
        base = first_user(stored, pod.uuid)
        for uid in (1000, base):
            probe = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "ls", str(directory / "stage1")]
            assert subprocess.run([need_tool("setpriv"), *probe[1:]], capture_output=True, check=False).returncode != 0
        assert stat.S_IMODE(directory.parent.stat().st_mode) & 0o7 == 0 or stat.S_IMODE(directory.stat().st_mode) & 0o6 == 0
        manifest = json.loads(stored("cat-manifest", pod.uuid).stdout)
        assert manifest["apps"][0]["name"] == "busybox"
