"""The virtual machine around a kvm pod: what it may do on the host, and what a snapshot must not give to two pods."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.pod_manifests import app, isolators, pod_of
from tests.support.pods import BUSYBOX, UNSIGNED, Running, report, shell, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("kvm")]

STAYS = "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"


def qemu_of(pid: int) -> int:
    """The QEMU process below the one that attends to a pod."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().startswith("qemu"):
            return int(child)
    raise AssertionError(f"process {pid} has no machine")


def test_qemu_gets_little_of_the_host(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, STAYS) as pod:
        assert pod.line() == "up\n"
        qemu = qemu_of(pod.process.pid)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{qemu}/status").read_text().splitlines())
        users = {int(number) for name in ("Uid", "Gid") for number in status[name].split()}
        assert len(users) == 1 and users.pop() >= 65534 and not status["Groups"].strip()
        assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for name in ("mnt", "net", "ipc", "uts", "pid"):
            assert os.readlink(f"/proc/{qemu}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
        assert sorted(os.listdir(f"/proc/{qemu}/root/dev")) == ["null", "urandom", "zero"]
        assert not os.path.exists(f"/proc/{qemu}/root/proc/self") and not os.path.exists(f"/proc/{qemu}/root/root")
        groups = Path(f"/proc/{qemu}/cgroup").read_text()
        assert f"rktpy-{pod.uuid}" in groups
        opened = [os.readlink(f"/proc/{qemu}/fd/{fd}") for fd in os.listdir(f"/proc/{qemu}/fd")]
        assert not [path for path in opened if "snapshots" in path or path.endswith(f"/{pod.uuid}")]


def test_pods_from_one_snapshot_share_no_secret(stored: Rktpy, tmp_path: Path) -> None:
    script = (
        "cat /proc/sys/kernel/random/boot_id; busybox head -c 32 /dev/urandom | busybox sha1sum;"
        " cat /proc/sys/kernel/random/uuid; cat /etc/hostname; date +%s"
    )
    before = time.time()
    first, second = (shell(stored, script).stdout.splitlines() for _ in range(2))
    kept = list((stored.data / "stage1-kvm/snapshots").iterdir())
    assert kept and all(path.stat().st_mode & 0o77 == 0 for path in kept)
    assert len(first) == len(second) == 5 and not set(first[:4]) & set(second[:4])
    for lines in (first, second):
        assert before - 2 <= int(lines[4]) <= time.time() + 2


@pytest.mark.parametrize("way", ["environment", "settings"])
def test_without_a_snapshot(stored: Rktpy, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    for path in (stored.data / "stage1-kvm/snapshots").iterdir():
        path.rename(stored.data / f"gone-{path.name}")
    if way == "environment":
        monkeypatch.setenv("RKTPY_KVM_SNAPSHOT", "no")
    else:
        (stored.config / "kvm.d").mkdir()
        (stored.config / "kvm.d/a.json").write_text(json.dumps({"rktKind": "kvm", "rktVersion": "v1", "snapshot": False}))
    assert shell(stored, "echo cold; exit 3", status=3).stdout == "cold\n"
    assert list((stored.data / "stage1-kvm/snapshots").iterdir()) == []


def test_a_kernel_that_is_not_there(stored: Rktpy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKTPY_KVM_KERNEL", "/nowhere/vmlinuz")
    assert "run: cannot read the kernel /nowhere/vmlinuz: " in shell(stored, "true", status=254).stderr
    monkeypatch.setenv("RKTPY_KVM_KERNEL", "/bin/busybox")
    assert "/bin/busybox is no kernel for x86" in shell(stored, "true", status=254).stderr
    assert shell(stored, "true", status=254).stdout == ""


def test_killed_machines(stored: Rktpy, tmp_path: Path) -> None:
    """QEMU with SIGKILL: the pod has ended, what it wrote is not lost, nothing is left."""
    with Running(stored, tmp_path, "echo kept >/file; sync; echo up; sleep 60") as pod:
        assert pod.line() == "up\n"
        os.kill(qemu_of(pod.process.pid), 9)
        status, _out, _err = pod.ended()
        assert status == 1
    assert states(stored) == {pod.uuid: "exited"}
    target = tmp_path / "out.aci"
    stored("export", pod.uuid, str(target))
    import tarfile

    with tarfile.open(target, "r:gz") as archive:
        file = archive.extractfile("rootfs/file")
        assert file is not None and file.read() == b"kept\n"
    stored("rm", pod.uuid)


def test_the_attendant_is_killed(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, STAYS) as pod:
        qemu = qemu_of(pod.process.pid)
        pod.process.kill()
        wait_for("the machine ends", lambda: not os.path.exists(f"/proc/{qemu}/root/dev"))
        pod.process.communicate(timeout=10)
    wait_for("the pod has ended", lambda: states(stored) == {pod.uuid: "exited"})
    stored("gc", "--grace-period=0s")
    left = [path for path, _dirs, _files in os.walk("/sys/fs/cgroup") if pod.uuid in path]
    assert left == [] and states(stored) == {}


def test_what_a_virtual_machine_cannot_have(stored: Rktpy, tmp_path: Path) -> None:
    for flags, problem in (
        (("--net=host",), "a virtual machine has a kernel of its own and cannot use the host's network"),
        (("--ipc=parent",), "a virtual machine cannot share the host's IPC namespace"),
        (("--private-users", "--no-overlay"), "the users of a virtual machine are those of its own kernel"),
        (("--volume=v,kind=host,source=/dev/null", "--mount=volume=v,target=/v"), "is neither a directory nor a file"),
    ):
        assert problem in shell(stored, "true", pod=flags, status=254).stderr, flags
    assert set(states(stored).values()) <= {"exited"}


def test_volumes(stored: Rktpy, tmp_path: Path) -> None:
    """Owners are right on both sides, read-only is the host's word, empty volumes are shared by apps."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("host\n")
    os.chown(source / "file", 1234, 5678)
    mounts = [{"volume": name, "path": path} for name, path in (("rw", "/rw"), ("ro", "/ro"), ("e", "/e"))]
    writes = app(
        "busybox stat -c %u:%g /rw/file; echo made >/rw/new; busybox chown 77:88 /rw/new; echo x >/ro/no || echo refused;"
        " busybox mount -o remount,rw /ro 2>/dev/null; busybox stat -c %u:%g:%a /e; echo shared >/e/f",
        "writes",
        mounts=mounts,
    )
    reads = app("until busybox grep -q shared /e/f; do sleep 0.1; done; cat /e/f", "reads", mounts=mounts[2:])
    volumes = [
        {"name": "rw", "kind": "host", "source": str(source)},
        {"name": "ro", "kind": "host", "source": str(source), "readOnly": True},
        {"name": "e", "kind": "empty", "mode": "0731", "uid": 5, "gid": 6},
    ]
    out = stored(UNSIGNED, "run", pod_of(tmp_path, writes, reads, volumes=volumes)).stdout
    assert [line for line in out.splitlines() if ": " not in line] == ["1234:5678", "refused", "5:6:731", "shared"]
    status = (source / "new").stat()
    assert (status.st_uid, status.st_gid, (source / "new").read_text()) == (77, 88, "made\n")
    assert sorted(path.name for path in source.iterdir()) == ["file", "new"]


def test_isolators_are_put_into_force_in_the_guest(stored: Rktpy, tmp_path: Path) -> None:
    script = (
        "cat /proc/self/cgroup; cat /proc/self/oom_score_adj; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status;"
        " mkdir /tmp/x 2>/dev/null || echo no mkdir; busybox mknod /tmp/disk b 254 0 && cat /tmp/disk 2>&1 >/dev/null;"
        " echo >/proc/sys/kernel/printk || echo read-only; id -u; pwd; busybox nproc"
    )
    section = {
        "workingDirectory": "/tmp",
        "isolators": isolators(
            resource__memory={"limit": "64Mi"},
            resource__cpu={"limit": "1500m"},
            resource__block_bandwidth={"limit": "10M", "default": True},
            os__linux__cpu_shares=100,
            os__linux__oom_score_adj=123,
            os__linux__no_new_privileges=True,
            os__linux__capabilities_retain_set={"set": ["CAP_MKNOD"]},
            os__linux__seccomp_remove_set={"set": ["mkdir", "mkdirat"], "errno": "EPERM"},
            unheard__of="x",
        ),
    }
    lines = stored(UNSIGNED, "run", pod_of(tmp_path, app(script, "one", **section))).stdout.splitlines()
    assert lines[0].endswith("/apps/app-one") and lines[1] == "123"
    assert [line.split() for line in lines[2:5]] == [["CapBnd:", f"{1 << 27:016x}"], ["NoNewPrivs:", "1"], ["Seccomp:", "2"]]
    assert "no mkdir" in lines and "read-only" in lines and lines[-3:] == ["0", "/tmp", "2"]
    assert any("Operation not permitted" in line for line in lines), lines
    (uuid,) = states(stored)
    outcomes = report(stored, uuid)
    assert outcomes.pop("unheard/of") == "ignored"
    assert len(outcomes) == 8 and set(outcomes.values()) == {"enforced"}


def test_an_app_that_takes_too_much_memory(stored: Rktpy) -> None:
    """Its own limit ends it, in a machine that has more."""
    script = "x=0123456789abcdef; while :; do x=$x$x; done"
    done = stored(UNSIGNED, "run", BUSYBOX, "--memory=32M", "--exec=/bin/sh", "--", "-c", script, status=9)
    assert done.stdout == ""


def test_strict_refuses_what_is_not_enforced(stored: Rktpy, tmp_path: Path) -> None:
    manifest = pod_of(tmp_path, app("echo ran", "one", isolators=isolators(unheard__of="x")))
    done = stored(UNSIGNED, "run", "--strict", manifest, status=254)
    assert "refusing to run the pod" in done.stderr and done.stdout == ""


def test_an_app_is_its_guests_problem(stored: Rktpy) -> None:
    """It floods every way that leads out; the lines that are its own arrive, and the pod ends as it says."""
    script = (
        "for i in 1 2 3 4; do (while :; do echo flood; done) & done; while :; do busybox logger flood; done &"
        " sleep 1; kill $(jobs -p); exit 5"
    )
    begun = time.monotonic()
    done = shell(stored, script, status=5, timeout=60)
    assert set(done.stdout.split()) == {"flood"} and time.monotonic() - begun < 50
