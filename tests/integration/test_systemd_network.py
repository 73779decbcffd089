"""Networks of systemd pods as ``run`` makes them: addresses, names, ports, limits, and nothing of them after the pod's end."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rktpy.formats.stage1 import METADATA_PORT
from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.host_network import HostNetwork
from tests.support.leftovers import left_after_a_while, leftovers
from tests.support.metadata import Metadata
from tests.support.pod_manifests import app, isolators, pod_of
from tests.support.pods import BUSYBOX, UNSIGNED, Running, document, prepare, report, shell, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd", "kvm")]

DEFAULT = "--net=default"


@contextmanager
def server() -> Iterator[int]:
    """A server of the host on every address that says where a connection came from; its port."""
    with socket.create_server(("", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, peer = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(f"from {peer[0]}\n".encode())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def nothing_left(rktpy: Rktpy, host: HostNetwork, *uuids: str) -> None:
    """At once, and so after a collection."""
    assert [line for line in leftovers(rktpy.data, uuids) if not line.startswith("pod ")] == []
    host.assert_clean()
    rktpy("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert left_after_a_while(rktpy.data, uuids) == []


def test_default(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    with server() as port:
        script = (
            "ifconfig eth0 | grep -o 'inet addr:[0-9.]*' | cut -d: -f2; cat /etc/hosts; hostname; ip route | head -1;"
            f" nc 172.16.28.1 {port} </dev/null; nc 127.0.0.1 {port} </dev/null 2>/dev/null || echo own; exec sleep 60"
        )
        with Running(stored, tmp_path, script, pod=(DEFAULT,)) as pod:
            address = pod.line().strip()
            assert re.fullmatch(r"172\.16\.28\.\d+", address)
            lines = [pod.line()]
            while not lines[-1].startswith("own"):
                lines.append(pod.line())
                assert lines[-1]
            text = "".join([f"{line.rstrip()}\n" for line in lines])
            assert f"{address}\trkt-{pod.uuid}\n" in text and "127.0.0.1\tlocalhost" in text.replace(" ", "\t")
            assert text.endswith(f"rkt-{pod.uuid}\ndefault via 172.16.28.1 dev eth0\nfrom {address}\nown\n")
            assert f"default:ip4={address}" in stored("list").stdout
            assert f"networks=default:ip4={address}" in stored("status", pod.uuid).stdout.splitlines()
            (network,) = document(stored, pod.uuid)["networks"]
            assert (network["netName"], network["ip"], network["ifName"]) == ("default", address, "eth0")
            # What enters is in the same network.
            assert (
                stored("enter", pod.uuid, "/bin/nc", "172.16.28.1", str(port), stdin=subprocess.DEVNULL).stdout
                == f"from {address}\n"
            )
            stored("stop", pod.uuid)
            assert pod.process.wait(10) == 0
    assert f"default:ip4={address}" in stored("status", pod.uuid).stdout
    nothing_left(stored, host, pod.uuid)


@pytest.mark.stage1("systemd")
def test_none_and_host(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    with server() as port:
        look = (
            "ls /sys/class/net; ping -c1 -W1 127.0.0.1 >/dev/null && echo loopback;"
            f" nc 127.0.0.1 {port} </dev/null 2>/dev/null; true"
        )
        assert shell(stored, look, pod=("--net=none",)).stdout == "lo\nloopback\n"
        assert shell(stored, look, pod=("--net=host",)).stdout == "lo\nloopback\nfrom 127.0.0.1\n"
    for uuid in states(stored):
        assert "networks" not in document(stored, uuid) and "networks=" in stored("status", uuid).stdout.splitlines()
    assert "--port" in shell(stored, "true", pod=("--net=none", "--port=x:1"), status=254).stderr
    nothing_left(stored, host, *states(stored))


def test_a_network_of_the_user(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """With arguments for its plugins, and names of its own; it comes before the restricted one that is added."""
    dns = {"nameservers": ["10.77.0.53"], "domain": "inner.test", "search": ["a.test", "b.test"], "options": ["ndots:3"]}
    host.bridge(dns=dns)
    script = "ifconfig | grep -o 'inet addr:[0-9.]*'; cat /etc/resolv.conf"
    out = shell(stored, script, pod=("--net=br:IP=10.77.0.42",)).stdout.splitlines()
    assert out[0] == "inet addr:10.77.0.42" and out[1].startswith("inet addr:172.31.")
    text = "\n".join(out[3:])
    assert "nameserver 10.77.0.53" in text and "search a.test b.test" in text and "options ndots:3" in text
    # What the user says counts more.
    out = shell(stored, "cat /etc/resolv.conf", pod=("--net=br", "--dns=192.0.2.1", "--dns-search=mine.test")).stdout.splitlines()
    assert "nameserver 192.0.2.1" in out and "search mine.test" in out and not any("10.77.0.53" in line for line in out)
    assert shell(stored, "test -e /etc/resolv.conf || echo none", pod=("--net=br", "--dns=none")).stdout == "none\n"
    uuids = list(states(stored))
    subprocess.run(["ip", "link", "del", "br0"], check=True)
    nothing_left(stored, host, *uuids)


def test_networks_that_are_not_there(stored: Rktpy, host: HostNetwork) -> None:
    done = shell(stored, "echo ran", pod=("--net=nowhere",), status=254)
    assert "nowhere" in done.stderr and done.stdout == ""
    # One plugin of a list fails: what the others did is undone.
    host.bridge(ipam={"type": "not-there"})
    done = shell(stored, "echo ran", pod=("--net=default,br",), status=254)
    assert "not-there" in done.stderr and done.stdout == ""
    uuids = list(states(stored))
    subprocess.run(["ip", "link", "del", "br0"], check=False)
    nothing_left(stored, host, *uuids)


def test_names(stored: Rktpy, host: HostNetwork) -> None:
    flags = (DEFAULT, "--hosts-entry=192.0.2.7=alpha", "--hostname=named")
    out = shell(stored, "cat /etc/hosts; hostname", pod=flags).stdout.splitlines()
    assert "192.0.2.7 alpha" in out and out[-1] == "named"
    nothing_left(stored, host, *states(stored))


@pytest.fixture
def web(stored: Rktpy, tmp_path: Path) -> Rktpy:
    """The command with an image that offers a port."""
    tool = need_tool("busybox")
    files: dict[str, bytes | str | None] = {"/bin/busybox": tool, "/bin/sh": tool}
    script = "while :; do echo served by $AC_APP_NAME | busybox nc -l -p 80; done"
    ports = {"ports": [{"name": "http", "protocol": "tcp", "port": 80}]}
    prepare(stored, str(make_aci(tmp_path / "web.aci", "example.com/web", files, exec=["/bin/sh", "-c", script], app=ports)))
    return stored


@contextmanager
def serving(rktpy: Rktpy, directory: Path, *flags: str) -> Iterator[str]:
    """A pod of that image; its UUID."""
    uuid_file = directory / f"uuid-{len(list(directory.iterdir()))}"
    argv = rktpy.argv(UNSIGNED, "run", DEFAULT, f"--uuid-file-save={uuid_file}", *flags, "example.com/web")
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for("the pod", lambda: process.poll() is None and uuid_file.exists() and uuid_file.read_text())
            rktpy("status", "--wait-ready=20s", uuid_file.read_text())
            yield uuid_file.read_text()
        finally:
            process.terminate()
            process.wait(10)


def answer(address: str, port: int) -> str:
    """What a server says, with some patience: one that takes a connection at a time may not listen yet."""
    done = ""

    def asked() -> bool:
        nonlocal done
        try:
            with socket.create_connection((address, port), 3) as connection:
                done = connection.recv(100).decode()
        except OSError:
            return False
        return bool(done)

    wait_for(f"an answer of {address}", asked, 5)
    return done


def test_ports(web: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """On all addresses of the host, or on one."""
    subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    with serving(web, tmp_path, "--port=http:8080") as everywhere:
        for address in ("127.0.0.1", "192.0.2.1", "172.16.28.1"):
            assert answer(address, 8080) == "served by web\n"
        with serving(web, tmp_path, "--port=http:127.0.0.1:8081") as one:
            assert answer("127.0.0.1", 8081) == "served by web\n"
            with pytest.raises(OSError):
                socket.create_connection(("192.0.2.1", 8081), 1)
    subprocess.run(["ip", "address", "del", "192.0.2.1/32", "dev", "lo"], check=True)
    nothing_left(web, host, everywhere, one)


def test_a_port_that_another_pod_has(web: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """The second pod is refused, and the first one keeps its port."""
    with serving(web, tmp_path, "--port=http:8080") as first:
        done = web(UNSIGNED, "run", DEFAULT, "--port=http:8080", "example.com/web", status=254)
        assert done.stdout == "" and "8080" in done.stderr, done.stderr
        assert answer("127.0.0.1", 8080) == "served by web\n"
    # Free again.
    with serving(web, tmp_path, "--port=http:8080") as third:
        assert answer("127.0.0.1", 8080) == "served by web\n"
    nothing_left(web, host, first, third, *states(web))


def test_bandwidth(stored: Rktpy, host: HostNetwork, tmp_path: Path) -> None:
    """Of the pod's traffic in both directions; told as shared when several apps have it together."""
    asked = isolators(resource__network_bandwidth={"default": True, "limit": "1M"})
    uuid_file = tmp_path / "uuid"
    for apps, outcome in (([app("exec sleep 60", isolators=asked)], "enforced"),
                          ([app("exec sleep 60", "one", isolators=asked), app("exec sleep 60", "two")], "changed")):  # fmt: skip
        argv = stored.argv(UNSIGNED, "run", DEFAULT, f"--uuid-file-save={uuid_file}", pod_of(tmp_path, *apps))
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for("the pod", lambda: uuid_file.exists() and uuid_file.read_text())
                uuid = uuid_file.read_text()
                stored("status", "--wait-ready=20s", uuid)
                shown = subprocess.run(["tc", "qdisc"], stdout=subprocess.PIPE, text=True, check=True).stdout
                assert shown.count("tbf") == 2, shown
                assert report(stored, uuid) == {"resource/network-bandwidth": outcome}
            finally:
                process.terminate()
                process.wait(10)
        uuid_file.unlink()
        nothing_left(stored, host, uuid)
    done = stored(UNSIGNED, "run", "--strict", "--net=host", pod_of(tmp_path, app("echo ran", isolators=asked)), status=254)
    assert done.stdout == ""


def test_the_metadata_service(rktpy: Rktpy, template: Path, run_dir: Path, host: HostNetwork, tmp_path: Path) -> None:
    """Apps are told where it is: on the host's side of the pod's network."""
    rktpy.data.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{template}/.", rktpy.data], check=True)
    script = 'echo $AC_METADATA_URL; wget -q -O - "$AC_METADATA_URL/acMetadata/v1/pod/uuid"; echo'
    with Metadata(rktpy, tmp_path, run_dir, port=METADATA_PORT) as service:
        service.said("running")
        done = rktpy(
            UNSIGNED,
            "run",
            DEFAULT,
            "--mds-register",
            f"--uuid-file-save={tmp_path}/u",
            BUSYBOX,
            "--exec=/bin/sh",
            "--",
            "-c",
            script,
        )
    url, uuid = done.stdout.splitlines()
    assert re.fullmatch(rf"http://172\.16\.28\.1:{METADATA_PORT}/[0-9a-f]{{32}}", url)
    assert uuid == (tmp_path / "u").read_text()
    manifest = json.loads(rktpy("cat-manifest", uuid).stdout)
    assert manifest["apps"][0]["name"] == "busybox" and os.path.isdir(run_dir)
