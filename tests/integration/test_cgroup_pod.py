"""The subtree of a pod, in the hierarchies that this machine has: made, entered, killed and removed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from rktpy.cgroup import pod
from rktpy.cgroup.hierarchy import discover, find
from rktpy.cgroup.pod import CONTROLLERS, make_pod_groups
from rktpy.cgroup.subtree import Subtree
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from tests.support.cgroups import make_room
from tests.support.namespaces import isolated

pytestmark = pytest.mark.root

UUID = "2d7ad0a9-5f6f-4a8c-9d4a-70eb2f7a2d31"


def ignore(_subtree: Subtree) -> None:
    pass


def started(subtree: Subtree, then: Callable[[], None]) -> int:
    """A child in the pod's groups that calls ``then`` and sleeps; returns once it does."""
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            subtree.enter()
            then()
            os.write(done, b"x")
            time.sleep(60)
            status = 0
        finally:
            os._exit(status)
    os.close(done)
    try:
        assert os.read(ready, 1) == b"x", "the child failed"
    finally:
        os.close(ready)
    return child


def test_groups_are_made_entered_and_removed() -> None:
    def inside() -> None:
        make_room()
        noted: list[str] = []

        def before(subtree: Subtree) -> None:
            assert not any(os.path.exists(one.directory) for one in subtree.groups)
            noted.append(subtree.to_text())

        there = discover()
        subtree = make_pod_groups(UUID, before=before)
        assert len(subtree.groups) == len(there) > 0
        assert {len(line.split("\t")) for line in noted[0].splitlines()} <= {4, 5}
        me = {one.mount: one.own for one in discover()}
        for one in there:
            if one.version == 2 and set(one.controllers) & set(CONTROLLERS):
                assert me[one.mount] == f"{one.own.rstrip('/')}/rktpy-{UUID}/supervisor"
            else:
                assert me[one.mount] == one.own, "the supervisor stays where it was"
        child = started(subtree, lambda: None)
        for hierarchy in discover(child):
            assert hierarchy.own.endswith((f"/rktpy-{UUID}", f"/rktpy-{UUID}/payload")), hierarchy
        read_back = Subtree.from_text(noted[0])
        assert child in read_back.processes()
        read_back.kill()
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        move_out()
        read_back.remove()
        read_back.remove()
        assert not any(os.path.exists(one.directory) for one in subtree.groups)

    isolated(inside, cgroups=True)


def move_out() -> None:
    """Leave the pod's groups for one that takes processes."""
    for one in discover():
        if one.version == 2:
            beside = f"{one.mount}/tests"
            with open(f"{beside if os.path.isdir(beside) else one.mount}/cgroup.procs", "w") as file:
                file.write("0")


def test_what_the_pod_makes_below_is_killed_and_removed_however_deep() -> None:
    def below() -> None:
        for one in discover():
            os.mkdir(f"{one.directory(one.own)}/init.scope")
        pids = find(discover(), "pids")
        assert pids is not None
        os.chdir(f"{pids.directory(pids.own)}")
        for _ in range(30):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        with open("cgroup.procs", "w") as file:
            file.write("0")

    def inside() -> None:
        make_room()
        subtree = make_pod_groups(UUID, before=ignore)
        child = started(subtree, below)
        assert child in Subtree(tuple(one for one in subtree.groups if "pids" in one.controllers)).processes()
        subtree.kill()
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        move_out()
        subtree.remove()
        assert not any(os.path.exists(one.directory) for one in subtree.groups)

    isolated(inside, cgroups=True)


def test_frozen_groups_are_thawed_to_be_killed() -> None:
    def freeze() -> None:
        freezer = find(discover(), "freezer")
        assert freezer is not None
        inner = f"{freezer.directory(freezer.own)}/inner"
        os.mkdir(inner)
        if os.fork() == 0:
            with open(f"{inner}/cgroup.procs", "w") as file:
                file.write("0")
            time.sleep(60)
            os._exit(0)
        while not open(f"{inner}/cgroup.procs").read().strip():
            time.sleep(0.001)
        with open(f"{inner}/freezer.state", "w") as file:
            file.write("FROZEN")

    def inside() -> int:
        if find(discover(), "freezer") is None:
            return -1
        subtree = make_pod_groups(UUID, before=ignore)
        child = started(subtree, freeze)
        assert len(subtree.processes() - {os.getpid()}) == 2, "the child and its frozen child"
        subtree.kill()
        os.waitpid(child, 0)
        return len(subtree.processes() - {os.getpid()})

    left = isolated(inside, cgroups=True)
    if left < 0:
        pytest.skip("no v1 freezer here")
    assert left == 0


def test_a_pod_that_forks_faster_than_it_is_killed() -> None:
    def bomb() -> None:
        for _ in range(4):
            if os.fork() == 0:
                while True:
                    if os.fork():
                        os._exit(0)

    def inside() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        subtree = make_pod_groups(UUID, before=ignore)
        started(subtree, bomb)
        subtree.kill()
        assert subtree.processes() <= {os.getpid()}

    isolated(inside, cgroups=True)


def test_a_hierarchy_that_cannot_be_written_is_left_out() -> None:
    def inside() -> list[tuple[tuple[str, ...], str]]:
        memory = next(one for one in discover() if one.version == 1)
        syscalls.mount("none", memory.mount, None, c.MS_REMOUNT | c.MS_BIND | c.MS_RDONLY, None)
        subtree = make_pod_groups(UUID, before=ignore)
        assert memory.controllers not in [one.controllers for one in subtree.groups]
        assert len(subtree.groups) == len(discover()) - 1
        assert [one.controllers for one in subtree.problems] == [memory.controllers]
        return [(one.controllers, one.reason) for one in subtree.problems]

    if not any(one.version == 1 for one in discover()):
        pytest.skip("no v1 hierarchy here")
    [(_controllers, reason)] = isolated(inside, cgroups=True)
    assert reason.endswith("read-only file system")


@pytest.mark.parametrize("alone", [True, False])
def test_v2_controllers_are_handed_out_where_no_other_process_is(alone: bool) -> None:
    def inside() -> tuple[tuple[str, ...], list[str], str]:
        make_room()
        v2 = next(one for one in discover() if one.version == 2)
        other = None if alone else subprocess.Popen(["sleep", "60"])
        pod.CONTROLLERS = v2.controllers
        unified = tuple([one for one in discover() if one.version == 2])
        subtree = make_pod_groups(UUID, before=ignore, hierarchies=unified)
        if other is not None:
            other.kill()
            other.wait()
        [group] = subtree.groups
        with open(f"{group.entrance}/cgroup.controllers") as file:
            return group.controllers, [one.reason for one in subtree.problems], file.read().strip()

    unified = [one for one in discover() if one.version == 2 and one.controllers]
    if not unified:
        pytest.skip("no v2 controllers here")
    controllers, problems, seen = isolated(inside, cgroups=True)
    if alone:
        assert controllers == tuple(seen.split()) != () and not problems
    else:
        assert controllers == () and seen == ""
        assert "has other processes in it" in problems[0]


def test_giving_a_subtree_to_the_root_of_a_user_namespace() -> None:
    def inside() -> None:
        subtree = make_pod_groups(UUID, before=ignore)
        subtree.give(100000, 100000)

        def make() -> None:
            os.setgroups([])
            os.setresgid(100000, 100000, 100000)
            os.setresuid(100000, 100000, 100000)
            for one in discover():
                directory = f"{one.directory(one.own)}/below"
                os.mkdir(directory)
                with open(f"{directory}/cgroup.procs", "w") as file:
                    file.write("0")
            for group in subtree.groups:
                limits = [name for name in os.listdir(group.entrance) if name.endswith((".max", "limit_in_bytes", "quota_us"))]
                assert not any(os.access(f"{group.entrance}/{name}", os.W_OK) for name in limits)

        child = started(subtree, make)
        subtree.kill()
        os.waitpid(child, 0)

    isolated(inside, cgroups=True)
