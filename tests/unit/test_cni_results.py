"""Results of CNI plugins, of every version, and turned into every other (formats/cni/result.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from rktpy.errors import FormatError
from rktpy.formats.cni.result import DNS, Address, Interface, Route, parse_result
from rktpy.formats.cni.versions import VERSIONS, at_least
from tests.unit.test_formats_aci import JSON

DNS_DOCUMENT = {"nameservers": ["10.1.0.1"], "domain": "a.example", "search": ["a.example", "b.example"], "options": ["ndots:2"]}
OLD = {
    "ip4": {"ip": "10.1.0.2/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
    "ip6": {"ip": "fd00::2/64", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
    "dns": DNS_DOCUMENT,
}
INTERFACES = [{"name": "cni0", "mac": "00:11:22:33:44:55"}, {"name": "eth0", "mac": "99:88", "sandbox": "/run/netns/x"}]
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00::1"}]


def document(version: str) -> dict[str, Any]:
    """The same result in a version."""
    if not at_least(version, "0.3.0"):
        return {"cniVersion": version, **OLD}
    ips: list[dict[str, Any]] = [
        {"version": "4", "address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1},
        {"version": "6", "address": "fd00::2/64", "interface": 1},
    ]
    if at_least(version, "1.0.0"):
        for entry in ips:
            del entry["version"]
    found: dict[str, Any] = {"cniVersion": version, "interfaces": INTERFACES, "ips": ips, "routes": ROUTES, "dns": DNS_DOCUMENT}
    if at_least(version, "1.1.0"):
        found["interfaces"] = [{**INTERFACES[0], "mtu": 1500, "pciID": "0:1"}, {**INTERFACES[1], "socketPath": "/s"}]
        found["routes"] = [{**ROUTES[0], "mtu": 9, "advmss": 8, "priority": 7, "table": 0, "scope": 5}, ROUTES[1]]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_one_record_for_all_versions(version: str) -> None:
    result = parse_result(json.dumps(document(version)).encode(), "0.2.0", "r")
    assert result.version == version and result.dns == DNS(*map(_frozen, DNS_DOCUMENT.values()))
    assert [(address.network, address.gateway) for address in result.addresses] == [
        ("10.1.0.2/16", "10.1.0.1"),
        ("fd00::2/64", ""),
    ]
    assert [(route.destination, route.gateway) for route in result.routes] == [("0.0.0.0/0", ""), ("::/0", "fd00::1")]
    names = [interface.name for interface in result.interfaces]
    assert names == (["cni0", "eth0"] if at_least(version, "0.3.0") else [])
    assert result.as_version(version) == document(version)
    assert result.pod_addresses == result.addresses


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def test_newest_members() -> None:
    result = parse_result(json.dumps(document("1.1.0")).encode(), "1.1.0", "r")
    assert result.interfaces == (
        Interface("cni0", "00:11:22:33:44:55", 1500, pci_id="0:1"),
        Interface("eth0", "99:88", 0, "/run/netns/x", "/s"),
    )
    assert result.routes[0] == Route("0.0.0.0/0", "", 9, 8, 7, 0, 5)


@pytest.mark.parametrize("source", VERSIONS)
@pytest.mark.parametrize("target", VERSIONS)
def test_conversions(source: str, target: str) -> None:
    result = parse_result(json.dumps(document(source)).encode(), source, "r")
    converted = result.as_version(target)
    assert converted["cniVersion"] == target
    lower = min(source, target, key=VERSIONS.index)
    expected = document(target)
    if not at_least(lower, "0.3.0"):
        # Old results know no interfaces, and of gateways of routes only their own.
        expected.pop("interfaces", None)
        for entry in expected.get("ips", ()):
            entry.pop("interface", None)
    if not at_least(lower, "1.1.0") and at_least(target, "1.1.0"):
        expected["routes"] = ROUTES
        if "interfaces" in expected:
            expected["interfaces"] = INTERFACES
    assert converted == expected


def test_unknown_members_are_passed_on() -> None:
    text = {**document("1.0.0"), "vendor": {"a": [1]}}
    result = parse_result(json.dumps(text).encode(), "1.0.0", "r")
    assert result.as_version("1.0.0") == text


def test_a_result_without_version_is_of_the_configuration_s() -> None:
    text = document("0.4.0")
    del text["cniVersion"]
    assert parse_result(json.dumps(text).encode(), "0.4.0", "r").as_version("0.4.0") == document("0.4.0")


def test_addresses_of_the_pod() -> None:
    text = document("1.0.0")
    text["ips"] = [
        {"address": "10.1.0.1/16", "interface": 0},
        {"address": "fd00::2/64", "interface": 1},
        {"address": "10.1.0.2/16", "interface": 1},
        {"address": "10.1.0.3/16", "interface": 7},
        {"address": "10.1.0.4/16", "interface": -1},
    ]
    result = parse_result(json.dumps(text).encode(), "1.0.0", "r")
    assert [address.ip for address in result.pod_addresses] == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "fd00::2"]
    assert result.pod_addresses[0] == Address("10.1.0.2/16", "", 1) and result.pod_addresses[0].mask == "255.255.0.0"


def test_no_address_is_no_result_of_old_versions() -> None:
    result = parse_result(b'{"cniVersion":"1.0.0"}', "1.0.0", "r")
    assert result.addresses == () and not result.dns and result.as_version("0.3.1") == {"cniVersion": "0.3.1", "dns": {}}
    with pytest.raises(FormatError, match=r"has no address, which CNI 0\.2\.0 wants"):
        result.as_version("0.2.0")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cniVersion": "3.0.0"}, "CNI '3.0.0' is not known here"),
        ({"ips": {}}, "ips: must be an array"),
        ({"ips": [{"address": "10.0.0.1"}]}, "ips[0].address: '10.0.0.1' is not an address with a prefix length"),
        ({"ips": [{}]}, "ips[0].address: must be set"),
        ({"ips": [{"address": "10.0.0.1/8", "gateway": "x"}]}, "ips[0].gateway: 'x' is not an address"),
        ({"ips": [{"address": "10.0.0.1/8", "interface": "0"}]}, "ips[0].interface: must be an integer"),
        ({"ips": [{"address": "10.0.0.1/8", "interface": -2}]}, "ips[0].interface: must be in"),
        ({"interfaces": [{}]}, "interfaces[0].name: must be set"),
        ({"interfaces": [{"name": "a\0"}]}, "interfaces[0].name: contains a NUL character"),
        ({"routes": [{"dst": "everywhere"}]}, "routes[0].dst: 'everywhere' is not an address"),
        ({"routes": [{"dst": "::/0", "table": -1}]}, "routes[0].table: must be in"),
        ({"dns": []}, "dns: must be an object"),
        ({"dns": {"nameservers": ["1.1.1.1\nnameserver 6.6.6.6"]}}, "dns.nameservers[0]"),
        ({"dns": {"nameservers": ["resolver.example"]}}, "is not an address"),
        ({"dns": {"search": ["a b"]}}, "dns.search: contains white space"),
        ({"dns": {"domain": "a\nb"}}, "dns.domain: contains white space"),
        ({"dns": {"options": ["a\u2028b"]}}, "dns.options: contains white space"),
    ],
)
def test_hostile_results(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_result(json.dumps({"cniVersion": "1.0.0", **change}).encode(), "1.0.0", "r")
    assert problem in str(caught.value)


def test_hostile_old_results() -> None:
    for text in ({"ip4": {"ip": "fd00::1/64"}}, {"ip6": {"ip": "10.0.0.1/8"}}, {"ip4": 5}, {"ip4": {}}, {"ip4": {"ip": "x"}}):
        with pytest.raises(FormatError):
            parse_result(json.dumps({"cniVersion": "0.2.0", **text}).encode(), "0.2.0", "r")


def test_a_scoped_nameserver_is_an_address() -> None:
    result = parse_result(b'{"dns":{"nameservers":["fe80::1%eth0"]}}', "1.0.0", "r")
    assert result.dns.nameservers == ("fe80::1%eth0",)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json(value: Any) -> None:
    try:
        result = parse_result(json.dumps(value).encode(), "1.0.0", "r")
        for version in VERSIONS[2:]:
            result.as_version(version)
    except FormatError:
        pass
