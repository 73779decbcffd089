"""Control groups: runtime-spec 1.2 ``config-linux.md``, Control groups. On v1 and hybrid machines; v2 in tests/unit."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rktpy.cgroup.hierarchy import discover, find
from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root


def directory(controller: str, path: str) -> Path:
    """The directory of a group; the test is passed over where the controller is none of v1's."""
    hierarchy = find(discover(), controller)
    if hierarchy is None or hierarchy.version != 1:
        pytest.skip(f"{controller} is no controller of cgroup v1 here")
    return Path(f"{hierarchy.mount}{path}")


def value(controller: str, path: str, file: str) -> str:
    """The content of a control file."""
    return (directory(controller, path) / file).read_text().strip()


def test_absolute_path(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = "/oci-tests/inner"
    output = runtime.run(bundle("cat /proc/self/cgroup"))
    assert ":/oci-tests/inner\n" in output
    memory = directory("memory", "/oci-tests")
    assert not (memory / "inner").exists()
    for one in discover():
        if os.path.isdir(f"{one.mount}/oci-tests"):
            os.rmdir(f"{one.mount}/oci-tests")


def test_relative_path(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["cgroupsPath"] = "oci-relative"
    own = next(one.own for one in discover() if "memory" in one.controllers)
    assert f":memory:{own.rstrip('/')}/oci-relative\n" in runtime.run(bundle("cat /proc/self/cgroup"))


def test_cgroup_namespace_and_mount(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    output = runtime.run(
        bundle("cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; touch /sys/fs/cgroup/x || echo refused")
    )
    assert ":memory:/\n" in output
    assert "\n1\n" in output
    assert "refused" in output


def test_cgroup_mount_without_a_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    bundle.linux["cgroupsPath"] = "/oci-visible"
    output = runtime.run(bundle("cat /sys/fs/cgroup/pids/pids.current; mkdir /sys/fs/cgroup/pids/x 2>/dev/null || echo refused"))
    assert output.split() == ["2", "refused"] or output.split() == ["1", "refused"]


LIMITS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("memory", {"memory": {"limit": 67108864}}, "memory", "memory.limit_in_bytes", "67108864"),
    ("reservation", {"memory": {"reservation": 33554432}}, "memory", "memory.soft_limit_in_bytes", "33554432"),
    ("swappiness", {"memory": {"swappiness": 7}}, "memory", "memory.swappiness", "7"),
    ("shares", {"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
    ("quota", {"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_quota_us", "20000"),
    ("period", {"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_period_us", "50000"),
    ("burst", {"cpu": {"quota": 20000, "burst": 10000}}, "cpu", "cpu.cfs_burst_us", "10000"),
    ("idle", {"cpu": {"idle": 1}}, "cpu", "cpu.idle", "1"),
    ("cpus", {"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", "0"),
    ("mems", {"cpu": {"mems": "0"}}, "cpuset", "cpuset.mems", "0"),
    ("pids", {"pids": {"limit": 17}}, "pids", "pids.max", "17"),
    ("no pids", {"pids": {"limit": -1}}, "pids", "pids.max", "max"),
]


@pytest.mark.parametrize(("name", "resources", "controller", "file", "wanted"), LIMITS, ids=[one[0] for one in LIMITS])
def test_limits(
    runtime: Runtime, bundle: Bundle, name: str, resources: dict[str, Any], controller: str, file: str, wanted: str
) -> None:
    if name in ("burst", "idle") and not runtime.ours:
        pytest.skip("newer than Debian's runc")
    bundle.linux["cgroupsPath"] = "/oci-limits"
    bundle.linux["resources"].update(resources)
    runtime.create(bundle("sleep 60"), "one")
    assert value(controller, "/oci-limits", file) == wanted


def test_throttles(runtime: Runtime, bundle: Bundle) -> None:
    disks = [line.split() for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    name = next((f"{one[0]}:{one[1]}" for one in disks if os.path.isdir(f"/sys/block/{one[3]}")), None)
    if name is None:
        pytest.skip("no disk")
    major, minor = map(int, name.split(":"))
    bundle.linux["cgroupsPath"] = "/oci-blkio"
    rate = [{"major": major, "minor": minor, "rate": 1048576}]
    bundle.linux["resources"]["blockIO"] = {"throttleReadBpsDevice": rate, "throttleWriteIOPSDevice": rate}
    runtime.create(bundle("sleep 60"), "one")
    assert f"{name} 1048576" in value("blkio", "/oci-blkio", "blkio.throttle.read_bps_device")
    assert f"{name} 1048576" in value("blkio", "/oci-blkio", "blkio.throttle.write_iops_device")


def test_a_limit_that_the_machine_does_not_have(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours or find(discover(), "hugetlb") is None or find(discover(), "memory") is None:
        pytest.skip("needs a hybrid machine")
    bundle.linux["resources"]["rdma"] = {"mlx5_1": {"hcaHandles": 3}}
    assert "rdma" in runtime("run", "--bundle", str(bundle("true").path), "one", status=1).stderr
    assert not (runtime.root / "one").exists()


def test_pids_limit_is_in_force(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 3}
    assert (
        "an't fork"
        in runtime("run", "--bundle", str(bundle("sleep 1 & sleep 1 & sleep 1 & wait").path), "one", status=None).stderr
    )
    runtime.started.add("one")


def test_memory_limit_is_in_force(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20}
    runtime.run(bundle("dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null"), status=128 + 9 if runtime.ours else None)


def test_devices_are_denied(runtime: Runtime, bundle: Bundle) -> None:
    directory("devices", "/")
    for name in ("bounding", "effective", "permitted"):
        bundle.config["process"]["capabilities"][name] = ["CAP_MKNOD"]
    script = (
        "mknod /dev/mem2 c 1 1 && head -c 1 /dev/mem2 >/dev/null 2>&1 || echo refused; head -c 1 /dev/zero | "
        "wc -c; echo x >/dev/null && echo null"
    )
    assert runtime.run(bundle(script)).split() == ["refused", "1", "null"]


def test_devices_that_are_allowed(runtime: Runtime, bundle: Bundle) -> None:
    group = directory("devices", "/oci-devices")
    bundle.linux["cgroupsPath"] = "/oci-devices"
    bundle.linux["resources"]["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
        {"allow": True, "type": "b", "major": 7, "minor": 3, "access": "r"},
    ]
    runtime.create(bundle("sleep 60"), "one")
    rules = (group / "devices.list").read_text().splitlines()
    assert "c 10:200 rwm" in rules
    assert "b 7:3 rm" in rules or "b 7:3 r" in rules
    assert "c 1:3 rwm" in rules
    assert "a *:* rwm" not in rules


def test_update_by_flags_and_file(runtime: Runtime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.linux["cgroupsPath"] = "/oci-update"
    runtime.create(bundle("sleep 60"), "one")
    runtime("update", "--memory", "64m" if runtime.ours else "67108864", "--pids-limit", "20", "--cpu-share", "300", "one")
    assert value("memory", "/oci-update", "memory.limit_in_bytes") == str(64 << 20)
    assert value("pids", "/oci-update", "pids.max") == "20"
    assert value("cpu", "/oci-update", "cpu.shares") == "300"
    (tmp_path / "resources").write_text(json.dumps({"memory": {"limit": 32 << 20}, "cpu": {"quota": 30000, "period": 100000}}))
    runtime("update", "--resources", str(tmp_path / "resources"), "one")
    assert value("memory", "/oci-update", "memory.limit_in_bytes") == str(32 << 20)
    assert value("pids", "/oci-update", "pids.max") == "20"
    document = json.dumps({"pids": {"limit": 9}})
    subprocess.run(runtime.argv("update", "--resources", "-", "one"), input=document, text=True, check=True, timeout=30)
    assert value("pids", "/oci-update", "pids.max") == "9"


def test_statistics(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"].update({"memory": {"limit": 64 << 20}, "pids": {"limit": 30}})
    runtime.create(bundle("sleep 60"), "one")
    runtime("start", "one")
    event = json.loads(runtime("events", "--stats", "one").stdout)
    assert (event["type"], event["id"]) == ("stats", "one")
    data = event["data"]
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert data["memory"]["usage"]["usage"] > 0
    assert data["cpu"]["usage"]["total"] > 0
    assert data["pids"] == {"current": data["pids"]["current"], "limit": 30}
    assert data["pids"]["current"] >= 1


def test_events_until_the_end(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20}
    runtime.create(bundle("dd if=/dev/zero of=/dev/shm/x bs=1M count=40; sleep 0.3"), "one")
    process = subprocess.Popen(runtime.argv("events", "--interval", "100ms", "one"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["type"] == "stats"
    runtime("start", "one")
    kinds = [json.loads(line)["type"] for line in process.stdout]
    assert process.wait(20) == 0
    if runtime.ours:
        assert "oom" in kinds


def test_all_processes_go_with_the_container(runtime: Runtime, bundle: Bundle) -> None:
    """Also without process IDs of its own."""
    bundle.namespace("pid", remove=True)
    bundle.linux["cgroupsPath"] = "/oci-shared-pids"
    runtime.create(bundle("sleep 77 & exit 0"), "one")
    runtime("start", "one")
    runtime.wait_for("one", "stopped")
    procs = directory("pids", "/oci-shared-pids") / "cgroup.procs"
    deadline = time.monotonic() + 5
    while not procs.read_text().split() and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [int(pid) for pid in procs.read_text().split()]
    assert len(left) == 1
    runtime("delete", "--force", "one")
    assert not os.path.exists(f"/proc/{left[0]}/exe")


def test_kill_all(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("pid", remove=True)
    bundle.linux["cgroupsPath"] = "/oci-kill-all"
    runtime.create(bundle("sleep 78 & sleep 79 & wait"), "one")
    runtime("start", "one")
    procs = directory("pids", "/oci-kill-all") / "cgroup.procs"
    while len(procs.read_text().split()) < 3:
        time.sleep(0.01)
    runtime("kill", "--all", "one", "KILL")
    deadline = time.monotonic() + 5
    while procs.read_text().split() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert procs.read_text().split() == []
