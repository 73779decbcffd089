"""Pods as services of a host with systemd: readiness, the watchdog, limits, the journal, machinectl."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rktpy.cgroup.delegation import systemd_runs
from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.booted import booted
from tests.support.pod_manifests import PYTHON, app, pod_of, with_python

pytestmark = pytest.mark.root

ON_THE_HOST = systemd_runs() and os.environ.get("RKTPY_TEST_SANDBOX") == "host"
UNSIGNED = "--insecure-options=image"
IMAGE = "example.com/busybox:1"
WAIT = "until {}; do sleep 0.05; done\n"


@pytest.fixture(autouse=True)
def tools() -> None:
    for tool in ("busctl", "dbus-daemon", "machinectl", "nsenter", "journalctl"):
        need_tool(tool)


def service(command: str, *settings: str) -> str:
    """A unit that runs a pod."""
    return "\n".join(("[Service]", f"ExecStart={command}", "KillMode=mixed", "TimeoutStopSec=15", *settings))


def run(rktpy: Rktpy, *args: str) -> str:
    """The command line of a pod without networks; arguments must need no quoting."""
    return " ".join(rktpy.argv(UNSIGNED, "run", "--net=none", *args))


def script_app(rktpy: Rktpy, directory: Path, script: str, **more: Any) -> str:
    """The same for an app that is a shell script, named by a pod manifest."""
    return " ".join(rktpy.argv(UNSIGNED, "run", "--net=none", pod_of(directory, app(script, "web", **more))))


@pytest.mark.parametrize("delegate", ["", "Delegate=yes"], ids=["service", "delegated"])
@pytest.mark.parametrize("flavour", ["systemd", "fly"])
def test_a_notify_service_waits_for_the_pod(stored: Rktpy, tmp_path: Path, delegate: str, flavour: str) -> None:
    unit = service(run(stored, f"--stage1={flavour}", IMAGE, "--exec=/bin/sleep", "--", "600"), "Type=notify", delegate)
    script = """
systemctl start web.service
systemctl show -P SubState web.service >$answer
systemctl stop web.service
systemctl show -P Result -P ExecMainStatus web.service >>$answer
"""
    answer = booted({"web.service": unit}, script, tmp_path / "host").split()
    assert answer[:2] == ["running", "success"], answer
    assert answer[2] in ("0", "15")


@pytest.mark.parametrize("delegate", ["", "Delegate=yes"], ids=["service", "delegated"])
def test_lines_reach_the_journal_under_the_apps_name(stored: Rktpy, tmp_path: Path, delegate: str) -> None:
    command = script_app(stored, tmp_path, "echo hello; echo 'MESSAGE=x[1]: y'; exec sleep 600")
    script = (
        "systemctl start web.service\n"
        + WAIT.format("journalctl -q --since $since -o cat -u web.service | grep -q 'x\\[1\\]'")
        + "journalctl -q --since $since -o json -u web.service >$answer\nsystemctl stop web.service\n"
    )
    answer = booted({"web.service": service(command, "Type=exec", delegate)}, script, tmp_path / "host")
    entries = [json.loads(line) for line in answer.splitlines()]
    ours = [(one["SYSLOG_IDENTIFIER"], one["MESSAGE"]) for one in entries if "RKTPY_POD" in one]
    assert ours == [("web", "hello"), ("web", "MESSAGE=x[1]: y")], answer


def test_limits_of_the_unit_bound_the_pod(stored: Rktpy, tmp_path: Path) -> None:
    """Without Delegate=yes the pod leaves the unit for a scope, which gets them."""
    command = run(stored, IMAGE, "--exec=/bin/sleep", "--", "600")
    unit = service(
        command, "Type=notify", "MemoryMax=123M", "TasksMax=77", "CPUQuota=37%", "Slice=own.slice", "MemoryAccounting=yes"
    )
    script = """
systemctl start web.service
scope=$(systemctl list-units --plain --no-legend 'rktpy-*-*-*.scope' | cut -d' ' -f1)
systemctl show -p Slice -p TasksMax -p CPUQuotaPerSecUSec -p MemoryMax -p MemoryLimit -p Delegate "$scope" >$answer
systemctl stop web.service
"""
    answer = booted({"web.service": unit, "own.slice": "[Slice]"}, script, tmp_path / "host").splitlines()
    assert {"Slice=own.slice", "TasksMax=77", "CPUQuotaPerSecUSec=370ms", "Delegate=yes"} <= set(answer), answer
    assert {f"MemoryMax={123 << 20}", f"MemoryLimit={123 << 20}"} & set(answer), answer


@pytest.mark.parametrize("alive", [True, False], ids=["alive", "stuck"])
def test_the_watchdog(stored: Rktpy, tmp_path: Path, alive: bool) -> None:
    """A pod whose systemd works keeps it away; one that is stuck is killed by the host's systemd."""
    unit = service(run(stored, IMAGE, "--exec=/bin/sleep", "--", "600"), "Type=notify", "WatchdogSec=1s", "Restart=no")
    stop = "" if alive else "kill -STOP $(pgrep -P $(systemctl show -P MainPID web.service))\n"
    wait = "sleep 3\n" if alive else WAIT.format("systemctl is-failed -q web.service")
    script = f"""
systemctl start web.service
{stop}{wait}
systemctl show -P ActiveState web.service >$answer
systemctl show -P Result web.service >>$answer
systemctl stop web.service
"""
    answer = booted({"web.service": unit}, script, tmp_path / "host").split()
    assert answer == (["active", "success"] if alive else ["failed", "watchdog"])
    assert stored("gc", "--grace-period=0s").returncode == 0


def test_an_app_that_speaks_keeps_the_watchdog_itself(stored: Rktpy, tmp_path: Path) -> None:
    """The watchdog's period is passed on to an app with supports-systemd-notify."""
    files: dict[str, bytes | str | None] = {"/bin/app": "/bin/busybox"}
    annotations = [{"name": "appc.io/executor/supports-systemd-notify", "value": "true"}]
    image = make_aci(tmp_path / "speaks.aci", "example.com/speaks", files, exec=["/bin/app"], annotations=annotations)
    stored(UNSIGNED, "fetch", str(image))
    identifier = "example.com/speaks:1"
    dry = stored(
        UNSIGNED, "run", "--net=none", "--dry-run", identifier,
        env={"WATCHDOG_USEC": "7000000", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ).stdout  # fmt: skip
    assert "Type=notify\nWatchdogSec=7000000us\n" in dry
    assert "[Timer]\nOnActiveSec=0\nOnUnitActiveSec=2333333us\n" in dry


@pytest.mark.parametrize("flavour", ["systemd", "fly"])
def test_an_app_that_speaks_says_itself_when_the_service_is_ready(stored: Rktpy, tmp_path: Path, flavour: str) -> None:
    """By an annotation of the pod's; the service is "activating" until then."""
    code = (
        "import os, socket, time\n"
        "while not os.path.exists('/go/now'): time.sleep(0.05)\n"
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"
        "time.sleep(600)\n"
    )
    go = tmp_path / "go"
    go.mkdir()
    one = app("", "web", annotations=[{"name": "appc.io/executor/supports-systemd-notify", "value": "true"}])
    one["app"]["exec"] = [PYTHON, "-IS", "-c", code]
    one["mounts"] = [{"volume": "go", "path": "/go"}]
    volumes = [{"name": "go", "kind": "host", "source": str(go)}]
    command = " ".join(
        stored.argv(UNSIGNED, "run", "--net=none", f"--stage1={flavour}", with_python(tmp_path, one, volumes=volumes))
    )
    script = f"""
systemctl start --no-block web.service
sleep 1.5
systemctl show -P ActiveState web.service >$answer
touch {go}/now
{WAIT.format("systemctl is-active -q web.service")}
systemctl show -P ActiveState web.service >>$answer
systemctl stop web.service
"""
    answer = booted({"web.service": service(command, "Type=notify")}, script, tmp_path / "host").split()
    assert answer == ["activating", "active"]


@pytest.mark.parametrize("flavour", ["systemd", "fly"])
def test_sockets_of_the_unit_reach_the_app(stored: Rktpy, tmp_path: Path, flavour: str) -> None:
    """The host's socket unit, the service, for a pod of systemd's the pod's socket unit, the app."""
    ports = [{"name": "web", "protocol": "tcp", "port": 7777, "count": 1, "socketActivated": True}]
    look = "echo served $LISTEN_FDS $LISTEN_FDNAMES; readlink /proc/self/fd/3"
    command = script_app(stored, tmp_path, f"{look}; exec sleep 600", ports=ports)
    command = command.replace("--net=none", f"--net=host --stage1={flavour}")
    units = {
        "web.service": service(command, "Type=notify", "SyslogIdentifier=web"),
        "web.socket": "[Socket]\nListenStream=7777\nFileDescriptorName=web\n",
    }
    script = (
        "ip link set lo up 2>/dev/null || :\nsystemctl start web.socket\n"
        "(echo | timeout 20 busybox nc 127.0.0.1 7777 >/dev/null) &\n"
        + WAIT.format("journalctl -q --since $since -o cat -t web | grep -q socket:")
        + "journalctl -q --since $since -o cat -t web >$answer\nsystemctl stop web.socket web.service\n"
    )
    answer = booted(units, script, tmp_path / "host")
    assert "served 1 web\nsocket:[" in answer


def test_machinectl_knows_the_pod(stored: Rktpy, tmp_path: Path) -> None:
    command = script_app(stored, tmp_path, "echo said; exec sleep 600")
    script = (
        "systemctl start web.service\nm=$(machinectl list --no-legend | cut -d' ' -f1)\n"
        + "machinectl status $m >$here/status 2>&1\n"
        + WAIT.format("journalctl -q -M $m -o cat | grep -q said")
        + """
journalctl -q -M $m -o short >$here/journal 2>&1
systemd-cgls -M $m --no-pager >$here/cgls 2>&1
shell="machinectl --quiet shell $m /bin/sh -c 'echo shell of \\$(hostname); ls /opt/stage2'"
timeout 20 script -qec "$shell" /dev/null >$here/shell 2>&1 </dev/null || :
machinectl terminate $m
"""
        + WAIT.format('[ "$(systemctl show -P ActiveState web.service)" != active ]')
        + "systemctl show -P Result -P ExecMainStatus web.service >>$answer; echo $m >>$answer\n"
    )
    answer = booted({"web.service": service(command, "Type=notify", "Delegate=yes")}, script, tmp_path / "host").split()
    host = tmp_path / "host"
    uuid = stored("list", "--full", "--no-legend").stdout.split("\t")[0]
    assert answer == ["success", "0", f"rkt-{uuid}"]
    assert "rktpy; class container" in (host / "status").read_text() and "web.service" in (host / "status").read_text()
    assert "web[" in (host / "journal").read_text() and "said" in (host / "journal").read_text()
    assert "web.service" in (host / "cgls").read_text() and "sleep 600" in (host / "cgls").read_text()
    shell = (host / "shell").read_text()
    assert f"shell of rkt-{uuid}" in shell and "web" in shell, shell
    assert "state=exited\n" in stored("status", uuid).stdout


@pytest.mark.skipif(not ON_THE_HOST, reason="needs a manager for users: tests/vm")
def test_a_unit_of_roots_own_manager(stored: Rktpy, tmp_path: Path) -> None:
    unit = service(run(stored, IMAGE, "--exec=/bin/sleep", "--", "600"), "Type=notify", "Delegate=yes")
    (tmp_path / "own.service").write_text(unit)
    script = f"""
systemctl start user@0.service
export XDG_RUNTIME_DIR=/run/user/0
mkdir -p /run/user/0/systemd/user
cp {tmp_path}/own.service /run/user/0/systemd/user/rktpy-own.service
systemctl --user daemon-reload
systemctl --user start rktpy-own.service
systemctl --user show -P SubState rktpy-own.service >$answer
systemctl --user stop rktpy-own.service
systemctl --user show -P Result rktpy-own.service >>$answer
rm /run/user/0/systemd/user/rktpy-own.service
"""
    assert booted({}, script, tmp_path / "host").split() == ["running", "success"]


def test_fetching_asks_for_time(rktpy: Rktpy, busybox_images: Path, tmp_path: Path) -> None:
    """Also where nothing is downloaded: an image is checked and unpacked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"), env=environment)
        said = [manager.recv(4096).decode() for _phase in range(2)]
    assert said == ["EXTEND_TIMEOUT_USEC=180000000\nWATCHDOG=1"] * 2


def test_a_users_unit_is_told_that_pods_need_root(stored: Rktpy, tmp_path: Path) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-I", "-c",
         f"import sys; sys.path[:0] = {__import__('sys').path!r}; sys.argv = ['rktpy', 'run', 'x']\n"
         "from rktpy.__main__ import console; console()"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 254 and done.stderr == "run: cannot run as unprivileged user\n", done
