"""Namespaces, IDs, kernel parameters and the rest of ``linux``: runtime-spec 1.2 ``config-linux.md``."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.support.oci_bundles import Bundle, Runtime

pytestmark = pytest.mark.root
_KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}
_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def links(text: str) -> dict[str, str]:
    """``kind:[number]`` lines by kind."""
    return {line.partition(":")[0]: line for line in text.split()}


_ALL = "for one in pid net ipc uts mnt cgroup user time; do readlink /proc/self/ns/$one; done"


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "cgroup", "user", "time"])
def test_new_namespace(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    if kind == "time" and not runtime.ours:
        pytest.skip("newer than Debian's runc")
    bundle.namespace(kind)
    if kind == "user":
        bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = _MAP
    found = links(runtime.run(bundle(_ALL)))
    name = _KINDS[kind]
    assert found[name] != os.readlink(f"/proc/self/ns/{name}")


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup"])
def test_without_a_namespace_the_hosts_is_used(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    bundle.namespace(kind, remove=True)
    if kind == "uts":
        del bundle.config["hostname"]
    if kind == "network":
        bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["destination"] != "/sys"]
    found = links(runtime.run(bundle(_ALL)))
    assert found[_KINDS[kind]] == os.readlink(f"/proc/self/ns/{_KINDS[kind]}")


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "user", "time"])
def test_joining_by_path(runtime: Runtime, bundle: Bundle, kind: str) -> None:
    if kind == "time" and not runtime.ours:
        pytest.skip("newer than Debian's runc")
    bundle.namespace(kind)
    if kind == "user":
        bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = _MAP
    runtime.create(bundle("sleep 60"), "first")
    pid = runtime.state("first")["pid"]
    name = _KINDS[kind]
    wanted = os.readlink(f"/proc/{pid}/ns/{name}")
    bundle.namespace(kind, f"/proc/{pid}/ns/{name}")
    if kind == "user":
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
    if kind == "uts":
        del bundle.config["hostname"]
    assert links(runtime.run(bundle(_ALL), "second"))[name] == wanted


def test_a_path_that_is_another_kind_of_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network", "/proc/self/ns/ipc")
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)
    bundle.namespace("network", "/etc/passwd")
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_host_and_domain_name(runtime: Runtime, bundle: Bundle) -> None:
    before = os.uname().nodename
    bundle.config["hostname"] = "inside"
    if runtime.ours:
        bundle.config["domainname"] = "example.com"
    output = runtime.run(bundle("hostname; cat /proc/sys/kernel/domainname")).split()
    assert output[0] == "inside"
    assert not runtime.ours or output[1] == "example.com"
    assert os.uname().nodename == before


def test_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("user")
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = _MAP
    subprocess.run(["chown", "-R", "100000:100000", str(bundle.rootfs)], check=True)
    os.chmod(bundle.path, 0o755)
    output = runtime.run(
        bundle("cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /tmp/made; echo x >/dev/null && echo null")
    )
    assert output.split() == ["0", "100000", "65536"] * 2 + ["0", "null"]
    assert (bundle.rootfs / "tmp/made").stat().st_uid == 100000


def test_user_namespace_with_a_joined_network(runtime: Runtime, bundle: Bundle) -> None:
    runtime.create(bundle("sleep 60"), "first")
    pid = runtime.state("first")["pid"]
    bundle.namespace("network", f"/proc/{pid}/ns/net")
    bundle.namespace("user")
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = _MAP
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if one["destination"] != "/sys"]
    assert links(runtime.run(bundle(_ALL), "second"))["net"] == os.readlink(f"/proc/{pid}/ns/net")


def test_a_bind_that_only_root_of_the_host_may_reach(runtime: Runtime, bundle: Bundle) -> None:
    secret = bundle.path / "closed"
    (secret / "open").mkdir(parents=True)
    (secret / "open/file").write_text("seen\n")
    os.chmod(secret, 0o700)
    bundle.namespace("user")
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = _MAP
    (bundle.rootfs / "mnt").mkdir()
    bundle.mount("/mnt", "bind", str(secret / "open"), "rbind")
    assert runtime.run(bundle("cat /mnt/file")) == "seen\n"


def test_mappings_need_a_user_namespace(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = _MAP
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_time_offsets(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("newer than Debian's runc")
    bundle.namespace("time")
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000, "nanosecs": 0}}
    uptime = float(runtime.run(bundle("cat /proc/uptime")).split()[0])
    assert uptime - time.clock_gettime(time.CLOCK_BOOTTIME) > 999_000


def test_sysctl(runtime: Runtime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"}
    assert runtime.run(bundle("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax")).split() == ["1", "65536"]
    with open("/proc/sys/kernel/shmmax") as file:
        assert file.read() != "65536\n"


@pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "kernel.core_pattern", "fs.file-max"])
def test_sysctl_of_the_whole_machine(runtime: Runtime, bundle: Bundle, name: str) -> None:
    bundle.linux["sysctl"] = {name: "1"}
    assert name in runtime("run", "--bundle", str(bundle("true").path), "one", status=1).stderr


def test_sysctl_of_a_namespace_of_the_hosts(runtime: Runtime, bundle: Bundle) -> None:
    bundle.namespace("network", remove=True)
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)
    bundle.namespace("network", "/proc/self/ns/net")
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_rootfs_propagation(runtime: Runtime, bundle: Bundle) -> None:
    for word, field in (("rshared", "shared:"), ("rprivate", "")):
        bundle.linux["rootfsPropagation"] = word
        line = runtime.run(bundle("grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo | head -n 1"))
        fields = " ".join(line.split(" - ")[0].split()[6:])
        assert fields.startswith(field) and bool(fields) == bool(field)


def test_intel_rdt_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    if os.path.isdir("/sys/fs/resctrl/info"):
        pytest.skip("this machine has it")
    bundle.linux["intelRdt"] = {"closID": "some"}
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_memory_policy(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("1.3 of the specification")
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    output = runtime.run(bundle("head -n 1 /proc/self/numa_maps"))
    assert "bind=static:0" in output or "bind" in output
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_NONSENSE"}
    runtime("run", "--bundle", str(bundle("true").path), "one", status=1)


def test_network_devices(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("1.3 of the specification")
    subprocess.run(["ip", "link", "add", "oci0", "type", "veth", "peer", "name", "oci1"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "192.0.2.5/24", "dev", "oci0"], check=True)
        bundle.linux["netDevices"] = {"oci0": {"name": "eth7"}}
        runtime.create(bundle("sleep 60"), "one")
        pid = runtime.state("one")["pid"]
        shown = subprocess.run(
            ["nsenter", "-t", str(pid), "-n", "ip", "-o", "address", "show", "dev", "eth7"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "192.0.2.5/24" in shown
        assert subprocess.run(["ip", "link", "show", "oci0"], capture_output=True, check=False).returncode != 0
    finally:
        subprocess.run(["ip", "link", "del", "oci1"], check=False, capture_output=True)


def test_a_network_device_that_is_not_there(runtime: Runtime, bundle: Bundle) -> None:
    if not runtime.ours:
        pytest.skip("1.3 of the specification")
    bundle.linux["netDevices"] = {"nothing": {}}
    assert "nothing" in runtime("run", "--bundle", str(bundle("true").path), "one", status=1).stderr
