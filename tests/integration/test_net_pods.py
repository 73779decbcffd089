"""Pods in networks, with the plugins of containernetworking-plugins on the real kernel."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from rktpy.errors import ConfigError, NetworkError, StateError, UsageError
from rktpy.formats.cni.result import DNS
from rktpy.net.bandwidth import Bandwidth
from rktpy.net.check import check_pod
from rktpy.net.garbage import AttachmentsInUse, collect_unused
from rktpy.net.masquerade import chain_name
from rktpy.net.ports import ForwardedPort
from rktpy.net.selection import lock_networks, parse_selection
from rktpy.net.set_up import Wishes, describe_networks
from tests.support.host_network import HostNetwork, Pod, run

pytestmark = pytest.mark.root

PLUGINS = "/usr/lib/cni"


def ping(pod: Pod, address: str) -> bool:
    """Whether an address answers the pod: a refused connection is an answer as well."""
    program = f"import socket; socket.create_connection(({address!r}, 1), 2)"
    done = pod.inside("/usr/bin/python3", "-c", f"try:\n {program}\nexcept OSError as e: print(e.errno)", status=None)
    return done.strip() == "111"


# -- the built-in networks ---------------------------------------------------------------------------------------------------


def test_default(host: HostNetwork) -> None:
    pod = host.pod()
    networks = pod.set_up()
    assert networks.netns == f"/run/netns/cni-{pod.uuid}" == (pod.path / "netns").read_text()
    (joined,) = networks.joined
    assert joined.name == "default" and joined.if_name == "eth0" and joined.ip_masq
    address = joined.addresses[0]
    assert address.ip.startswith("172.16.28.") and address.mask == "255.255.255.0"
    assert (networks.address, networks.host_address) == (address.ip, "172.16.28.1")
    assert networks.dns == (DNS(), "")
    shown = pod.inside("ip", "-o", "-4", "addr")
    assert f"eth0    inet {address.ip}/24" in shown and "127.0.0.1/8" in shown
    assert "default via 172.16.28.1" in pod.inside("ip", "route")
    assert ping(pod, "172.16.28.1") and ping(pod, "127.0.0.1")
    assert pod.net_info() == [
        {
            "netName": "default",
            "netConf": "net/99-default.conflist",
            "pluginPath": "/usr/lib/cni/ptp",
            "ifName": "eth0",
            "ip": address.ip,
            "args": "",
            "mask": "255.255.255.0",
            "hostIP": "172.16.28.1",
            "ipMasq": True,
        }
    ]
    config = json.loads((pod.path / "net/99-default.conflist").read_text())
    assert config["name"] == "default" and config["cniVersion"] == "1.0.0"
    assert pod.addresses() == [address.ip]
    assert [line.split()[0] for line in host.chains()] == [f":{chain_name('default', pod.uuid)}"]
    assert pod.uuid in run("ip", "netns", "list")
    assert check_pod(pod.fd) == ("default",)
    pod.tear_down()
    host.assert_clean()
    # It is still told what the pod was in.
    assert pod.net_info()[0]["ip"] == address.ip
    pod.tear_down()


def test_restricted(host: HostNetwork) -> None:
    pod = host.pod()
    networks = pod.set_up("default-restricted")
    assert networks.address.startswith("172.31.0.") and networks.host_address == "172.31.0.1"
    assert "default" not in pod.inside("ip", "route") and ping(pod, "172.31.0.1")
    assert host.chains() == []
    pod.tear_down()
    host.assert_clean()


def test_pods_reach_one_another(host: HostNetwork) -> None:
    one, other = host.pod(), host.pod()
    assert one.set_up().address != other.set_up().address
    assert ping(one, other.net_info()[0]["ip"])
    one.tear_down()
    assert ping(other, "172.16.28.1")
    other.tear_down()
    host.assert_clean()


def test_none_has_loopback_only(host: HostNetwork) -> None:
    pod = host.pod()
    networks = pod.set_up("none")
    assert networks.joined == () and networks.netns == "" and networks.address == "" and networks.host_address == ""
    assert pod.inside("ip", "-o", "link").count("\n") == 1 and ping(pod, "127.0.0.1")
    assert list(pod.path.iterdir()) == []
    with pytest.raises(UsageError, match="--port flag does not work with 'none' networking"):
        host.pod().set_up("none", Wishes(ports=(ForwardedPort("tcp", 1, 1),)))
    with pytest.raises(UsageError):
        host.pod().set_up("host")


# -- networks of the user ------------------------------------------------------------------------------------------------------


def test_bridge_with_arguments(host: HostNetwork) -> None:
    host.bridge()
    pod = host.pod()
    networks = pod.set_up("br:IP=10.77.0.42")
    assert [(joined.name, joined.if_name) for joined in networks.joined] == [("br", "eth0"), ("default-restricted", "eth1")]
    assert networks.address == "10.77.0.42" and networks.host_address == "10.77.0.1"
    assert "10.77.0.42/24" in pod.inside("ip", "-o", "addr", "show", "eth0")
    assert "172.31." in pod.inside("ip", "-o", "addr", "show", "eth1")
    info = pod.net_info()
    assert [(entry["netName"], entry["args"]) for entry in info] == [("br", "IP=10.77.0.42"), ("default-restricted", "")]
    assert check_pod(pod.fd) == ("br", "default-restricted")
    pod.tear_down()
    run("ip", "link", "del", "br0")
    host.assert_clean()


def test_configuration_of_rkt_s_time(host: HostNetwork) -> None:
    """One plugin, no version, as in rkt's documentation; ports are forwarded all the same."""
    ipam = host.ipam("10.78.0.0/24", routes=[{"dst": "0.0.0.0/0"}])
    host.configure("10-containers.conf", name="default", type="ptp", ipMasq=True, ipam=ipam)
    pod = host.pod()
    networks = pod.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    assert networks.address == "10.78.0.2" and networks.joined[0].host_ip == "10.78.0.1"
    cached = json.loads(next((pod.path / "net/results").iterdir()).read_text())
    assert cached["result"]["cniVersion"] in ("0.1.0", "0.2.0") and cached["result"]["ip4"]["ip"] == "10.78.0.2/24"
    assert any("--to-destination 10.78.0.2:80" in rule for rule in host.rules())
    pod.tear_down()
    host.assert_clean()


def test_both_families(host: HostNetwork) -> None:
    ranges = [[{"subnet": "fd00:77::/64"}], [{"subnet": "10.77.0.0/24"}]]
    host.bridge(name="default", ipam=host.ipam("", ranges=ranges), isDefaultGateway=True)
    pod = host.pod()
    networks = pod.set_up()
    assert [address.ip for address in networks.joined[0].addresses] == ["10.77.0.2", "fd00:77::2"]
    assert pod.net_info()[0]["ip"] == "10.77.0.2"
    pod.tear_down()
    assert "CNI-" not in run("ip6tables-save", "-t", "nat")
    run("ip", "link", "del", "default0")
    host.assert_clean()


def test_names_from_the_network(host: HostNetwork) -> None:
    (host.directory / "resolv.conf").write_text("nameserver 10.77.0.1\nsearch a.example\noptions rotate\n")
    ipam = host.ipam("10.77.0.0/24", resolvConf=str(host.directory / "resolv.conf"))
    host.configure("10-x.conf", cniVersion="0.3.1", name="x", type="ptp", ipam=ipam)
    networks = host.pod().set_up("x,default")
    dns, name = networks.dns
    assert name == "x" and dns == DNS(("10.77.0.1",), "", ("a.example",), ("rotate",))


def test_description(host: HostNetwork) -> None:
    host.bridge()
    wishes = Wishes(ports=(ForwardedPort("tcp", 8080, 80),), bandwidth=Bandwidth(1, 1))
    assert describe_networks("uuid", parse_selection("br"), str(host.config), wishes) == (
        "join network br as eth0 through bridge, bandwidth, portmap of CNI 0.4.0 (10-br.conflist)",
        "join network default-restricted as eth1 through ptp, bandwidth of CNI 1.0.0 (99-default-restricted.conflist)",
    )
    assert describe_networks("uuid", parse_selection("none"), str(host.config)) == ()


def test_wrong_networks(host: HostNetwork) -> None:
    pod = host.pod()
    with pytest.raises(NetworkError, match="networks not found: nowhere"):
        pod.set_up("nowhere")
    host.configure("10-x.conf", name="x", type="no-such-plugin")
    with pytest.raises(NetworkError, match='could not find plugin "no-such-plugin"'):
        pod.set_up("default,x")
    assert pod.traces() == [] and not (pod.path / "net-info.json").exists()
    (host.config / "net.d/10-x.conf").write_text("{")
    with pytest.raises(ConfigError):
        pod.set_up("default")
    host.assert_clean()


def test_a_pod_is_set_up_once(host: HostNetwork) -> None:
    pod = host.pod()
    pod.set_up()
    before = pod.addresses()
    with pytest.raises(StateError, match="were set up already"):
        pod.set_up()
    assert pod.addresses() == before and ping(pod, "172.16.28.1")


# -- failures ------------------------------------------------------------------------------------------------------------------


def test_second_plugin_of_a_list_fails(host: HostNetwork) -> None:
    host.plugin("broken", '#!/bin/sh\n[ $CNI_COMMAND = DEL ] && exit 0\necho \'{"code":7,"msg":"not today"}\'\nexit 1\n')
    ipam = host.ipam("10.77.0.0/24")
    plugins = [{"type": "ptp", "ipMasq": True, "ipam": ipam}, {"type": "broken"}]
    host.configure("99-x.conflist", cniVersion="1.0.0", name="x", plugins=plugins)
    pod = host.pod()
    with pytest.raises(NetworkError) as caught:
        pod.set_up("default,x")
    assert str(caught.value) == 'error adding network "x"'
    assert str(caught.value.__cause__) == "plugin broken failed on ADD: not today"
    assert not (pod.path / "net-info.json").exists()
    host.assert_clean()


def test_an_older_version_is_negotiated(host: HostNetwork) -> None:
    host.bridge(name="default")
    host.configure(
        "10-x.conflist",
        name="x",
        cniVersions=["0.4.0", "1.0.0", "1.1.0"],
        plugins=[{"type": "ptp", "ipam": host.ipam("10.79.0.0/24")}],
    )
    pod = host.pod()
    networks = pod.set_up("x,default-restricted")
    assert networks.joined[0].addresses[0].ip.startswith("10.79.0.")
    assert json.loads((pod.path / "net/10-x.conflist").read_text())["cniVersion"] == "1.0.0"
    assert check_pod(pod.fd) == ("x", "default-restricted")
    pod.tear_down()
    host.assert_clean()
    host.configure("10-x.conflist", name="x", cniVersion="1.1.0", plugins=[{"type": "ptp", "ipam": {"type": "static"}}])
    with pytest.raises(NetworkError) as caught:
        host.pod().set_up("x")
    assert "no version of CNI is common to its plugins: it asks for 1.1.0; ptp speaks 0.1.0" in str(caught.value.__cause__)
    host.assert_clean()


def test_plugin_is_gone_when_it_is_needed(host: HostNetwork, capfd: pytest.CaptureFixture[str]) -> None:
    host.plugin("mine", f'#!/bin/sh\nexec {PLUGINS}/ptp "$@"\n')
    host.configure("99-x.conf", name="x", type="mine", ipam=host.ipam("10.77.0.0/24"))
    pod = host.pod()
    pod.set_up("x,default")
    (host.config / "net.d/mine").unlink()
    pod.ends()
    with pytest.raises(NetworkError) as caught:
        pod.tear_down()
    assert str(caught.value) == f'error deleting network "x" of pod {pod.uuid}'
    assert str(caught.value.__cause__).startswith('could not find plugin "mine" in ')
    # The other network is gone, and the namespace is not held for the sake of this one.
    assert [trace for trace in pod.traces() if "default" in trace or "netns" in trace] == []
    host.plugin("mine", f'#!/bin/sh\nexec {PLUGINS}/ptp "$@"\n')
    pod.tear_down()
    host.assert_clean()


def test_namespace_is_gone(host: HostNetwork) -> None:
    """As when somebody took it away: addresses, ports and the rules of ptp go all the same."""
    pod = host.pod()
    pod.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    pod.ends()
    run("ip", "netns", "del", f"cni-{pod.uuid}")
    assert len(host.chains()) == 2
    pod.tear_down()
    host.assert_clean()


def test_namespace_of_a_user_namespace(host: HostNetwork) -> None:
    """As with --private-users: the namespace belongs to the pod's root, who is nobody on the host."""
    pod = host.pod()
    process = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "60"])
    host.processes.append(process)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
        assert time.monotonic() < deadline
    os.close(pod.netns)
    pod.netns = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    networks = pod.set_up("default", Wishes(ports=(ForwardedPort("tcp", 8080, 80),)))
    assert f"inet {networks.address}/24" in pod.inside("ip", "-o", "addr") and ping(pod, "127.0.0.1")
    pod.tear_down()
    process.kill()
    process.wait()
    pod.ends()
    host.assert_clean()


def test_many_pods_at_once(host: HostNetwork) -> None:
    """Set up and taken down by as many threads."""
    pods = [host.pod() for _ in range(8)]
    found: list[str] = []

    def come_and_go(number: int, pod: Pod) -> None:
        networks = pod.set_up("default,default-restricted", Wishes(ports=(ForwardedPort("tcp", 8000 + number, 80),)))
        found.extend(address.ip for joined in networks.joined for address in joined.addresses)
        if number % 2:
            pod.tear_down()

    threads = [threading.Thread(target=come_and_go, args=pair) for pair in enumerate(pods)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 16
    assert [bool(pod.traces()) for pod in pods] == [True, False] * 4
    for pod in pods:
        pod.tear_down()
    host.assert_clean()


def test_restart_of_the_machine(host: HostNetwork) -> None:
    """Rules, interfaces and /run are gone; what host-local keeps on disk is not."""
    pod = host.pod()
    pod.set_up("default,default-restricted")
    pod.ends()
    run("umount", f"/run/netns/cni-{pod.uuid}")
    os.unlink(f"/run/netns/cni-{pod.uuid}")
    run("iptables", "-t", "nat", "-F")
    run("iptables", "-t", "nat", "-X")
    assert len(pod.addresses()) == 2
    pod.tear_down()
    host.assert_clean()


def test_namespace_outlives_the_pod_s_mount_namespace(host: HostNetwork) -> None:
    """Set up in a mount namespace of the pod's own that nothing gets out of, as a stage1 does."""
    pod = host.pod()
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from rktpy.net.set_up import set_up; from rktpy.net.selection import parse_selection\n"
        "from rktpy.net.namespace import new_namespace\n"
        "ns = new_namespace()\n"
        "found = set_up(os.open(sys.argv[2], os.O_RDONLY), sys.argv[3], ns, parse_selection('default'), '/nowhere')\n"
        "assert os.stat(found.netns).st_ino == os.fstat(ns).st_ino\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    unshare = ["unshare", "--mount", "--propagation=private", "/usr/bin/python3", "-c", program]
    done = subprocess.run([*unshare, root, str(pod.path), pod.uuid], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr
    pod.ends()
    path = f"/run/netns/cni-{pod.uuid}"
    assert os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    assert len(host.interfaces()) == 1
    # Another pod's mount namespace with a copy of the mount must not keep it.
    copy = subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "60"])
    host.processes.append(copy)
    deadline = time.monotonic() + 5
    while os.readlink(f"/proc/{copy.pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
        assert time.monotonic() < deadline
    pod.tear_down()
    host.assert_clean()


# -- more wishes --------------------------------------------------------------------------------------------------------------


def test_bandwidth(host: HostNetwork) -> None:
    host.bridge()
    host.configure("20-mac.conf", cniVersion="0.4.0", name="lo-copy", type="loopback")
    pod = host.pod()
    networks = pod.set_up("br,default,lo-copy", Wishes(bandwidth=Bandwidth(8_000_000, 16_000_000)))
    assert networks.unlimited == ("lo-copy",)
    shown = run("tc", "qdisc")
    assert shown.count("tbf") == 4 and shown.count("rate 8Mbit") == 2 and shown.count("rate 16Mbit") == 2
    assert check_pod(pod.fd)
    pod.tear_down()
    run("ip", "link", "del", "br0")
    host.assert_clean()


def test_capabilities(host: HostNetwork) -> None:
    host.plugin("teller", f'#!/bin/sh\ncat >{host.directory}/told\necho \'{{"cniVersion":"1.0.0"}}\'\n')
    declared = {"dns": True, "mac": True, "ips": False, "cgroupPath": True}
    host.configure("10-x.conflist", cniVersion="1.0.0", name="x", plugins=[{"type": "teller", "capabilities": declared}])
    pod = host.pod()
    wishes = Wishes(
        dns=DNS(("10.0.0.1",), "", ("a.example",), ("rotate",)),
        capabilities={"mac": "02:00:00:00:00:01", "ips": ["10.0.0.2/24"], "cgroupPath": "/pod", "aliases": ["a"]},
    )
    networks = pod.set_up("x,default", wishes)
    assert networks.joined[0].addresses == () and networks.address.startswith("172.16.28.")
    assert json.loads((host.directory / "told").read_text())["runtimeConfig"] == {
        "dns": {"servers": ["10.0.0.1"], "searches": ["a.example"], "options": ["rotate"]},
        "mac": "02:00:00:00:00:01",
        "cgroupPath": "/pod",
    }
    pod.tear_down()


def test_check_finds_what_is_broken(host: HostNetwork) -> None:
    pod = host.pod()
    pod.set_up()
    pod.inside("ip", "addr", "flush", "dev", "eth0")
    with pytest.raises(NetworkError, match='network "default" is not as it should be'):
        check_pod(pod.fd)
    assert check_pod(host.pod().fd) == ()


def test_gc_of_what_no_pod_has(host: HostNetwork) -> None:
    """A plugin of CNI 1.1, a shell script, that keeps one file for each attachment."""
    host.plugin(
        "keeper",
        f"""#!/bin/sh
cd {host.directory}/kept || exit 1
case $CNI_COMMAND in
VERSION) echo '{{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}}' ;;
ADD) : >"$CNI_CONTAINERID.$CNI_IFNAME"; echo '{{"cniVersion":"1.1.0"}}' ;;
DEL) rm -f "$CNI_CONTAINERID.$CNI_IFNAME" ;;
GC)
    /usr/bin/python3 -c '
import json, os, sys
config = json.load(sys.stdin)
valid = {{x["containerID"] + "." + x["ifname"] for x in config["cni.dev/valid-attachments"]}}
for name in set(os.listdir(".")) - valid:
    os.unlink(name)
' ;;
esac
""",
    )
    kept = host.directory / "kept"
    kept.mkdir()
    document = {"cniVersion": "1.1.0", "name": "x", "plugins": [{"type": "keeper"}]}
    host.configure("10-x.conflist", **document)
    one, other = host.pod(), host.pod()
    one.set_up("x,default")
    other.set_up("x,default")
    (kept / "lost.eth0").touch()
    pods, config = str(host.directory / "pods"), str(host.config)
    with AttachmentsInUse(pods) as in_use:
        assert set(in_use.of("x")) == {(one.uuid, "eth0"), (other.uuid, "eth0")}
        assert in_use.of("y") == ()
        # Somebody changes the networks of a pod: not now.
        with pytest.raises(StateError), AttachmentsInUse(pods):
            pass
    shared = lock_networks(config)
    assert collect_unused(pods, config) == () and (kept / "lost.eth0").exists()
    os.close(shared)
    assert collect_unused(pods, config) == ()
    assert sorted(path.name for path in kept.iterdir()) == sorted(f"{pod.uuid}.eth0" for pod in (one, other))
    one.tear_down()
    with AttachmentsInUse(pods) as in_use:
        assert in_use.of("x") == ((other.uuid, "eth0"),)
    assert [path.name for path in kept.iterdir()] == [f"{other.uuid}.eth0"]
