"""Ports of the host that lead into pods, with the plugin portmap on the real kernel."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from rktpy.errors import NetworkError
from rktpy.net.ports import ForwardedPort
from rktpy.net.set_up import Wishes
from tests.support.host_network import HostNetwork, Pod, run

pytestmark = pytest.mark.root


def serve(pod: Pod, port: int, kind: str = "tcp") -> None:
    """Something in the pod that answers with the pod's UUID."""
    program = (
        "import socket\n"
        f"udp = {kind == 'udp'}\n"
        f"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)\n"
        f"s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', {port}))\n"
        "if not udp: s.listen()\n"
        "while True:\n"
        "  if udp: s.sendto(UUID, s.recvfrom(100)[1])\n"
        "  else:\n"
        "    c, _ = s.accept(); c.sendall(UUID); c.close()\n"
    ).replace("UUID", repr(pod.uuid.encode()))
    pod.serve("/usr/bin/python3", "-c", program)
    deadline = time.monotonic() + 10
    pattern = f":{port} "
    while pattern not in pod.inside("ss", "-lntuH"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ask(address: str, port: int, kind: str = "tcp") -> str:
    """What answers at an address of the host, asked from the host; empty when nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as asking:
        asking.settimeout(2)
        try:
            asking.connect((address, port))
            if kind == "udp":
                asking.send(b"?")
            return asking.recv(100).decode()
        except OSError:
            return ""


def add_outside(host: HostNetwork) -> Pod:
    """Another machine: a namespace with a link to the host, which is 192.0.2.1 for it."""
    other = host.pod()
    run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0")
    run("ip", "link", "set", "down0", "netns", f"/proc/{os.getpid()}/fd/{other.netns}")
    run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    run("ip", "link", "set", "up0", "up")
    other.inside("ip", "addr", "add", "192.0.2.2/24", "dev", "down0")
    other.inside("ip", "link", "set", "down0", "up")
    return other


def ask_from(other: Pod, address: str, port: int) -> str:
    program = f"import socket; print(socket.create_connection(({address!r}, {port}), 2).recv(100).decode())"
    return other.inside("/usr/bin/python3", "-c", program, status=None).strip()


def test_forwarded_ports(host: HostNetwork) -> None:
    other = add_outside(host)
    pod = host.pod()
    ports = (
        ForwardedPort("tcp", 8080, 80),
        ForwardedPort("tcp", 8443, 443, "127.0.0.1"),
        ForwardedPort("tcp", 8081, 443, "192.0.2.1"),
        ForwardedPort("udp", 5300, 53),
        ForwardedPort("tcp", 9000, 9100, count=3),
    )
    networks = pod.set_up("default", Wishes(ports=ports))
    for port, kind in ((80, "tcp"), (443, "tcp"), (53, "udp"), (9102, "tcp")):
        serve(pod, port, kind)
    assert ask("127.0.0.1", 8080) == ask("192.0.2.1", 8080) == ask_from(other, "192.0.2.1", 8080) == pod.uuid
    assert ask("127.0.0.1", 8443) == pod.uuid and ask("192.0.2.1", 8443) == ask_from(other, "192.0.2.1", 8443) == ""
    assert ask("192.0.2.1", 8081) == ask_from(other, "192.0.2.1", 8081) == pod.uuid and ask("127.0.0.1", 8081) == ""
    assert ask("127.0.0.1", 5300, "udp") == pod.uuid
    assert ask("127.0.0.1", 9002) == pod.uuid and ask("127.0.0.1", 9003) == ""
    # From another pod, and from the pod itself through the host.
    second = host.pod()
    second.set_up()
    assert ask_from(second, networks.host_address, 8080) == ask_from(pod, networks.host_address, 8080) == pod.uuid
    pod.tear_down()
    second.tear_down()
    run("ip", "link", "del", "up0")
    host.assert_clean()


def test_ports_go_to_the_network_that_masquerades(host: HostNetwork) -> None:
    host.bridge(ipMasq=False)
    pod = host.pod()
    networks = pod.set_up("br,default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    assert networks.main is not None and networks.main.name == "default"
    assert any(f"--to-destination {networks.address}:80" in rule for rule in host.rules())
    assert "portmap" not in (pod.path / "net/10-br.conflist").read_text()
    pod.tear_down()
    last = host.pod()
    networks = last.set_up("br", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    assert networks.address.startswith("172.31.") and any(f"{networks.address}:80" in rule for rule in host.rules())
    last.tear_down()
    run("ip", "link", "del", "br0")
    host.assert_clean()


def test_ports_go_to_the_network_that_is_made_for_them(host: HostNetwork) -> None:
    ipam = host.ipam("10.77.0.0/24")
    plugins = [{"type": "ptp", "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    host.configure("10-x.conflist", cniVersion="1.0.0", name="x", plugins=plugins)
    pod = host.pod()
    pod.set_up("x,default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    assert any("--to-destination 10.77.0.2:80" in rule for rule in host.rules())
    assert len(json.loads((pod.path / "net/10-x.conflist").read_text())["plugins"]) == 2


def test_port_of_a_running_pod(host: HostNetwork) -> None:
    one, other = host.pod(), host.pod()
    one.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8080, 80), ForwardedPort("tcp", 9000, 1, "127.0.0.1"))))
    with pytest.raises(NetworkError) as caught:
        other.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8000, 8000, count=100),)))
    assert str(caught.value) == f"port tcp-0.0.0.0:8000-8099 already mapped to port 80 of pod {one.uuid}"
    assert other.traces() == []
    ports = (ForwardedPort("tcp", 8081, 80), ForwardedPort("udp", 8080, 80), ForwardedPort("tcp", 9000, 1, "127.0.0.2"))
    other.set_up("default", Wishes(ports=ports))


@pytest.mark.parametrize("state", ["run", "exited-garbage"])
def test_port_of_a_pod_that_has_ended(host: HostNetwork, state: str) -> None:
    """Its rules come first and would swallow what is meant for the new pod."""
    one, other = host.pod(), host.pod()
    one.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    one.ends()
    if state != "run":
        (host.directory / "pods" / state).mkdir()
        one.path = one.path.rename(host.directory / "pods" / state / one.uuid)
    networks = other.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    assert one.traces() == []
    serve(other, 80)
    assert ask("127.0.0.1", 8080) == other.uuid and networks.address
    other.tear_down()
    host.assert_clean()
