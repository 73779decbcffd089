"""Configurations, errors, versions and caches of CNI (formats/cni)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings

from rktpy.errors import FormatError
from rktpy.formats.cni import versions
from rktpy.formats.cni.addresses import is_unspecified, network_mask, split_network
from rktpy.formats.cni.cache import Attachment, is_interface_name, parse_attachment
from rktpy.formats.cni.configuration import Network, is_name, parse_network, parse_plugin
from rktpy.formats.cni.failure import parse_failure
from rktpy.formats.cni.net_info import NetInfo, write_net_info
from tests.unit.test_formats_aci import JSON

BRIDGE = {"type": "bridge", "bridge": "cni0", "ipMasq": True, "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True, "mac": False}, "own": [1, {"a": None}]}
LIST: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "plugins": [BRIDGE, PORTMAP]}


def parsed(document: Any) -> Network:
    return parse_network(json.dumps(document).encode(), "x.conflist")


def test_list() -> None:
    network = parsed({**LIST, "disableCheck": True, "disableGC": "true", "whatever": 1})
    assert (network.name, network.versions, network.disable_check, network.disable_gc) == ("net", ("1.0.0",), True, True)
    assert [plugin.type for plugin in network.plugins] == ["bridge", "portmap"]
    assert [plugin.document for plugin in network.plugins] == [BRIDGE, PORTMAP]
    assert network.ip_masq and network.has_capability("portMappings") and not network.has_capability("mac")
    again = parse_network(network.to_bytes(), "again")
    assert again == network.replace(inlined_only=again.inlined_only)


def test_single_plugin() -> None:
    network = parsed({"name": "containers", **BRIDGE})
    assert (network.name, network.versions, network.inlined_only) == ("containers", ("0.1.0",), True)
    assert network.plugins[0].document["bridge"] == "cni0"


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({}, ("0.1.0",)),
        ({"cniVersion": ""}, ("0.1.0",)),
        ({"cniVersion": "0.3.1"}, ("0.3.1",)),
        ({"cniVersion": "0.4.0", "cniVersions": ["1.1.0", "1.0.0"]}, ("1.1.0", "1.0.0", "0.4.0")),
        ({"cniVersions": ["1.0.0", "1.0.0", "7.0.0"]}, ("1.0.0",)),
        ({"cniVersion": "2.0.0", "cniVersions": ["0.4.0"]}, ("0.4.0",)),
    ],
)
def test_versions(members: dict[str, Any], found: tuple[str, ...]) -> None:
    assert parsed({"name": "n", "plugins": [BRIDGE], **members}).versions == found


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "x.conflist: must be an object"),
        ({"plugins": [BRIDGE]}, "x.conflist: name: must be set"),
        ({**LIST, "name": "a/b"}, "'a/b' is not a network name"),
        ({**LIST, "name": "../x"}, "is not a network name"),
        ({**LIST, "name": "-x"}, "is not a network name"),
        ({**LIST, "name": 5}, "x.conflist: name: must be a string"),
        ({**LIST, "Name": "other"}, "x.conflist: name: is given twice in different spellings"),
        ({**LIST, "cniVersion": 1}, "cniVersion: must be a string"),
        ({**LIST, "cniVersion": "1.0.0-rc1"}, "'1.0.0-rc1' is not a version"),
        ({**LIST, "cniVersion": "2.0.0"}, "CNI 2.0.0 is not known here, 0.1.0 to 1.1.0 are"),
        ({**LIST, "cniVersions": ["x"]}, "cniVersions[0]: 'x' is not a version"),
        ({**LIST, "cniVersions": "1.0.0"}, "cniVersions: must be an array"),
        ({**LIST, "disableGC": "perhaps"}, "disableGC: must be true or false"),
        ({**LIST, "plugins": {}}, "plugins: must be an array"),
        ({**LIST, "plugins": []}, "plugins: must not be empty"),
        ({"name": "n", "loadOnlyInlinedPlugins": True}, "plugins: must not be empty"),
        ({**LIST, "type": "bridge"}, "type: a list of plugins has no type of its own"),
        ({**LIST, "plugins": [5]}, "plugins[0]: must be an object"),
        ({**LIST, "plugins": [{}]}, "plugins[0].type: must be set"),
        ({**LIST, "plugins": [{"type": "../../bin/sh"}]}, "plugins[0].type: '../../bin/sh' is not the name of a plugin"),
        ({**LIST, "plugins": [{"type": ".."}]}, "is not the name of a plugin"),
        ({**LIST, "plugins": [{"type": "a\0b"}]}, "plugins[0].type: contains a NUL character"),
        ({**LIST, "plugins": [{"type": "a", "capabilities": ["x"]}]}, "plugins[0].capabilities: must be an object"),
        ({**LIST, "plugins": [{"type": "a", "capabilities": {"x": 1}}]}, "plugins[0].capabilities.x: must be true or false"),
        ({**LIST, "plugins": [{"type": "a", "TYPE": "b"}]}, "plugins[0].type: is given twice"),
    ],
)
def test_wrong_configurations(document: Any, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        parsed(document)
    assert problem in str(caught.value)


def test_duplicate_member_is_refused() -> None:
    with pytest.raises(FormatError, match="duplicate member 'type'"):
        parse_network(b'{"name":"n","type":"ptp","type":"other"}', "x.conf")
    with pytest.raises(FormatError, match="not JSON"):
        parse_plugin(b"{", "x.conf")


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_any_json(document: Any) -> None:
    try:
        network = parse_network(json.dumps(document).encode(), "x")
    except FormatError:
        return
    assert is_name(network.name)


def test_what_a_plugin_gets() -> None:
    plugin = parse_plugin(
        json.dumps({**PORTMAP, "PrevResult": 1, "runtimeConfig": {"mac": "x"}, "name": "lie", "CNIVersion": "9"}).encode(), "x"
    )
    runtime = {"portMappings": [1], "mac": "00:", "bandwidth": {}}
    document = plugin.with_environment("net", "1.0.0", {"ips": []}, runtime)
    assert document == {
        "type": "portmap",
        "own": [1, {"a": None}],
        "name": "net",
        "cniVersion": "1.0.0",
        "prevResult": {"ips": []},
        "runtimeConfig": {"portMappings": [1]},
    }
    assert "runtimeConfig" not in plugin.with_environment("net", "1.0.0", None, {"mac": "x"})
    assert "prevResult" not in plugin.with_environment("net", "1.0.0")
    gc = plugin.with_attachments("net", "1.1.0", (("id", "eth0"),))
    assert gc["cni.dev/valid-attachments"] == gc["cni.dev/attachments"] == [{"containerID": "id", "ifname": "eth0"}]
    assert plugin.document["capabilities"] == PORTMAP["capabilities"]


def test_added_plugin_is_in_the_list() -> None:
    network = parsed(LIST).with_plugin({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    assert [plugin["type"] for plugin in json.loads(network.to_bytes())["plugins"]] == ["bridge", "portmap", "bandwidth"]
    assert network.has_capability("bandwidth")


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "text"),
    [
        (b'{"cniVersion":"1.0.0","code":7,"msg":"bad","details":"why"}', b"noise", 7, "bad; why"),
        (b"", b'{"code":11,"msg":"try later"}', 11, "try later"),
        (b"not json", b'{"code":4,"msg":"env"}', 4, "env"),
        (b'{"code":100}', b"", 100, "error code 100"),
        (b'{"ips":[]}', b"it\nfailed \x1b[2J", 0, "it failed \x1b[2J"),
        (b"out\n", b"", 0, "out"),
        (b'{"code":"7","msg":"x"}', b"", 0, '{"code":"7","msg":"x"}'),
        (b"", b"", 0, "no error message"),
        (b"[" * 100000, b"", 0, "[" * 1000),
    ],
)
def test_failures(stdout: bytes, stderr: bytes, code: int, text: str) -> None:
    failure = parse_failure(stdout, stderr)
    assert (failure.code, str(failure)) == (code, text)


def test_supported_versions() -> None:
    answer = {"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "9.9.9", "0.1.0"]}
    assert versions.supported_versions(json.dumps(answer).encode(), "p") == ("1.0.0", "0.4.0", "0.1.0")
    for wrong in (b"{}", b'{"supportedVersions":[1]}', b'{"supportedVersions":"1.0.0"}', b"nonsense"):
        with pytest.raises(FormatError):
            versions.supported_versions(wrong, "p")


def test_addresses() -> None:
    assert split_network("10.1.2.3/24") == ("10.1.2.3", 24)
    assert split_network("fd00::1/64") == ("fd00::1", 64)
    for wrong in ("10.1.2.3", "10.1.2.3/33", "10.1.2/8", "10.1.2.3/-1", "fd00::/129", "x/8", "10.1.2.3/8/8", "10.1.2.3/\u0661"):
        assert split_network(wrong) is None, wrong
    assert network_mask("172.16.28.9/24") == "255.255.255.0" and network_mask("1.2.3.4/0") == "0.0.0.0"
    assert network_mask("fd00::1/64") == "ffff:ffff:ffff:ffff::"
    assert is_unspecified("0.0.0.0") and is_unspecified("::") and not is_unspecified("") and not is_unspecified("1.1.1.1")


ATTACHMENT = Attachment(
    "5bc080ca-9e03-480d-b705-5928af396cc5",
    "net",
    "eth1",
    json.dumps(LIST).encode(),
    "/run/netns/x",
    (("IP", "1.2.3.4"), ("K", "a=b")),
    {"portMappings": [{"hostPort": 1}]},
    {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/16"}]},
    ("/a", "/b"),
    "10-net.conflist",
)


def test_cache_has_the_shape_of_libcni() -> None:
    document = json.loads(ATTACHMENT.to_bytes())
    assert document["kind"] == "cniCacheV1"
    assert base64.b64decode(document["config"]) == ATTACHMENT.config
    assert {"containerId", "ifName", "networkName", "netns", "cniArgs", "capabilityArgs", "result"} <= set(document)
    assert document["cniArgs"] == [["IP", "1.2.3.4"], ["K", "a=b"]]
    assert ATTACHMENT.file_name == "net-5bc080ca-9e03-480d-b705-5928af396cc5-eth1"
    assert ATTACHMENT.args_text == "IP=1.2.3.4;K=a=b"


def test_cache_comes_back() -> None:
    for attachment in (ATTACHMENT, Attachment("id", "n", "eth0", b"{}")):
        assert parse_attachment(attachment.to_bytes(), "x") == attachment
    assert ATTACHMENT.parsed_config().name == "net"
    result = ATTACHMENT.parsed_result("1.0.0")
    assert result is not None and result.addresses[0].ip == "10.1.0.2"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"config": "!"},
        {"config": "a\u00e4=="},
        {"containerId": "a/b"},
        {"networkName": ""},
        {"ifName": "a/b"},
        {"ifName": "x" * 16},
        {"cniArgs": [["a"]]},
        {"cniArgs": [["a", 1]]},
        {"result": []},
        {"capabilityArgs": 1},
        {"pluginDirs": [1]},
    ],
)
def test_broken_cache(change: dict[str, Any]) -> None:
    document = {**json.loads(ATTACHMENT.to_bytes()), **change}
    with pytest.raises(FormatError):
        parse_attachment(json.dumps(document).encode(), "x")


def test_interface_names() -> None:
    assert is_interface_name("eth0") and is_interface_name("x" * 15)
    for wrong in ("", ".", "..", "a b", "a:b", "a\n", "x" * 16, "\u00e4" * 8):
        assert not is_interface_name(wrong)


def test_net_info_has_the_members_of_rkt() -> None:
    info = NetInfo("default", "net/99-default.conflist", "/usr/lib/cni/ptp", "eth0", "172.16.28.2", "", "255.255.255.0")
    (entry,) = json.loads(write_net_info((info,)))
    assert list(entry)[:7] == ["netName", "netConf", "pluginPath", "ifName", "ip", "args", "mask"]
    assert entry["ip"] == "172.16.28.2" and entry["hostIP"] == "" and entry["ipMasq"] is False
