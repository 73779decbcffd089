"""rktpy-net(5) says what the code does, as far as that can be checked by machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rktpy.errors import NetworkError
from rktpy.formats import stage1
from rktpy.formats.cni import cache
from rktpy.formats.cni import configuration as cni
from rktpy.formats.cni.net_info import NetInfo
from rktpy.formats.cni.versions import UNSAID, VERSIONS
from rktpy.net.builtin import BUILTIN
from rktpy.net.execute import TIMEOUT, find_plugin, plugin_dirs
from rktpy.net.namespace import namespace_path
from rktpy.net.selection import choose_networks, parse_selection
from tests.unit.test_man_formats import TEXTS, WORDS, examples, mentions, one, plain


def test_net_configurations() -> None:
    page = "rktpy-net"
    networks = [cni.parse_network(text.encode(), name) for name, text in examples("json: cni")]
    assert [network.name for network in networks] == ["containers", "lan"]
    assert networks[0].versions == ("1.0.0", "0.4.0") and networks[0].has_capability(cni.PORT_MAPPINGS)
    for name in (*cni._LIST.values(), *cni._PLUGIN.values(), cni.PORT_MAPPINGS, cni.BANDWIDTH, cni.DNS_CAPABILITY):
        assert mentions(page, name), name
    assert f"versions {VERSIONS[0]} to {VERSIONS[-1]}" in WORDS[page] and f"Without it {UNSAID} is meant" in WORDS[page]


def test_net_selection(tmp_path: Path) -> None:
    page = "rktpy-net"
    for name, (file_name, data) in BUILTIN.items():
        network = cni.parse_network(data, name)
        plugin = network.plugins[0].document
        entry = plain(TEXTS[page]).partition(f".TP\n{name}\n")[2].partition("\n.TP")[0].partition("\n.PP")[0]
        assert plugin["ipam"]["subnet"] in entry and file_name in entry and f"Plugin {plugin['type']}" in entry
        assert ("masquerading" in entry) is network.ip_masq and ("default route" in entry) is bool(plugin["ipam"]["routes"])
    for word in ("all", "none", "host"):
        assert mentions(page, word)
    assert one("lines: plugin directories").splitlines() == list(plugin_dirs("/etc/rktpy"))
    assert f"longer than {TIMEOUT:.0f} seconds" in WORDS[page]
    with pytest.raises(NetworkError) as caught:
        choose_networks(parse_selection("storage"), str(tmp_path))
    assert str(caught.value) in WORDS[page]
    with pytest.raises(NetworkError) as caught:
        find_plugin("ptp", tuple(f"{tmp_path}{directory}" for directory in plugin_dirs("/etc/rktpy")))
    assert str(caught.value).replace(str(tmp_path), "").partition(" (")[0] in WORDS[page]


def test_net_files() -> None:
    page = "rktpy-net"
    (shown,) = json.loads(one("json: net-info"))
    assert NetInfo(*shown.values()).to_dict() == shown
    for name in (*shown, *cache._MEMBERS, cache.KIND, stage1.NETNS_FILE, stage1.NET_INFO_FILE):
        assert mentions(page, name), name
    for path in (f"{stage1.NET_DIR}/lock", f"{stage1.NET_DIR}/{cache.RESULTS_DIR}/", namespace_path("UUID")):
        assert path in WORDS[page], path
