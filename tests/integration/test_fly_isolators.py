"""Isolators under stage1-fly on the real kernel: enforced, or reported and refused with --strict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rktpy.cgroup.delegation import systemd_runs
from rktpy.cgroup.hierarchy import discover, find
from rktpy.linux.syscalls import capget
from tests.support.fly_pods import UUID, entry_point, make_pod, run, shell, start

pytestmark = pytest.mark.root

DEFAULT_SET = 0xA80425FB  # the 14 default capabilities


def isolated_app(script: str, isolators: dict[str, object], **more: object) -> dict[str, Any]:
    return {**shell(script), "isolators": [{"name": name, "value": value} for name, value in isolators.items()], **more}


def report(pod: Path) -> dict[str, tuple[str, str]]:
    entries = json.loads((pod / "enforcement").read_text())["isolators"]
    return {entry["isolator"]: (entry["outcome"], entry.get("reason", "")) for entry in entries}


def status_values(out: str) -> dict[str, int]:
    return {name: int(value, 16) for name, value in (line.split(":") for line in out.splitlines())}


CAPS = "while read n v; do case $n in Cap*|NoNewPrivs*|Seccomp:) echo $n $v;; esac; done < /proc/self/status"


def test_no_isolator_leaves_the_callers_privileges(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", shell(CAPS))
    values = status_values(run(pod)[1])
    assert values["CapEff"] == capget()[0]
    assert values["NoNewPrivs"] == values["Seccomp"] == 0
    assert report(pod) == {}


def test_capabilities_retain(tmp_path: Path) -> None:
    retain = {"os/linux/capabilities-retain-set": {"set": ["CAP_CHOWN", "CAP_NET_ADMIN"]}}
    pod = make_pod(tmp_path / "p", isolated_app(CAPS, retain))
    values = status_values(run(pod)[1])
    assert {values[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {1 << 0 | 1 << 12}
    assert values["CapInh"] == values["CapAmb"] == 0
    assert report(pod) == {"os/linux/capabilities-retain-set": ("enforced", "")}


def test_capabilities_remove_and_another_user(tmp_path: Path) -> None:
    remove = {"os/linux/capabilities-remove-set": {"set": ["CAP_MKNOD", "CAP_KILL"]}}
    values = status_values(run(make_pod(tmp_path / "p", isolated_app(CAPS, remove)))[1])
    assert values["CapEff"] == values["CapBnd"] == DEFAULT_SET & ~(1 << 27 | 1 << 5)
    values = status_values(run(make_pod(tmp_path / "q", isolated_app(CAPS, remove, user="web", group="www")))[1])
    assert (values["CapEff"], values["CapBnd"]) == (0, DEFAULT_SET & ~(1 << 27 | 1 << 5))


def test_capability_nobody_knows_is_reported(tmp_path: Path) -> None:
    retain = {"os/linux/capabilities-retain-set": {"set": ["CAP_CHOWN", "CAP_FLY"]}}
    pod = make_pod(tmp_path / "p", isolated_app(CAPS, retain))
    status, out, err = run(pod)
    assert (status, status_values(out)["CapBnd"]) == (0, 1)
    assert err == "stage1: app app: os/linux/capabilities-retain-set is changed: unknown capabilities CAP_FLY\n"


def test_switched_off_by_the_user(tmp_path: Path) -> None:
    isolators = {
        "os/linux/capabilities-retain-set": {"set": ["CAP_CHOWN"]},
        "os/linux/seccomp-remove-set": {"set": ["mkdir", "mkdirat"], "errno": "EPERM"},
    }
    pod = make_pod(tmp_path / "p", isolated_app(f"{CAPS}; mkdir /made && echo made; sleep 60", isolators))
    process = start(pod, "--disable-capabilities-restriction", "--disable-seccomp", "--disable-paths", "--strict")
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] != "made\n":
            lines.append(process.stdout.readline())
            assert lines[-1], "ended"
        values = status_values("".join(lines[:-1]))
        assert values["CapEff"] == capget()[0] and values["Seccomp"] == 0
        assert {outcome for outcome, _reason in report(pod).values()} == {"ignored"}
        inside = entry_point(pod, "enter", f"--pid={process.pid}", "--", "/bin/sh", "-c", CAPS)[1]
        assert status_values(inside) == values, "entering gives what the app has"
    finally:
        process.kill()
        process.communicate()


def test_no_new_privileges(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", isolated_app(CAPS, {"os/linux/no-new-privileges": True}))
    assert status_values(run(pod)[1])["NoNewPrivs"] == 1
    assert report(pod) == {"os/linux/no-new-privileges": ("enforced", "")}


def test_seccomp_errno_and_kill(tmp_path: Path) -> None:
    removed = ["mkdir", "mkdirat"]
    pod = make_pod(
        tmp_path / "p", isolated_app("mkdir /x; echo $?", {"os/linux/seccomp-remove-set": {"set": removed, "errno": "EXDEV"}})
    )
    status, out, err = run(pod)
    assert (status, out) == (0, "1\n")
    assert "Invalid cross-device link" in err or "Cross-device link" in err
    pod = make_pod(
        tmp_path / "q", {**isolated_app("", {"os/linux/seccomp-remove-set": {"set": removed}}), "exec": ["mkdir", "/x"]}
    )
    assert run(pod)[0] == -signal.SIGSYS
    assert report(pod) == {"os/linux/seccomp-remove-set": ("enforced", "")}


@pytest.mark.parametrize("name", ["@rkt/default-whitelist", "@docker/default-whitelist"])
def test_seccomp_default_whitelist_runs_programs(tmp_path: Path, name: str) -> None:
    retain = {"os/linux/seccomp-retain-set": {"set": [name], "errno": "EPERM"}}
    script = "ls / >/dev/null && echo x | cat && touch /tmp/f && mkdir /tmp/d && mount -t tmpfs t /tmp/d || echo refused"
    status, out, err = run(make_pod(tmp_path / "p", isolated_app(script, retain)))
    assert (status, out) == (0, "x\nrefused\n")
    assert "Operation not permitted" in err or "permission denied" in err


def test_seccomp_of_another_user_forces_no_new_privileges(tmp_path: Path) -> None:
    retain = {"os/linux/seccomp-retain-set": {"set": ["@rkt/default-whitelist"]}}
    values = status_values(run(make_pod(tmp_path / "p", isolated_app(CAPS, retain, user="web", group="www")))[1])
    assert (values["NoNewPrivs"], values["Seccomp"]) == (1, 2)
    values = status_values(run(make_pod(tmp_path / "q", isolated_app(CAPS, retain)))[1])
    assert (values["NoNewPrivs"], values["Seccomp"]) == (0, 2)


def test_seccomp_with_few_capabilities(tmp_path: Path) -> None:
    """The filter goes in although the app has no CAP_SYS_ADMIN, and may forbid what set the app's privileges up."""
    isolators = {
        "os/linux/capabilities-retain-set": {"set": ["CAP_CHOWN"]},
        "os/linux/seccomp-remove-set": {"set": ["capset", "setresuid", "setgroups", "seccomp"]},
    }
    values = status_values(run(make_pod(tmp_path / "p", isolated_app(CAPS, isolators)))[1])
    assert (values["CapEff"], values["Seccomp"]) == (1, 2)


def test_seccomp_isolators_that_make_no_sense(tmp_path: Path) -> None:
    for value, message in (
        ({"set": ["@appc.io/all"]}, "run: seccomp: removing all system calls leaves nothing that could run\n"),
        ({"set": ["read"], "errno": "ENOTHING"}, "run: seccomp: ENOTHING is no errno of Linux\n"),
    ):
        name = str(value)[:20].replace("/", "")
        pod = make_pod(tmp_path / name, isolated_app("true", {"os/linux/seccomp-remove-set": value}))
        assert run(pod) == (254, "", message)
    pod = make_pod(tmp_path / "p", isolated_app(CAPS, {"os/linux/seccomp-retain-set": {"set": ["@appc.io/all"]}}))
    assert status_values(run(pod)[1])["Seccomp"] == 0


def test_seccomp_reaches_32_bit_programs(tmp_path: Path) -> None:
    """A program for i386 cannot make the calls that were removed, under their numbers there."""
    source = tmp_path / "small.c"
    # mkdir("/x", 0) and exit with the errno, by int 0x80, without a C library
    source.write_text(
        "void _start(void) { int r; char p[] = {'/','x',0};"
        ' __asm__ volatile("int $0x80" : "=a"(r) : "a"(39), "b"(p), "c"(0) : "memory");'
        ' __asm__ volatile("int $0x80" : : "a"(1), "b"(-r)); }\n'
    )
    program = tmp_path / "small"
    compiler = shutil.which("gcc")
    if compiler is None or os.uname().machine != "x86_64":
        pytest.skip("needs gcc on x86_64")
    done = subprocess.run(
        [compiler, "-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector", "-O1"]
        + ["-o", program, source],
        check=False,
        capture_output=True,
    )
    if done.returncode:
        pytest.skip("gcc cannot build for i386 here")
    pod = make_pod(tmp_path / "p", {**isolated_app("", {"os/linux/seccomp-remove-set": {"set": ["mkdir"], "errno": "EXDEV"}})})
    shutil.copy2(program, pod / "stage1/rootfs/opt/stage2/app/rootfs/bin/small")
    document = json.loads((pod / "pod").read_text())
    document["apps"][0]["app"]["exec"] = ["/bin/small"]
    (pod / "pod").write_text(json.dumps(document))
    assert run(pod)[0] == 18  # EXDEV


def need_controllers(*names: str) -> None:
    """Skip where the pod cannot get one of these controllers (of v1 or v2)."""
    if not systemd_runs() and not any(find(discover(), name) for name in names):
        pytest.skip(f"no {names[0]} control group is mounted")


def group_of(pod: Path, controller: str) -> tuple[int, Path]:
    """The version of the hierarchy that has a controller, and the pod's group there, as its directory says."""
    for line in (pod / "cgroups").read_text().splitlines():
        version, controllers, _path, directory = line.split("\t")
        if controller in controllers.split(","):
            return int(version), Path(directory)
    raise AssertionError(f"no group for {controller}")


LIMITS = {
    1: {"memory.limit_in_bytes": f"{64 << 20}\n", "cpu.cfs_quota_us": "25000\n", "cpu.shares": "512\n"},
    2: {"memory.max": f"{64 << 20}\n", "cpu.max": "25000 100000\n", "cpu.weight": "20\n"},
}


def test_memory_cpu_and_shares(tmp_path: Path) -> None:
    isolators = {
        "resource/memory": {"limit": "64Mi"},
        "resource/cpu": {"limit": "250m"},
        "os/linux/cpu-shares": 512,
    }
    need_controllers("memory")
    pod = make_pod(tmp_path / "p", isolated_app("echo up; sleep 60", isolators))
    process = start(pod)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        version, memory = group_of(pod, "memory")
        for file, value in LIMITS[version].items():
            assert (group_of(pod, file.partition(".")[0])[1] / file).read_text() == value
        assert str(process.pid) in (memory / "cgroup.procs").read_text().split()
        assert set(report(pod).values()) == {("enforced", "")} and len(report(pod)) == 3
        assert (pod / "subcgroup").read_text().endswith(f"rktpy-{UUID}")
        script = "cat /proc/self/cgroup"
        inside = entry_point(pod, "enter", f"--pid={process.pid}", "--", "/bin/sh", "-c", script)[1]
        assert inside == Path(f"/proc/{process.pid}/cgroup").read_text(), "entering joins the app's groups"
        left = subprocess.Popen(["sleep", "60"])
        (memory / "cgroup.procs").write_text(str(left.pid))
    finally:
        process.kill()
        process.communicate()
    groups = {memory, group_of(pod, "cpu")[1]}
    assert entry_point(pod, "gc", "--local-config=/etc/rktpy", UUID) == (0, "", "")
    assert left.wait(5) == -signal.SIGKILL
    assert not any(group.exists() for group in groups)
    assert entry_point(pod, "gc", UUID) == (0, "", ""), "a second time is fine"


def test_memory_limit_is_the_apps_end(tmp_path: Path) -> None:
    need_controllers("memory")
    app = isolated_app("x=1234567890123456; while :; do x=$x$x; done", {"resource/memory": {"limit": "16Mi"}})
    pod = make_pod(tmp_path / "p", app)
    try:
        started = time.monotonic()
        assert run(pod)[0] == -signal.SIGKILL
        assert time.monotonic() - started < 15
    finally:
        assert entry_point(pod, "gc", UUID)[0] == 0


def test_the_pods_limit_bounds_the_apps(tmp_path: Path) -> None:
    need_controllers("memory")
    app = isolated_app("echo up; sleep 60", {"resource/memory": {"request": "8Mi", "limit": "64Mi"}})
    pod = make_pod(tmp_path / "p", app, pod={"isolators": [{"name": "resource/memory", "value": {"limit": "32Mi"}}]})
    process = start(pod)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        version, memory = group_of(pod, "memory")
        assert (memory / ("memory.max" if version == 2 else "memory.limit_in_bytes")).read_text() == f"{32 << 20}\n"
    finally:
        process.kill()
        err = process.communicate()[1]
        assert entry_point(pod, "gc", UUID)[0] == 0
    assert err == "stage1: app app: resource/memory is changed: the request reserves nothing, only a limit is set\n"


def test_block_io(tmp_path: Path) -> None:
    need_controllers("blkio", "io")
    isolators = {
        "resource/block-bandwidth": {"default": True, "limit": "5M"},
        "resource/block-iops": {"default": True, "limit": "300"},
    }
    pod = make_pod(tmp_path / "p", isolated_app("echo up; sleep 60", isolators))
    process = start(pod)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        found = report(pod)
        assert set(found) == set(isolators)
        outcomes = {outcome for outcome, _reason in found.values()}
        if outcomes == {"ignored"}:
            assert all("no block device" in reason for _outcome, reason in found.values())
        elif (pod / "cgroups").read_text().startswith("2"):
            assert outcomes == {"enforced"}
            limits = (group_of(pod, "io")[1] / "io.max").read_text().split()
            assert limits[1:] == ["rbps=5000000", "wbps=5000000", "riops=300", "wiops=300"]
        else:
            assert outcomes == {"changed"}, "v1 does not see what is written back"
            for file, value in (("read_bps", "5000000"), ("write_iops", "300")):
                assert (group_of(pod, "blkio")[1] / f"blkio.throttle.{file}_device").read_text().split()[1] == value
    finally:
        process.kill()
        process.communicate()
        assert entry_point(pod, "gc", UUID)[0] == 0


OTHERS = {
    "resource/network-bandwidth": {"default": True, "limit": "1M"},
    "os/linux/selinux-context": {"user": "u", "role": "r", "type": "t", "level": "l"},
    "example.com/own": {"some": "thing"},
}


def test_what_fly_does_not_enforce_is_said(tmp_path: Path) -> None:
    pod = make_pod(
        tmp_path / "p", isolated_app("echo ran", OTHERS), pod={"isolators": [{"name": "os/unix/sysctl", "value": {"a": "b"}}]}
    )
    status, out, err = run(pod)
    assert (status, out) == (0, "ran\n")
    found = report(pod)
    assert set(found) == {*OTHERS, "os/unix/sysctl"}
    assert all(outcome == "ignored" and reason for outcome, reason in found.values())
    assert len(err.splitlines()) == len(found)
    assert "stage1: app app: resource/network-bandwidth is not enforced: the app uses the host's network\n" in err
    assert "stage1: os/unix/sysctl is not enforced: " in err


def test_strict_refuses(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", isolated_app("echo ran", OTHERS))
    status, out, err = run(pod, "--strict")
    assert (status, out) == (254, "")
    assert err.splitlines()[-1].startswith("run: refusing to run the pod: app app: resource/network-bandwidth is not enforced: ")
    assert not (pod / "pid").exists()
    assert run(make_pod(tmp_path / "q", isolated_app("true", {"os/linux/no-new-privileges": True})), "--strict")[0] == 0


def test_oom_score(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", isolated_app("cat /proc/self/oom_score_adj", {"os/linux/oom-score-adj": 321}))
    assert run(pod) == (0, "321\n", "")
    pod = make_pod(tmp_path / "q", isolated_app("cat /proc/self/oom_score_adj", {"os/linux/oom-score-adj": -900}))
    status, out, err = run(pod)
    assert status == 0
    if capget()[0] >> 24 & 1:  # CAP_SYS_RESOURCE
        assert (out, err) == ("-900\n", "")
    else:
        assert err == "stage1: app app: os/linux/oom-score-adj is not enforced: this process lacks CAP_SYS_RESOURCE\n"
        assert report(pod)["os/linux/oom-score-adj"][0] == "ignored"


def test_apparmor_profile_that_is_not_loaded(tmp_path: Path) -> None:
    pod = make_pod(tmp_path / "p", isolated_app("true", {"os/linux/apparmor-profile": {"profile": "not-there"}}))
    assert run(pod) == (254, "", 'run: app app: AppArmor profile "not-there" is not loaded\n')


def test_ports_that_are_not_forwarded(tmp_path: Path) -> None:
    port = {"name": "http", "protocol": "tcp", "port": 80}
    ports = [{"name": "http", "hostPort": 8080}]
    status, _out, err = run(make_pod(tmp_path / "p", {**shell("true"), "ports": [port]}, pod={"ports": ports}))
    assert (status, err) == (
        0,
        "stage1: --port is not enforced: the app uses the host's network, port 8080 is not forwarded to http\n",
    )
    ports = [{"name": "http", "hostPort": 80}]
    assert run(make_pod(tmp_path / "q", {**shell("true"), "ports": [port]}, pod={"ports": ports}))[2] == ""


def test_streams(tmp_path: Path) -> None:
    annotations = [
        {"name": "coreos.com/rkt/stage2/stdout", "value": "null"},
        {"name": "coreos.com/rkt/stage2/stdin", "value": "stream"},
    ]
    status, out, err = run(make_pod(tmp_path / "p", shell("echo lost"), runtime={"annotations": annotations}))
    assert (status, out) == (0, "")
    assert err == "stage1: app app: --stdin is not enforced: the app has the caller's stream, mode stream is not offered\n"
