"""Control groups: what is read from /proc, what a limit is written as, who may write where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rktpy.cgroup import hierarchy as module
from rktpy.cgroup import scope
from rktpy.cgroup.delegation import refusal
from rktpy.cgroup.hierarchy import Hierarchy, discover, find
from rktpy.cgroup.limits import Limits, Outcome, apply_limits, setting, shares_to_weight
from rktpy.cgroup.pod import make_pod_groups
from rktpy.cgroup.subtree import Group, Subtree, statistics

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / {top} rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / {top}/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /outer {top}/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:31 / {top}/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
35 31 0:32 / {top}/with\\040space rw,relatime - cgroup2 cgroup2 rw,nsdelegate
36 31 0:33 / {top}/pids rw,relatime - cgroup cgroup rw,pids
37 31 0:34 / {top}/pids rw,relatime - tmpfs over rw
"""
MEMBERSHIP = """\
12:freezer:/
5:cpu,cpuacct:/a
4:memory:/outer/b
3:pids:/
1:name=systemd:/system.slice/x.service
0::/v2
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hybrid machine's files, with directories for the groups."""
    for name in ("cpu,cpuacct/a", "memory/b", "systemd/system.slice/x.service", "with space/v2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "with space/v2/cgroup.controllers").write_text("hugetlb io\n")
    texts = {"/proc/self/mountinfo": MOUNTS.format(top=tmp_path), "/proc/self/cgroup": MEMBERSHIP}
    original = module._read
    monkeypatch.setattr(module, "_read", lambda path: texts.get(path) or original(path))
    return tmp_path


def test_discovery_takes_what_is_mounted(machine: Path) -> None:
    found = discover()
    assert [(one.version, one.controllers, one.own) for one in found] == [
        (1, ("cpu", "cpuacct"), "/a"),
        (1, ("memory",), "/outer/b"),
        (1, ("name=systemd",), "/system.slice/x.service"),
        (2, ("hugetlb", "io"), "/v2"),
    ]
    memory = find(found, "memory")
    assert memory is not None and memory.directory(memory.own) == f"{machine}/memory/b"
    assert memory.directory("/elsewhere") is None
    assert memory.directory("/outer/../x") is None
    assert find(found, "freezer") is None, "listed, not mounted"
    assert find(found, "pids") is None, "covered by another mount"


def test_discovery_on_this_machine() -> None:
    for one in discover():
        directory = one.directory(one.own)
        assert directory is not None and os.path.exists(f"{directory}/cgroup.procs")


@pytest.mark.parametrize(
    ("limit", "value", "version", "file", "written", "changed"),
    [
        ("memory", 1 << 26, 1, "memory.limit_in_bytes", "67108864", False),
        ("memory", 1 << 26, 2, "memory.max", "67108864", False),
        ("cpu", 1500, 1, "cpu.cfs_quota_us", "150000", False),
        ("cpu", 250, 2, "cpu.max", "25000 100000", False),
        ("cpu", 1, 2, "cpu.max", "1000 100000", True),
        ("cpu_shares", 1024, 1, "cpu.shares", "1024", False),
        ("cpu_shares", 1024, 2, "cpu.weight", "39", False),
        ("pids", 9, 2, "pids.max", "9", False),
    ],
)
def test_settings(limit: str, value: int, version: int, file: str, written: str, changed: bool) -> None:
    one = setting(limit, value, version)
    assert (one.file, one.value, bool(one.changed)) == (file, written, changed)


def test_shares_and_weights_end_where_they_should() -> None:
    assert (shares_to_weight(2), shares_to_weight(262144)) == (1, 10000)


def v2(tmp_path: Path, own: str = "/unit") -> tuple[Hierarchy, ...]:
    directory = tmp_path / own.strip("/")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.subtree_control").touch()
    return (Hierarchy(2, str(tmp_path), ("memory", "cpu"), own),)


def test_limits_on_v2_are_written_where_they_belong(tmp_path: Path) -> None:
    hierarchies = v2(tmp_path)
    group = tmp_path / "unit/pod"
    group.mkdir()
    for name in ("cgroup.procs", "memory.max", "cpu.max"):
        (group / name).touch()
    noted: list[str] = []
    subtree, outcomes = apply_limits(
        "pod",
        Limits(memory=4096, cpu=100, pids=5),
        before=lambda one: noted.append(one.to_text()),
        hierarchies=hierarchies,
        systemd=False,
    )
    assert outcomes == (Outcome("memory"), Outcome("cpu"), Outcome("pids", "ignored", "no pids control group is mounted"))
    assert (group / "memory.max").read_text() == "4096"
    assert (group / "cpu.max").read_text() == "10000 100000"
    assert (group / "cgroup.procs").read_text() == "0", "moved before the controllers are enabled"
    assert (tmp_path / "unit/cgroup.subtree_control").read_text() == "+memory +cpu"
    assert noted == [f"2\tmemory,cpu\t/unit/pod\t{group}\n"]
    assert Subtree.from_text(noted[0]) == subtree


def test_a_limit_that_cannot_be_written_is_an_outcome(tmp_path: Path) -> None:
    hierarchies = v2(tmp_path)
    _subtree, outcomes = apply_limits("pod", Limits(memory=1), before=lambda _one: None, hierarchies=hierarchies, systemd=False)
    assert outcomes[0].outcome == "ignored" and "cgroup.procs" in outcomes[0].reason


def test_nothing_is_made_when_nothing_is_there() -> None:
    def before(_subtree: Subtree) -> None:
        raise AssertionError("nothing to write down")

    subtree, outcomes = apply_limits("pod", Limits(memory=1), before=before, hierarchies=(), systemd=True)
    assert subtree == Subtree() and outcomes[0].outcome == "ignored"


def test_under_systemd_only_what_was_delegated(tmp_path: Path) -> None:
    unified = v2(tmp_path, "/system.slice/x.service/sub")
    assert "Delegate=yes" in refusal(unified, unified[0], systemd=True)
    assert refusal(unified, unified[0], systemd=False) == ""
    os.setxattr(tmp_path / "system.slice/x.service", "user.delegate", b"1")
    assert refusal(unified, unified[0], systemd=True) == ""
    elsewhere = Hierarchy(1, str(tmp_path), ("memory",), "/")
    assert "memory" in refusal((*unified, elsewhere), elsewhere, systemd=True)
    beside = Hierarchy(1, str(tmp_path), ("memory",), "/system.slice/x.service2")
    assert refusal((*unified, beside), beside, systemd=True)


@pytest.mark.parametrize("text", ["x", "1\tmemory\t/a", "3\tm\t/a\t/b\n", "1\tmemory\t/a\trelative\n", "1 memory /a /b\n"])
def test_a_broken_list_of_groups(text: str) -> None:
    with pytest.raises(ValueError, match="control group"):
        Subtree.from_text(text)


def test_statistics(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "pids.current").write_text("3\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 12\nuser_usec 4\n")
    subtree = Subtree((Group(2, str(tmp_path), "/x", ("memory", "pids")),))
    assert statistics(subtree) == {"memory": 4096, "pids": 3, "cpu_ns": 12000}


def test_a_subtree_with_leaves_is_read_back() -> None:
    subtree = Subtree((Group(2, "/c/own/pod", "/own/pod", ("memory",), "payload"), Group(1, "/m/pod", "/pod", ("memory",))))
    assert Subtree.from_text(subtree.to_text()) == subtree
    assert [one.entrance for one in subtree.groups] == ["/c/own/pod/payload", "/m/pod"]
    with pytest.raises(ValueError, match="control group"):
        Subtree.from_text("2\tmemory\t/a\t/b\t../..\n")


def test_v2_leaves_and_controllers(tmp_path: Path) -> None:
    hierarchies = v2(tmp_path)
    pod = tmp_path / "unit/rktpy-u"
    for leaf in ("supervisor", "payload"):
        (pod / leaf).mkdir(parents=True)
    (pod / "supervisor/cgroup.procs").touch()
    (pod / "cgroup.subtree_control").touch()
    noted: list[str] = []
    subtree = make_pod_groups("u", before=lambda one: noted.append(one.to_text()), hierarchies=hierarchies, systemd=False)
    assert not subtree.problems
    assert (pod / "supervisor/cgroup.procs").read_text() == "0"
    assert (pod / "cgroup.subtree_control").read_text() == "+memory"
    assert noted == [f"2\tcpu,memory\t/unit/rktpy-u\t{pod}\tpayload\n"]
    (pod / "cgroup.subtree_control").unlink()
    subtree = make_pod_groups("u", before=lambda _one: None, hierarchies=hierarchies, systemd=False)
    assert [one.controllers for one in subtree.problems] == [("cpu",), ("memory",)]
    assert subtree.groups[0].controllers == ()


def test_under_systemd_nothing_is_made_outside_a_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    subtree = make_pod_groups(
        "u", before=lambda _one: pytest.fail("nothing to write down"), hierarchies=v2(tmp_path), systemd=True
    )
    assert subtree.groups == ()
    assert all("systemd gives no scope: busctl: no such file" in one.reason for one in subtree.problems)


def test_the_scope_is_asked_for_by_one_call() -> None:
    argv = scope.start_call("rktpy-u.scope", "rktpy pod u", 42, "machine.slice", [("TasksMax", "t", "9")])
    assert argv[:4] == ["busctl", "--system", "--quiet", "--timeout=10"]
    assert argv[argv.index("StartTransientUnit") + 1 :][:4] == ["ssa(sv)a(sa(sv))", "rktpy-u.scope", "fail", "6"]
    assert argv[argv.index("PIDs") :][:4] == ["PIDs", "au", "1", "42"]
    assert argv[-1] == "0"
