"""Pods on a machine that systemd runs (tests/vm), as a person and as a unit start them."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.cgroup.delegation import systemd_runs
from rktpy.cgroup.hierarchy import discover
from tests.conftest import Rktpy, need_tool
from tests.support.pods import BUSYBOX, UNSIGNED, Running, cgroups_of_pods, report, shell, states, wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.stage1("systemd"),
    pytest.mark.skipif(not systemd_runs(), reason="systemd is not this machine's service manager"),
]
HOG = "x=12345678; while :; do x=$x$x; done"


def asked(*argv: str) -> str:
    """What a program prints."""
    return subprocess.run([need_tool(argv[0]), *argv[1:]], capture_output=True, text=True, check=True, timeout=60).stdout


def shown(unit: str, name: str) -> str:
    """A property of a unit."""
    return asked("systemctl", "show", "--value", f"--property={name}", unit).strip()


@pytest.fixture
def unit() -> Iterator[str]:
    """The name of a service that is stopped and forgotten afterwards."""
    name = f"rktpy-test-{uuid.uuid4()}.service"
    yield name
    subprocess.run(["systemctl", "stop", name], check=False, capture_output=True, timeout=120)
    subprocess.run(["systemctl", "reset-failed", name], check=False, capture_output=True, timeout=60)


def test_a_pod_has_a_scope_and_a_machine(stored: Rktpy, tmp_path: Path) -> None:
    """Started from a shell: the scope is delegated and bounded by nothing but what the pod asks for, and goes with the pod."""
    with Running(stored, tmp_path, "echo up; exec sleep 300", "--memory=64M", pod=("--strict",)) as pod:
        assert pod.line() == "up\n"
        scope = f"rktpy-{pod.uuid}.scope"
        assert (shown(scope, "ActiveState"), shown(scope, "Delegate"), shown(scope, "Slice")) == (
            "active",
            "yes",
            "machine.slice",
        )
        assert f"rkt-{pod.uuid} container rktpy" in [
            " ".join(line.split()[:3]) for line in asked("machinectl", "list", "--no-legend").splitlines()
        ]
        leader = int(asked("machinectl", "show", "--value", "--property=Leader", f"rkt-{pod.uuid}"))
        assert f"machine.slice/{scope}/" in Path(f"/proc/{leader}/cgroup").read_text()
        assert "busybox.service" in asked("systemd-cgls", "--no-pager", f"--unit={scope}")
        stored("stop", pod.uuid)
        assert pod.ended(60)[0] == 0
    wait_for("the scope's end", lambda: shown(scope, "ActiveState") == "inactive", 20)
    assert cgroups_of_pods(pod.uuid) == []
    assert f"rkt-{pod.uuid}" not in asked("machinectl", "list", "--no-legend")
    assert stored("gc", "--grace-period=0s").returncode == 0


def test_memory_bites_in_a_pod_of_a_shell(stored: Rktpy) -> None:
    done = shell(stored, HOG, "--memory=16M", pod=("--strict",), status=9)
    assert done.stderr == "", "the end of the pod has nothing to complain about"
    (pod,) = states(stored)
    assert report(stored, pod) == {"resource/memory": "enforced"}


@pytest.mark.parametrize("delegated", [True, False], ids=["delegated", "service"])
def test_a_service(stored: Rktpy, unit: str, tmp_path: Path, delegated: bool) -> None:
    """``Type=notify``: active when the app is; a unit that delegates its group keeps the pod in it; ``stop`` is in order."""
    uuid_file = tmp_path / "uuid"
    command = stored.argv(UNSIGNED, "run", f"--uuid-file-save={uuid_file}", BUSYBOX, "--exec=/bin/sleep", "--", "600")
    properties = [f"--property={one}" for one in ("Type=notify", "KillMode=mixed", f"Delegate={'yes' if delegated else 'no'}")]
    asked("systemd-run", "--quiet", f"--unit={unit}", *properties, *command)
    pod = uuid_file.read_text()
    assert shown(unit, "ActiveState") == "active"
    assert states(stored) == {pod: "running"}
    (group,) = cgroups_of_pods(pod)
    assert (unit if delegated else f"machine.slice/rktpy-{pod}.scope") in group
    if discover()[0].version == 2:
        assert {"cpu", "io", "memory", "pids"} <= set(Path(group, "cgroup.controllers").read_text().split())
    asked("systemctl", "stop", unit)
    assert shown(unit, "Result") in ("success", "")
    wait_for("the pod's end", lambda: states(stored) == {pod: "exited"}, 20)
    wait_for("the end of its groups", lambda: cgroups_of_pods(pod) == [], 20)


def test_the_units_limit_bounds_a_pod_that_asks_for_more(stored: Rktpy, unit: str) -> None:
    """The app may have 1 GiB, the unit 48 MiB: what counts is the least."""
    command = stored.argv(UNSIGNED, "run", BUSYBOX, "--memory=1G", "--exec=/bin/sh", "--", "-c", HOG)
    properties = ("Type=exec", "Delegate=yes", "MemoryMax=48M", "OOMPolicy=continue")
    argv = ["systemd-run", "--quiet", "--wait", f"--unit={unit}", *(f"--property={one}" for one in properties), *command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 9, done
    (pod,) = states(stored)
    assert report(stored, pod) == {"resource/memory": "enforced"}
