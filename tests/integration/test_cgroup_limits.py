"""Limits on the groups of a pod, seen to bite where this machine has what they need."""

from __future__ import annotations

import mmap
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rktpy.cgroup.block_device import block_device
from rktpy.cgroup.devices import CLOSED, DeviceRule, limit_devices, rules_for
from rktpy.cgroup.hierarchy import discover
from rktpy.cgroup.limits import Limits, Outcome, set_limits
from rktpy.cgroup.pod import make_pod_groups
from rktpy.cgroup.subtree import Subtree
from tests.support.cgroups import make_room
from tests.support.namespaces import controllers, isolated

pytestmark = pytest.mark.root

UUID = "7f3c3f0e-6d7e-4f0e-8d67-1f2b7f6a9a11"


def groups(*versions: int) -> Subtree:
    """The subtree of a pod in the hierarchies of some versions."""
    make_room()
    hierarchies = tuple([one for one in discover() if one.version in (versions or (1, 2))])
    return make_pod_groups(UUID, before=lambda _subtree: None, hierarchies=hierarchies)


def in_groups(subtree: Subtree, function: Callable[[], int]) -> int:
    """The exit status of ``function`` in a child in the groups."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            subtree.enter()
            status = function()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def need(*wanted: str) -> None:
    if controllers().isdisjoint(wanted):
        pytest.skip(f"no {wanted[0]} controller here")


def test_processes_are_counted() -> None:
    def fork_many() -> int:
        made = 0
        try:
            for _ in range(20):
                if os.fork() == 0:
                    time.sleep(5)
                    os._exit(0)
                made += 1
        except BlockingIOError:
            pass
        return made

    def inside() -> tuple[tuple[Outcome, ...], int]:
        subtree = groups()
        return set_limits(subtree, Limits(pids=5)), in_groups(subtree, fork_many)

    need("pids")
    outcomes, made = isolated(inside, cgroups=True)
    assert outcomes == (Outcome("pids"),)
    assert made in (4, 3), "on v2 the supervisor counts as well"


def test_memory_and_swap_together() -> None:
    def inside() -> list[Outcome]:
        subtree = groups()
        return [
            set_limits(subtree, limits)[-1]
            for limits in (
                Limits(memory=64 << 20, memory_swap=96 << 20),
                Limits(memory=64 << 20, memory_swap=1 << 20),
                Limits(memory_swap=96 << 20),
            )
        ]

    need("memory")
    first, too_small, alone = isolated(inside, cgroups=True)
    assert first == Outcome("memory_swap") or first.reason == "the kernel does not account for swap"
    assert too_small.outcome == alone.outcome == "ignored"
    assert "less than memory" in too_small.reason and "needs one on memory" in alone.reason


def written_directly(path: Path, size: int) -> float:
    """Seconds that writing ``size`` bytes past the cache takes."""
    buffer = mmap.mmap(-1, 1 << 16)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    try:
        began = time.monotonic()
        for _ in range(size >> 16):
            os.write(fd, buffer)
        return time.monotonic() - began
    finally:
        os.close(fd)


def test_block_io_is_throttled_on_the_disk_behind_a_directory(tmp_path: Path) -> None:
    try:
        device = block_device(str(tmp_path))
        written_directly(tmp_path / "try", 1 << 16)
    except (LookupError, OSError) as error:
        pytest.skip(f"no disk to limit: {error}")
    assert os.path.isdir(f"/sys/dev/block/{device}")

    def inside() -> tuple[tuple[Outcome, ...], int]:
        subtree = groups()
        outcomes = set_limits(subtree, Limits(block_bandwidth=1 << 20), str(tmp_path))
        return outcomes, in_groups(subtree, lambda: min(200, int(written_directly(tmp_path / "slow", 3 << 19) * 100)))

    need("blkio", "io")
    [outcome], hundredths = isolated(inside, cgroups=True)
    assert outcome.limit == "block_bandwidth" and outcome.outcome in ("enforced", "changed"), outcome
    assert hundredths > 90, "1.5 MiB at 1 MiB/s"


def test_no_disk_no_limit(tmp_path: Path) -> None:
    def inside() -> tuple[Outcome, ...]:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
        return set_limits(groups(), Limits(block_iops=100), str(tmp_path))

    need("blkio", "io")
    [outcome] = isolated(inside, cgroups=True)
    assert outcome.outcome == "ignored" and outcome.reason == f"no block device is behind {tmp_path} (tmpfs)"


@pytest.mark.parametrize("version", [1, 2])
def test_devices_that_no_rule_names_are_closed(version: int) -> None:
    rules = (*(rule for rule in CLOSED if rule.minor != 7), DeviceRule("c", 1, 7, "r"), DeviceRule("c", 10, 229, "m"))

    def opened(path: str, flags: int) -> bool:
        try:
            os.close(os.open(path, flags))
        except PermissionError:
            return False
        return True

    def inside() -> tuple[Outcome, int]:
        subtree = groups(version)
        outcome = limit_devices(subtree, rules)
        os.mknod("/run/kmsg", 0o600 | 0o020000, os.makedev(1, 11))

        def use() -> int:
            wrong = 0
            for number, (path, flags, allowed) in enumerate(
                (
                    ("/dev/null", os.O_RDWR, True),
                    ("/dev/urandom", os.O_RDONLY, True),
                    ("/dev/full", os.O_RDONLY, True),
                    ("/dev/full", os.O_WRONLY, False),
                    ("/run/kmsg", os.O_RDONLY, False),
                )
            ):
                wrong |= (opened(path, flags) != allowed) << number
            for number, minor, allowed in ((5, 229, True), (6, 230, False)):
                try:
                    os.mknod(f"/run/node{minor}", 0o600 | 0o020000, os.makedev(10, minor))
                    made = True
                except PermissionError:
                    made = False
                wrong |= (made != allowed) << number
            return wrong

        return outcome, in_groups(subtree, use)

    if not any(one.version == version and (version == 2 or "devices" in one.controllers) for one in discover()):
        pytest.skip(f"no cgroup v{version} for devices here")
    assert isolated(inside, cgroups=True) == (Outcome("devices"), 0)


def test_device_nodes_of_volumes() -> None:
    assert rules_for(("/dev/null", "/", "/dev/zero")) == (DeviceRule("c", 1, 3, "rw"), DeviceRule("c", 1, 5, "rw"))
    assert str(DeviceRule("a", access="r")) == "a *:* r"
    assert limit_devices(Subtree(), CLOSED) == Outcome("devices", "ignored", "no devices control group is mounted")
