"""Pods on a host whose first process is systemd: a real one, with D-Bus and machined, in namespaces of its own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rktpy.linux import syscalls
from tests.conftest import Rktpy, need_tool
from tests.support.namespaces import isolated
from tests.support.nested_systemd import boot

pytestmark = pytest.mark.root

UNITS = {
    "test.target": "[Unit]\nDefaultDependencies=no\nRequires=dbus.service\nWants=pod.service",
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket",
    "dbus.service": "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n"
    "ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation",
    "dbus-org.freedesktop.machine1.service": "[Unit]\nDefaultDependencies=no\n[Service]\nType=dbus\n"
    "BusName=org.freedesktop.machine1\nExecStart=/lib/systemd/systemd-machined",
    "pod.service": "[Unit]\nDefaultDependencies=no\nAfter=dbus.service\n[Service]\nExecStart={command}\n"
    "StandardOutput=file:{out}\nStandardError=file:{err}\nKillMode=mixed\n{more}",
}
ASK = """
echo "active $(systemctl is-active pod.service)" >{answer}.new
machinectl list --no-legend >>{answer}.new 2>&1
cat /proc/$(cat {pods}/run/*/ppid)/cgroup >>{answer}.new
systemctl stop pod.service
systemctl show -p Result -p ExecMainStatus pod.service >>{answer}.new
mv {answer}.new {answer}
"""


def answered(command: str, more: str, directory: Path, data: Path) -> str:
    """Boot systemd, start a unit that runs a pod, wait until it is ready, ask about it and stop it; the answers."""
    units = directory / "units"
    units.mkdir()
    places = {"command": command, "more": more, "out": directory / "out", "err": directory / "err"}
    for name, text in UNITS.items():
        (units / name).write_text(text.format(**places) if name == "pod.service" else text)
    pid, pidfd = boot(str(units), "test.target")
    answer = directory / "answer"
    try:
        ready = "stage1/rootfs/rkt/supervisor-status"  # a link that leads nowhere
        wait_for(lambda: any((pod / ready).is_symlink() for pod in data.glob("pods/run/*")), directory)
        ask = ASK.format(answer=answer, pods=data / "pods")
        subprocess.run(["nsenter", f"--target={pid}", "--pid", "--mount", "--cgroup", "sh", "-c", ask], timeout=60, check=True)
    finally:
        syscalls.pidfd_send_signal(pidfd, 9, 0)
        os.waitpid(pid, 0)
    return answer.read_text()


def wait_for(condition: object, directory: Path) -> None:
    """Wait until ``condition`` holds; what the unit said if it never does."""
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            said = {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}
            raise AssertionError(said)
        time.sleep(0.02)


@pytest.mark.parametrize("delegated", [False, True], ids=["service", "delegated"])
def test_a_pod_in_a_unit(delegated: bool, stored: Rktpy, tmp_path: Path) -> None:
    for tool in ("busctl", "dbus-daemon", "machinectl", "nsenter"):
        need_tool(tool)
    run = [
        "--insecure-options=image",
        "run",
        "--net=none",
        "example.com/busybox:1",
        "--memory=64M",
        "--exec=/bin/sleep",
        "--",
        "600",
    ]
    command = " ".join(stored.argv(*run))
    directory = tmp_path / "unit"
    directory.mkdir()
    answer = isolated(answered, command, "Delegate=yes" if delegated else "", directory, stored.data, cgroups=True, timeout=150)
    lines = answer.splitlines()
    uuid = stored("list", "--full", "--no-legend").stdout.split("\t")[0]
    assert lines[0] == "active active", answer
    assert lines[1].split()[:3] == [f"rkt-{uuid}", "container", "rktpy"], answer
    unit = "/system.slice/pod.service" if delegated else f"/machine.slice/rktpy-{uuid}.scope"
    assert any(unit in line for line in lines), answer
    assert "Result=success" in lines and "ExecMainStatus=0" in lines, answer
    assert "64" not in (directory / "err").read_text()
    assert stored("gc", "--grace-period=0s").returncode == 0
    assert stored("list", "--no-legend").stdout == ""
