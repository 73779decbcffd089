"""Isolators of an app in a systemd pod: in force in the app and in what enters it, or told and refused with --strict."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.pod_manifests import app, isolators, pod_of
from tests.support.pods import UNSIGNED, Running, control_files, report, shell, states

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

CAPABILITIES = "grep Cap /proc/self/status"
CAP_CHOWN, CAP_KILL, CAP_MKNOD, CAP_SYS_RESOURCE = 0, 5, 27, 24
DEFAULT_SET = 0xA80425FB
HAS = int(Path("/proc/self/status").read_text().partition("CapPrm:")[2].split()[0], 16)


def of_status(text: str) -> dict[str, int]:
    """Lines of /proc/PID/status with a number."""
    return {line.split(":")[0]: int(line.split()[1], 16) for line in text.splitlines()}


def group(uuid: str, *files: str) -> Path:
    """The first of some control files (of cgroup v1, v2) of an app of a running pod that is there."""
    found = [path for file in files for path in control_files(f"**/busybox.service/{file}", uuid)]
    assert found, f"{files} are nowhere"
    return found[0]


def test_memory(stored: Rktpy) -> None:
    """The app is killed, which ends the pod with the signal's number; the pod's own processes are not touched."""
    done = shell(stored, "x=12345678; while :; do x=$x$x; done", "--memory=16M", pod=("--strict",), status=9)
    assert done.stderr == ""
    (uuid,) = states(stored)
    assert "app-busybox=9" in stored("status", uuid).stdout.splitlines()
    assert report(stored, uuid) == {"resource/memory": "enforced"}


def test_processor_time(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "while :; do :; done", "--cpu=200m", "--cpu-shares=64") as pod:
        time.sleep(0.2)
        stat = group(pod.uuid, "cpu.cfs_quota_us", "cpu.max").with_name("cpu.stat")
        process = Path(f"/proc/{stat.with_name('cgroup.procs').read_text().split()[0]}/stat")

        def used() -> float:
            return sum(int(word) for word in process.read_text().rpartition(") ")[2].split()[11:13]) / os.sysconf("SC_CLK_TCK")

        begun, before = time.monotonic(), used()
        time.sleep(1)
        assert 0 < (used() - before) / (time.monotonic() - begun) < 0.3
        throttled = dict(line.split() for line in stat.read_text().splitlines())
        assert int(throttled["nr_throttled"]) > 2
        assert group(pod.uuid, "cpu.shares", "cpu.weight").read_text() in ("64\n", "3\n")
        # One that enters is in the same groups.
        inside = stored("enter", pod.uuid, "/bin/cat", "/proc/self/cgroup").stdout
        assert (
            inside
            == stored(
                "enter", pod.uuid, "/bin/sh", "-c", "cat /proc/$(pidof sh | tr ' ' '\\n' | sort -n | head -1)/cgroup"
            ).stdout
        )
        assert any(line in inside for line in ("cpu:/system.slice/busybox.service", "0::/system.slice/busybox.service"))
        assert set(report(stored, pod.uuid).values()) == {"enforced"}


def test_oom_score(stored: Rktpy) -> None:
    assert shell(stored, "cat /proc/self/oom_score_adj", "--oom-score-adj=321").stdout == "321\n"
    flags = ("--oom-score-adj=-900",)
    done = shell(stored, "cat /proc/self/oom_score_adj", *flags)
    if HAS >> CAP_SYS_RESOURCE & 1:
        assert (done.stdout, done.stderr) == ("-900\n", "")
        assert [report(stored, uuid) for uuid in states(stored)] == [{"os/linux/oom-score-adj": "enforced"}] * 2
        return
    line = "app busybox: os/linux/oom-score-adj is not enforced: this process lacks CAP_SYS_RESOURCE"
    assert (done.stdout, done.stderr) == (Path("/proc/self/oom_score_adj").read_text(), f"stage1: {line}\n")
    uuid = next(uuid for uuid in states(stored) if "ignored" in report(stored, uuid).values())
    assert any(
        text.startswith("not-enforced=") and "os/linux/oom-score-adj" in text
        for text in stored("status", uuid).stdout.splitlines()
    )
    done = shell(stored, "echo ran", *flags, pod=("--strict",), status=254)
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", f"run: refusing to run the pod: {line}")


@pytest.mark.parametrize(
    ("flags", "user", "bounding", "effective"),
    [
        ((), "0", DEFAULT_SET, DEFAULT_SET),
        ((), "7", DEFAULT_SET, 0),
        (("--caps-retain=CAP_KILL",), "0", 1 << CAP_KILL, 1 << CAP_KILL),
        (("--caps-remove=CAP_MKNOD,CAP_CHOWN",), "0", DEFAULT_SET & ~(1 << CAP_MKNOD | 1 << CAP_CHOWN), -1),
        (("--caps-retain=CAP_SYS_ADMIN,CAP_NET_ADMIN",), "7", 1 << 21 | 1 << 12, 0),
    ],
)
def test_capabilities(stored: Rktpy, tmp_path: Path, flags: tuple[str, ...], user: str, bounding: int, effective: int) -> None:
    effective = bounding if effective < 0 else effective
    wanted = {"CapInh": 0, "CapPrm": effective, "CapEff": effective, "CapBnd": bounding, "CapAmb": 0}
    script = f"{CAPABILITIES} | tr '\\n' ' '; echo; exec sleep 60"
    with Running(stored, tmp_path, script, *flags, f"--user={user}", pod=("--strict",)) as pod:
        words = pod.line().split()
        assert (
            dict(zip((word.rstrip(":") for word in words[::2]), (int(word, 16) for word in words[1::2]), strict=True)) == wanted
        )
        assert of_status(stored("enter", pod.uuid, "/bin/sh", "-c", CAPABILITIES).stdout) == wanted


def test_capabilities_that_the_machine_lacks(stored: Rktpy) -> None:
    if HAS >> CAP_SYS_RESOURCE & 1:
        done = shell(stored, CAPABILITIES, "--caps-retain=CAP_SYS_RESOURCE,CAP_KILL", pod=("--strict",))
        assert of_status(done.stdout)["CapBnd"] == 1 << CAP_SYS_RESOURCE | 1 << CAP_KILL
        assert done.stderr == ""
        return
    done = shell(stored, CAPABILITIES, "--caps-retain=CAP_SYS_RESOURCE,CAP_KILL")
    assert of_status(done.stdout)["CapBnd"] == 1 << CAP_KILL
    assert "os/linux/capabilities-retain-set is changed: this process lacks CAP_SYS_RESOURCE" in done.stderr
    shell(stored, "echo ran", "--caps-retain=CAP_SYS_RESOURCE,CAP_KILL", pod=("--strict",), status=254)


#: What a shell and grep need.
SHELL = (
    "access,arch_prctl,brk,close,dup2,execve,exit,exit_group,fcntl,fstat,getcwd,geteuid,getpid,getppid,getuid,ioctl,mmap,"
    "mprotect,munmap,newfstatat,open,openat,prctl,prlimit64,read,readlink,rseq,rt_sigaction,rt_sigprocmask,rt_sigreturn,"
    "set_robust_list,set_tid_address,getrandom,stat,write,fork,clone,vfork,wait4,setsid,setpgid,close_range,getgid,"
    "getegid,futex,sysinfo,uname,lseek"
)


def test_system_calls(stored: Rktpy, tmp_path: Path) -> None:
    """Removed or not retained: the errno that was named, else SIGSYS. What enters has the same filter."""
    script = "exec /bin/mkdir /d"
    shell(stored, script, "--seccomp=mode=remove,mkdir,mkdirat", status=31)
    shell(stored, script, f"--seccomp=mode=retain,{SHELL}", status=31)
    for flag in ("mode=remove,errno=EXDEV,mkdir,mkdirat", f"mode=retain,errno=EXDEV,{SHELL}"):
        with Running(
            stored, tmp_path, "mkdir /d 2>&1; grep Seccomp: /proc/self/status; exec cat /dev/ptmx", f"--seccomp={flag}"
        ) as pod:
            assert "link" in pod.line()
            assert pod.line().split() == ["Seccomp:", "2"]
            done = stored("enter", pod.uuid, "/bin/mkdir", "/d", status=1)
            assert "link" in done.stderr
        stored("status", "--wait=10s", pod.uuid)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="about the three architectures of x86_64")
def test_system_calls_of_other_architectures(stored: Rktpy, tmp_path: Path) -> None:
    """i386's pass the filter that the app has, under their own numbers (unistd_32.h: getpid 20, mkdir 39); x32's end it."""
    volume = tmp_path / "v"
    volume.mkdir()
    (tmp_path / "calls.c").write_text(
        "#include <errno.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
        'static char path[] __attribute__((section(".low"))) = "/made";\n'
        "int main(int count, char **argument) { int number = atoi(argument[1]); long result = number;"
        " if (count > 2) return syscall(0x40000000L + number), 0;"
        ' __asm__ volatile("int $0x80" : "+a"(result) : "b"((int)(long)path), "c"(0755) : "memory");'
        " return (int)result < 0 ? -(int)result : 0; }\n"
    )
    flags = ("-static", "-no-pie", "-o", volume / "calls", tmp_path / "calls.c")  # addresses of 32 bits
    subprocess.run([need_tool("cc"), *flags], check=True)
    pod = (f"--volume=v,kind=host,source={volume}", "--strict")
    for arguments, app_flags, status in (
        ("20", (), 0),
        ("39", (), 0),
        ("39", ("--seccomp=mode=remove,errno=EXDEV,mkdir",), 18),
        ("39 x32", (), 31),
    ):
        shell(stored, f"exec /v/calls {arguments}", "--mount=volume=v,target=/v", *app_flags, pod=pod, status=status)


def test_switched_off_by_the_user(stored: Rktpy, tmp_path: Path) -> None:
    """Told by status, and no more in an app that is entered than in the app."""
    flags = ("--caps-retain=CAP_KILL", "--seccomp=mode=remove,errno=EPERM,mkdir,mkdirat")
    script = "mkdir /d && echo made; grep -E '^(CapBnd|Seccomp):' /proc/self/status; exec sleep 60"
    pod_flags = ("--insecure-options=image,capabilities,seccomp",)
    with Running(stored, tmp_path, script, *flags, pod=pod_flags) as pod:
        assert [pod.line() for _ in range(2)] == ["made\n", f"CapBnd:\t{HAS:016x}\n"]
        assert pod.line().split() == ["Seccomp:", "0"]
        assert set(report(stored, pod.uuid).values()) == {"ignored"}
        told = [line for line in stored("status", pod.uuid).stdout.splitlines() if line.startswith("not-enforced=")]
        assert len(told) == 2
        inside = stored("enter", pod.uuid, "/bin/sh", "-c", "grep -E '^(CapBnd|Seccomp):' /proc/self/status").stdout
        assert of_status(inside) == {"CapBnd": HAS, "Seccomp": 0}


def test_no_new_privileges_and_set_user_id_programs(stored: Rktpy, tmp_path: Path) -> None:
    """An app of another user has a filter, and so gains nothing; without filter it is the isolator that counts."""
    volume = tmp_path / "v"
    volume.mkdir()
    (tmp_path / "probe.c").write_text("#include <unistd.h>\nint main(void) { return geteuid() != 0; }\n")
    subprocess.run([need_tool("cc"), "-static", "-o", volume / "probe", tmp_path / "probe.c"], check=True)
    (volume / "probe").chmod(0o4755)
    volumes = [{"name": "v", "kind": "host", "source": str(volume)}]
    mounts = [{"volume": "v", "path": "/v"}]
    script = "/v/probe && echo root || echo none; grep NoNewPrivs /proc/self/status"
    for value, options, wanted in (
        (None, "image", 1),
        (None, "image,seccomp", 0),
        (True, "image,seccomp", 1),
        (False, "image,seccomp", 0),
        (False, "image", 1),
    ):
        asked = [] if value is None else isolators(os__linux__no_new_privileges=value)
        manifest = pod_of(tmp_path, app(script, user="7", group="7", isolators=asked, mounts=mounts), volumes=volumes)
        out = stored(f"--insecure-options={options}", "run", manifest).stdout
        assert out == f"{'none' if wanted else 'root'}\nNoNewPrivs:\t{wanted}\n", (value, options)


OTHERS = {
    "resource/network-bandwidth": {"default": True, "limit": "1M"},
    "os/linux/selinux-context": {"user": "u", "role": "r", "type": "t", "level": "l"},
    "example.com/own": {"some": "thing"},
}


def test_what_is_not_enforced_is_said(stored: Rktpy, tmp_path: Path) -> None:
    asked = [{"name": name, "value": value} for name, value in OTHERS.items()]
    manifest = pod_of(tmp_path, app("echo ran", isolators=asked))
    done = stored(UNSIGNED, "run", manifest)
    assert done.stdout == "ran\n"
    (uuid,) = states(stored)
    assert report(stored, uuid) == dict.fromkeys(OTHERS, "ignored")
    assert len(done.stderr.splitlines()) == len(OTHERS)
    told = [line for line in stored("status", uuid).stdout.splitlines() if line.startswith("not-enforced=")]
    assert len(told) == len(OTHERS)
    refused = stored(UNSIGNED, "run", "--strict", manifest, status=254)
    assert refused.stdout == "" and "refusing to run the pod" in refused.stderr.splitlines()[-1]
    assert set(states(stored).values()) == {"exited"}


def test_an_apparmor_profile_that_is_not_loaded(stored: Rktpy, tmp_path: Path) -> None:
    asked = isolators(os__linux__apparmor_profile={"profile": "not-there"})
    done = stored(UNSIGNED, "run", pod_of(tmp_path, app("echo ran", isolators=asked)), status=254)
    assert (done.stdout, done.stderr) == ("", 'run: app busybox: AppArmor profile "not-there" is not loaded\n')
