"""Networks whose setting up or taking down was killed leave nothing behind after the next tear_down."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from rktpy.net.ports import ForwardedPort
from rktpy.net.set_up import Wishes
from tests.conftest import ROOT
from tests.support.host_network import KILLED, HostNetwork, killed

pytestmark = pytest.mark.root

_MOST = 200


def test_killed_at_every_step_of_set_up(host: HostNetwork) -> None:
    ended = 0
    for count in range(1, _MOST):
        pod = host.pod()
        was_killed = killed(pod, "up", "default,default-restricted", count)
        pod.ends()
        pod.tear_down()
        assert pod.traces() == [], f"killed at call {count}"
        shutil.rmtree(pod.path)  # the next one would look at its ports
        if not was_killed:
            ended = count
            break
    # Fewer would mean that the calls are not seen any more.
    assert 40 < ended < _MOST
    host.assert_clean()


def test_killed_at_every_step_of_tear_down(host: HostNetwork) -> None:
    ended = 0
    for count in range(1, _MOST):
        pod = host.pod()
        pod.set_up("default,default-restricted", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
        was_killed = killed(pod, "down", "", count)
        pod.ends()
        pod.tear_down()
        assert pod.traces() == [], f"killed at call {count}"
        shutil.rmtree(pod.path)  # the next one would look at its ports
        if not was_killed:
            ended = count
            break
    assert 15 < ended < _MOST
    host.assert_clean()


def test_plugin_outlives_the_command(host: HostNetwork) -> None:
    """The command is killed while a plugin is at work: taking down waits for its end, so that it does not add afterwards."""
    fifo = host.directory / "go"
    os.mkfifo(fifo)
    host.plugin(
        "slow",
        f"#!/bin/sh\nif [ $CNI_COMMAND = ADD ]; then echo $$ >{host.directory}/pid; read x <{fifo}; fi\nexec /usr/lib/cni/ptp\n",
    )
    host.configure("10-x.conf", cniVersion="0.4.0", name="x", type="slow", ipMasq=True, ipam=host.ipam("10.77.0.0/24"))
    pod = host.pod()
    argv = [sys.executable, "-S", "-c", KILLED, str(ROOT), "up", str(pod.path), pod.uuid, "x", str(host.config), "100000"]
    command = subprocess.Popen([*argv, f"/proc/{os.getpid()}/fd/{pod.netns}"])
    deadline = time.monotonic() + 20
    while not (host.directory / "pid").exists() or not (host.directory / "pid").read_text():
        assert time.monotonic() < deadline and command.poll() is None
        time.sleep(0.01)
    command.send_signal(signal.SIGKILL)
    command.wait()
    pod.ends()
    down = threading.Thread(target=pod.tear_down)
    down.start()
    time.sleep(0.3)
    assert down.is_alive(), "it did not wait"
    fifo.write_text("go\n")
    down.join(20)
    assert not down.is_alive()
    host.assert_clean()


def test_plugin_is_killed_half_way(host: HostNetwork) -> None:
    """ptp is killed after its address was given out, and after its interface was made."""
    for point in ("host-local", "iptables"):
        wrapper = host.directory / point
        wrapper.mkdir()
        real = "/usr/lib/cni/host-local" if point == "host-local" else "/usr/sbin/iptables"
        (wrapper / point).write_text(f'#!/bin/sh\n{real} "$@"\nif [ "$CNI_COMMAND" = ADD ]; then kill -9 $PPID; fi\n')
        (wrapper / point).chmod(0o755)
        pod = host.pod()
        ipam = host.ipam("10.77.0.0/24")
        host.configure("10-x.conf", cniVersion="0.4.0", name="x", type="ptp", ipMasq=True, ipam=ipam)
        if point == "host-local":
            (host.config / "net.d/host-local").symlink_to(wrapper / point)
        program = KILLED.replace(
            "left = int(count)", f"os.environ['PATH'] = '{wrapper}:' + os.environ['PATH']; left = int(count)"
        )
        argv = [sys.executable, "-S", "-c", program, str(ROOT), "up", str(pod.path), pod.uuid, "x", str(host.config), "100000"]
        done = subprocess.run(
            [*argv, f"/proc/{os.getpid()}/fd/{pod.netns}"], capture_output=True, text=True, timeout=60, check=False
        )
        assert "plugin ptp failed on ADD (killed by signal 9)" in done.stderr
        pod.ends()
        pod.tear_down()
        assert pod.traces() == []
        (host.config / "net.d/host-local").unlink(missing_ok=True)
    host.assert_clean()
