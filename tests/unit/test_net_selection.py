"""Which networks a pod joins (rktpy/net/selection.py) and which ports lead into it (rktpy/net/ports.py)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import ConfigError, NetworkError, UsageError
from rktpy.formats.pod import PodManifest
from rktpy.net.bandwidth import Bandwidth, with_bandwidth
from rktpy.net.ports import ForwardedPort, forwarded_ports, port_mappings
from rktpy.net.resolv_conf import resolv_conf
from rktpy.net.selection import Chosen, choose_networks, parse_arguments, parse_selection


def chosen(local: Path, net: str) -> list[str]:
    return [entry.network.name for entry in choose_networks(parse_selection(net), str(local))]


def configure(local: Path, file_name: str, **members: Any) -> Path:
    path = local / "net.d" / file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "bridge", **members}))
    return path


def test_net_flag() -> None:
    assert parse_selection("").networks == (("default", ""),)
    selection = parse_selection("a:IP=10.1.0.3;K=V,default,b")
    assert selection.networks == (("a", "IP=10.1.0.3;K=V"), ("default", ""), ("b", ""))
    assert "a" in selection and "c" not in selection and not selection.host and not selection.none
    assert parse_selection("none").none and parse_selection("none,host").host and not parse_selection("none,host").none


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,,b", "netname must not be empty"),
        (":K=V", "netname must not be empty"),
        ("a,a", 'found duplicate netname "a"'),
        ("host:K=V", 'arguments are not supported by special netname "host"'),
        ("all:", 'arguments are not supported by special netname "all"'),
        ("a:b", "'b' is not of the form K=V"),
        ("a:=v", "'=v' is not of the form K=V"),
        ("a:K=V;", "'' is not of the form K=V"),
    ],
)
def test_wrong_net_flags(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selection(text)
    assert problem in str(caught.value)


def test_arguments() -> None:
    assert parse_arguments("IP=1.2.3.4;X=a:b=c", "n") == (("IP", "1.2.3.4"), ("X", "a:b=c"))
    # An address of IPv6 has colons.
    assert parse_selection("a:IP=fd00::1").networks == (("a", "IP=fd00::1"),)


def test_builtin_networks(tmp_path: Path) -> None:
    (default,) = choose_networks(parse_selection("default"), "")
    plugin = default.network.plugins[0].document
    assert plugin["type"] == "ptp" and plugin["ipMasq"] is True and default.network.ip_masq
    assert plugin["ipam"] == {"type": "host-local", "subnet": "172.16.28.0/24", "routes": [{"dst": "0.0.0.0/0"}]}
    (restricted,) = choose_networks(parse_selection("default-restricted"), "")
    plugin = restricted.network.plugins[0].document
    assert plugin["type"] == "ptp" and not restricted.network.ip_masq
    assert plugin["ipam"] == {"type": "host-local", "subnet": "172.31.0.0/16", "routes": []}
    assert chosen(tmp_path, "none") == chosen(tmp_path, "host") == []
    assert chosen(tmp_path, "all") == ["default-restricted", "default"]


def test_order_is_that_of_the_files(tmp_path: Path) -> None:
    configure(tmp_path, "20-b.conf", name="b")
    configure(tmp_path, "10-a.conflist", name="a", type=None, cniVersion="1.0.0", plugins=[{"type": "ptp"}])
    configure(tmp_path, "99-z.conf", name="z")
    configure(tmp_path, "readme.txt", name="c")
    assert chosen(tmp_path, "z,b,a,default") == ["a", "b", "default", "z"]
    assert chosen(tmp_path, "all") == ["a", "b", "default-restricted", "default", "z"]


def test_restricted_joins_where_default_is_not(tmp_path: Path) -> None:
    configure(tmp_path, "10-a.conf", name="a")
    assert chosen(tmp_path, "a") == ["a", "default-restricted"]
    assert chosen(tmp_path, "a,default") == ["a", "default"]
    assert chosen(tmp_path, "a,default-restricted") == ["a", "default-restricted"]


def test_a_user_s_network_replaces_the_builtin_one(tmp_path: Path) -> None:
    configure(tmp_path, "50-mine.conf", name="default", bridge="mine")
    (entry,) = choose_networks(parse_selection("default"), str(tmp_path))
    assert (entry.file_name, entry.network.plugins[0].document["bridge"]) == ("50-mine.conf", "mine")
    assert not entry.network.ip_masq


def test_first_of_two_counts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path, "10-a.conf", name="a", bridge="first")
    configure(tmp_path, "20-a.conf", name="a", bridge="second")
    entry = choose_networks(parse_selection("a:IP=10.0.0.1,default"), str(tmp_path))[0]
    assert entry.network.plugins[0].document["bridge"] == "first" and entry.arguments == "IP=10.0.0.1"
    assert 'networking: "a" network already defined, ignoring 20-a.conf' in capfd.readouterr().err


def test_missing_networks(tmp_path: Path) -> None:
    configure(tmp_path, "10-a.conf", name="a")
    with pytest.raises(NetworkError, match=r"^networks not found: x, y$"):
        chosen(tmp_path, "x,a,y")


def test_a_broken_file_stops_every_pod(tmp_path: Path) -> None:
    """It may be the one that replaces ``default``: no pod must get ours instead."""
    path = configure(tmp_path, "10-default.conf", name="default")
    path.write_text('{"name": "default", "type": "bridge",}')
    with pytest.raises(ConfigError, match=r"net\.d/10-default\.conf: not JSON"):
        chosen(tmp_path, "default")
    path.write_text(" " * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than"):
        chosen(tmp_path, "default")


def test_special_names_are_not_networks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path, "10-all.conf", name="all")
    assert chosen(tmp_path, "all") == ["default-restricted", "default"]
    assert "has a meaning of its own" in capfd.readouterr().err


def test_what_is_not_a_file_is_passed_over(tmp_path: Path) -> None:
    configure(tmp_path, "10-a.conf", name="a")
    (tmp_path / "net.d/5-dir.conf").mkdir()
    os.mkfifo(tmp_path / "net.d/6-fifo.conf")
    assert chosen(tmp_path, "a,default") == ["a", "default"]


def test_plugins_in_files_of_their_own(tmp_path: Path) -> None:
    configure(tmp_path, "10-a.conflist", name="a", type=None, cniVersion="1.1.0", plugins=[{"type": "ptp"}])
    more = tmp_path / "net.d/a"
    more.mkdir()
    (more / "20-y.conf").write_text('{"type": "tuning"}')
    (more / "10-x.conf").write_text('{"type": "firewall"}')

    def types() -> list[str]:
        entry = choose_networks(parse_selection("a,default"), str(tmp_path))[0]
        return [plugin.type for plugin in entry.network.plugins]

    assert types() == ["ptp", "firewall", "tuning"]
    configure(
        tmp_path, "10-a.conflist", name="a", type=None, cniVersion="1.1.0", plugins=[{"type": "ptp"}], loadOnlyInlinedPlugins=True
    )
    assert types() == ["ptp"]
    configure(tmp_path, "10-a.conflist", name="a", type=None, cniVersion="1.1.0")
    assert types() == ["firewall", "tuning"]
    for path in more.iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="no plugins in the list"):
        types()


# -- ports ----------------------------------------------------------------------------------------------------------------


def manifest(*exposed: dict[str, Any], ports: tuple[dict[str, Any], ...] = ()) -> PodManifest:
    app = {
        "name": "a",
        "image": {"id": "sha512-" + "ab" * 64},
        "app": {"exec": ["/x"], "user": "0", "group": "0", "ports": list(ports)},
    }
    return PodManifest.from_dict({"acKind": "PodManifest", "acVersion": "0.8.11", "apps": [app], "ports": list(exposed)})


WWW = {"name": "www", "protocol": "tcp", "port": 80}


def test_ports_by_name() -> None:
    (port,) = forwarded_ports(manifest({"name": "www", "hostPort": 8080}, ports=(WWW,)))
    assert port == ForwardedPort("tcp", 8080, 80) and str(port) == "tcp-0.0.0.0:8080"
    assert port_mappings((port,)) == [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]


def test_ports_of_the_pod() -> None:
    pod_port = {"name": "dns", "protocol": "UDP", "port": 53}
    (port,) = forwarded_ports(manifest({"name": "dns", "hostPort": 5353, "hostIP": "127.0.0.1", "podPort": pod_port}))
    assert port.mappings() == [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"}]
    (port,) = forwarded_ports(manifest({"name": "x", "hostPort": 5, "hostIP": "0.0.0.0", "podPort": pod_port}))
    assert port.host_ip == ""


def test_port_ranges() -> None:
    (port,) = forwarded_ports(manifest({"name": "www", "hostPort": 8000}, ports=({**WWW, "count": 3},)))
    assert [(entry["hostPort"], entry["containerPort"]) for entry in port.mappings()] == [(8000, 80), (8001, 81), (8002, 82)]
    assert str(port) == "tcp-0.0.0.0:8000-8002"
    with pytest.raises(NetworkError, match="3 ports from 65534 on go beyond 65535"):
        forwarded_ports(manifest({"name": "www", "hostPort": 65534}, ports=({**WWW, "count": 3},)))


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        (ForwardedPort("tcp", 80, 1), ForwardedPort("tcp", 80, 2), True),
        (ForwardedPort("tcp", 80, 1), ForwardedPort("udp", 80, 2), False),
        (ForwardedPort("tcp", 80, 1), ForwardedPort("tcp", 81, 2), False),
        (ForwardedPort("tcp", 80, 1, "10.0.0.1"), ForwardedPort("tcp", 80, 2), True),
        (ForwardedPort("tcp", 80, 1, "10.0.0.1"), ForwardedPort("tcp", 80, 2, "10.0.0.1"), True),
        (ForwardedPort("tcp", 80, 1, "10.0.0.1"), ForwardedPort("tcp", 80, 2, "127.0.0.1"), False),
        (ForwardedPort("tcp", 80, 1, count=10), ForwardedPort("tcp", 89, 2), True),
        (ForwardedPort("tcp", 80, 1, count=10), ForwardedPort("tcp", 90, 2), False),
    ],
)
def test_port_conflicts(one: ForwardedPort, other: ForwardedPort, conflict: bool) -> None:
    assert one.conflicts(other) is conflict and other.conflicts(one) is conflict


def test_wrong_ports() -> None:
    with pytest.raises(NetworkError, match='port name "x" could not be found in any apps'):
        forwarded_ports(manifest({"name": "x", "hostPort": 1}, ports=(WWW,)))
    with pytest.raises(NetworkError, match='port name "www" defined multiple apps'):
        forwarded_ports(manifest({"name": "www", "hostPort": 1}, ports=(WWW, WWW)))
    with pytest.raises(NetworkError, match=r"port tcp-0\.0\.0\.0:1 already mapped to pod port 80"):
        forwarded_ports(manifest({"name": "www", "hostPort": 1}, {"name": "www", "hostPort": 1}, ports=(WWW,)))
    with pytest.raises(NetworkError, match="protocol 'dccp' cannot be forwarded"):
        forwarded_ports(manifest({"name": "www", "hostPort": 1}, ports=({**WWW, "protocol": "dccp"},)))


# -- what is added to a network --------------------------------------------------------------------------------------------


def network(**members: Any) -> Chosen:
    from rktpy.formats.cni.configuration import parse_network

    return Chosen(parse_network(json.dumps({"name": "n", **members}).encode(), "x"), "x")


def test_bandwidth() -> None:
    assert Bandwidth(8_000_000, 100_000_000).capability() == {
        "ingressRate": 8_000_000,
        "ingressBurst": 2_000_000,
        "egressRate": 100_000_000,
        "egressBurst": 25_000_000,
    }
    assert Bandwidth(egress=1000).capability() == {"egressRate": 1000, "egressBurst": 524288}
    assert Bandwidth(egress=10**15).capability()["egressBurst"] // 8 < 2**32
    limited = with_bandwidth(network(type="ptp", cniVersion="0.3.0").network)
    assert limited is not None and [plugin.type for plugin in limited.plugins] == ["ptp", "bandwidth"]
    own = network(type="macvlan", cniVersion="1.0.0", capabilities={"bandwidth": True}).network
    assert with_bandwidth(own) == own
    assert with_bandwidth(network(type="macvlan", cniVersion="1.0.0").network) is None
    assert with_bandwidth(network(type="ptp", cniVersion="0.2.0").network) is None


def test_resolv_conf() -> None:
    from rktpy.formats.cni.result import DNS

    text = resolv_conf(DNS(("10.1.0.1", "fd00::1"), "a.example", ("b.example", "c.example"), ("ndots:2", "rotate")), "n")
    assert text == (
        "# Generated by rktpy from network n\n\nsearch b.example c.example\nnameserver 10.1.0.1\nnameserver fd00::1\n"
        "options ndots:2 rotate\ndomain a.example\n"
    )
