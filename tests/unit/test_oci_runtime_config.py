"""Reading runtime configurations: what is there is taken, what is wrong is named by its JSON path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FormatError
from rktpy.formats.oci.runtime.config import RuntimeConfig
from rktpy.formats.oci.runtime.resources import Resources
from rktpy.oci.example import example
from tests.support.oci_bundles import example as engines_example


@pytest.mark.parametrize(
    "document", [example(rootless=False), example(rootless=True), engines_example()], ids=["root", "user", "engine"]
)
def test_examples_are_read_and_given_back(document: dict[str, Any]) -> None:
    config = RuntimeConfig.parse(json.dumps(document))
    assert config.to_dict() == document
    assert config.process is not None and config.process.args == tuple(document["process"]["args"])
    assert set(config.linux.namespaces) == {one["type"] for one in document["linux"]["namespaces"]}


def test_unknown_members_are_kept() -> None:
    document = engines_example()
    document["new"] = {"a": [1]}
    document["linux"]["newer"] = True
    config = RuntimeConfig.from_dict(document)
    assert config.to_dict() == document
    assert config.to_dict() is not document


def test_everything_is_read() -> None:
    document = engines_example()
    document["process"].update(
        {
            "user": {"uid": 1, "gid": 2, "additionalGids": [3], "umask": 63},
            "consoleSize": {"height": 5, "width": 6},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2**64 - 1}],
            "oomScoreAdj": -5,
            "scheduler": {"policy": "SCHED_FIFO", "priority": 3},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 2},
            "execCPUAffinity": {"initial": "0", "final": "1-2"},
        }
    )
    document["hooks"] = {"poststop": [{"path": "/x", "args": ["x", "y"], "env": ["A=b"], "timeout": 3}]}
    document["linux"].update(
        {
            "devices": [{"path": "/dev/a", "type": "u", "major": 1, "minor": 2, "fileMode": 384, "uid": 7}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
            "netDevices": {"eth0": {}, "eth1": {"name": "other"}},
            "personality": {"domain": "LINUX32"},
        }
    )
    config = RuntimeConfig.from_dict(document)
    assert config.process is not None
    assert config.process.user.umask == 63
    assert config.process.console_size == (5, 6)
    assert config.process.rlimits[0].hard == 2**64 - 1
    assert config.process.exec_cpu_affinity == ("0", "1-2")
    assert config.hooks["poststop"][0].timeout == 3
    assert (config.linux.devices[0].kind, config.linux.devices[0].mode) == ("c", 0o600)
    assert config.linux.net_devices == {"eth0": "eth0", "eth1": "other"}


WRONG: list[tuple[str, Any, str]] = [
    ("ociVersion", "2.0.0", "ociVersion"),
    ("ociVersion", 1, "ociVersion"),
    ("root", None, "root"),
    ("root.path", "", "root.path"),
    ("root.readonly", "yes", "root.readonly"),
    ("hostname", "x" * 65, "hostname"),
    ("process.args", [], "process.args"),
    ("process.args", ["a", 5], "process.args[1]"),
    ("process.args", ["a\0b"], "process.args[0]"),
    ("process.cwd", "relative", "process.cwd"),
    ("process.user.uid", -1, "process.user.uid"),
    ("process.user.uid", True, "process.user.uid"),
    ("process.user.additionalGids", ["x"], "process.user.additionalGids[0]"),
    ("process.capabilities.bounding", "CAP_KILL", "process.capabilities.bounding"),
    ("process.rlimits", [{"type": "RLIMIT_WHAT", "soft": 1, "hard": 1}], "process.rlimits[0].type"),
    ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "process.rlimits[0].soft"),
    ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, "process.rlimits[1].type"),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 8}, "process.ioPriority.priority"),
    ("process.scheduler", {"policy": "SCHED_WHAT"}, "process.scheduler.policy"),
    ("mounts", [{"type": "tmpfs"}], "mounts[0].destination"),
    ("mounts", [{"destination": "/x", "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}], "mounts[0]"),
    ("hooks", {"poststop": [{"path": "relative"}]}, "hooks.poststop[0].path"),
    ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout"),
    ("annotations", {"a": 1}, "annotations.a"),
    ("linux.namespaces", [{"type": "what"}], "linux.namespaces[0].type"),
    ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}], "linux.namespaces[1].type"),
    ("linux.namespaces", [{"type": "pid", "path": "proc"}], "linux.namespaces[0].path"),
    ("linux.namespaces", [{"type": "user"}], "linux.uidMappings"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], "linux.uidMappings"),
    ("linux.rootfsPropagation", "some", "linux.rootfsPropagation"),
    ("linux.devices", [{"path": "/dev/x", "type": "c"}], "linux.devices[0].major"),
    ("linux.timeOffsets", {"monotonic": {"secs": 1}}, "linux.timeOffsets"),
    ("linux.netDevices", {"a/b": {}}, "linux.netDevices"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_WHAT"}, "linux.seccomp.defaultAction"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"}, "linux.seccomp.defaultAction"),
    (
        "linux.seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]},
        "linux.seccomp.syscalls[0].names",
    ),
    ("linux.resources.devices", [{"access": "rwm"}], "linux.resources.devices[0].allow"),
    ("linux.resources.devices", [{"allow": True, "access": "x"}], "linux.resources.devices[0].access"),
    ("linux.resources.memory", {"limit": "64m"}, "linux.resources.memory.limit"),
    ("linux.resources.unified", {"../x": "1"}, "linux.resources.unified"),
    ("linux.resources.hugepageLimits", [{"pageSize": "../x", "limit": 1}], "linux.resources.hugepageLimits[0].pageSize"),
]


@pytest.mark.parametrize(("where", "value", "path"), WRONG, ids=[f"{one[0]}-{number}" for number, one in enumerate(WRONG)])
def test_what_is_wrong_is_named(where: str, value: Any, path: str) -> None:
    document = engines_example()
    at: Any = document
    *parents, last = where.split(".")
    for name in parents:
        at = at[name]
    at[last] = value
    with pytest.raises(FormatError) as raised:
        RuntimeConfig.from_dict(document)
    assert raised.value.path.startswith(path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = ("process", "root", "mounts", "hooks", "linux", "annotations", "hostname", "ociVersion")


@given(st.dictionaries(st.sampled_from(_MEMBERS), _JSON))
def test_nonsense_is_refused_by_name(changed: dict[str, Any]) -> None:
    document = {**engines_example(), **changed}
    try:
        RuntimeConfig.from_dict(document)
    except FormatError as error:
        assert error.problem


@given(st.dictionaries(st.sampled_from(("memory", "cpu", "pids", "blockIO", "devices", "unified", "rdma", "network")), _JSON))
def test_nonsense_resources_are_refused_by_name(document: dict[str, Any]) -> None:
    try:
        Resources.from_dict(document)
    except FormatError as error:
        assert error.problem
