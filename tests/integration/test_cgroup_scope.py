"""Groups of a pod under a real systemd, which runs as PID 1 of namespaces of its own and is asked over D-Bus."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import pytest

from rktpy.linux import syscalls
from tests.conftest import ROOT, need_tool
from tests.support.namespaces import isolated
from tests.support.nested_systemd import boot

pytestmark = pytest.mark.root

UUID = "2d7ad0a9-5f6f-4a8c-9d4a-70eb2f7a2d31"
UNITS = {
    "test.target": "Requires=dbus.service probe.service",
    "dbus.socket": "[Socket]\nListenStream=/run/dbus/system_bus_socket",
    "dbus.service": "Requires=dbus.socket\n[Service]\nType=notify\n"
    "ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation",
    "probe.service": "After=dbus.service\n[Service]\nExecStart={python} /run/probe.py\nStandardError=file:/run/probe.err\n{more}",
}
PROBE = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT)!r})
from rktpy.cgroup.limits import Limits, set_limits
from rktpy.cgroup.pod import make_pod_groups

noted = []
subtree = make_pod_groups({UUID!r}, before=lambda subtree: noted.append(subtree.to_text()))
entered, entering = os.pipe()
child = os.fork()
if child == 0:
    subtree.enter()
    os.execv("/bin/sleep", ["sleep", "60"])
os.close(entering)
os.read(entered, 1)  # closed by execve
assert child in subtree.processes()
answer = {{
    "own": open("/proc/self/cgroup").read(),
    "child": open(f"/proc/{{child}}/cgroup").read(),
    "noted": noted,
    "limits": [str(one) for one in set_limits(subtree, Limits(memory=64 << 20, pids=30))],
}}
subtree.kill()
answer["killed"] = os.waitpid(child, 0)[1]
with open("/run/result.new", "w") as file:
    json.dump(answer, file)
os.rename("/run/result.new", "/run/result")
"""


def probed(more: str) -> dict[str, Any]:
    """Boot systemd, let the probe make the groups of a pod in a service; what it tells."""
    units = "/run/units"
    os.mkdir(units)
    for name, text in UNITS.items():
        with open(f"{units}/{name}", "w") as file:
            file.write("[Unit]\nDefaultDependencies=no\n" + text.replace("{python}", sys.executable).replace("{more}", more))
    with open("/run/probe.py", "w") as file:
        file.write(PROBE)
    pid, pidfd = boot(units, "test.target")
    try:
        deadline = time.monotonic() + 60
        while not os.path.exists("/run/result"):
            if time.monotonic() > deadline:
                with open("/run/probe.err") as file:
                    raise AssertionError(file.read())
            time.sleep(0.01)
    finally:
        syscalls.pidfd_send_signal(pidfd, 9, 0)
        os.waitpid(pid, 0)
    with open("/run/result") as file:
        found: dict[str, Any] = json.load(file)
    return found


@pytest.mark.parametrize("delegated", [False, True], ids=["service", "delegated"])
def test_systemd_gives_a_subtree(delegated: bool) -> None:
    for name in ("busctl", "dbus-daemon"):
        need_tool(name)
    found = isolated(probed, "Delegate=yes" if delegated else "", cgroups=True, timeout=150)
    unit = "/system.slice/probe.service" if delegated else f"/machine.slice/rktpy-{UUID}.scope"
    own = {line.split(":")[1]: line.split(":", 2)[2] for line in found["own"].splitlines()}
    child = {line.split(":")[1]: line.split(":", 2)[2] for line in found["child"].splitlines()}
    for name in ("name=systemd", "memory", "pids", ""):
        if name in own:
            assert own[name].startswith(unit), name
            assert child[name].startswith(f"{unit}/rktpy-{UUID}"), name
    assert len(found["noted"]) == 1 and f"{unit}/rktpy-{UUID}" in found["noted"][0]
    assert found["limits"] == [
        "Outcome(limit='memory', outcome='enforced', reason='')",
        "Outcome(limit='pids', outcome='enforced', reason='')",
    ]
    assert found["killed"] == 9
