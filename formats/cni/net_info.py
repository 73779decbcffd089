"""``net-info.json`` of a pod: the networks it is in, for ``list`` and ``status`` and for people.

Source: rkt 1.30 ``networking/netinfo``; ``hostIP`` and ``ipMasq`` are added. An object for each interface, in the order of the
interfaces. It is written before the network is made, then without ``ip``, and again after it. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MEMBERS = (
    ("net_name", "netName"),
    ("net_conf", "netConf"),
    ("plugin_path", "pluginPath"),
    ("if_name", "ifName"),
    ("ip", "ip"),
    ("args", "args"),
    ("mask", "mask"),
    ("host_ip", "hostIP"),
    ("ip_masq", "ipMasq"),
)


class NetInfo(Record):
    """One network of a pod. ``net_conf`` is the path of its configuration in the pod's directory, ``plugin_path`` that of its
    first plugin, ``host_ip`` the gateway; addresses are empty when there are none."""

    net_name: str
    net_conf: str
    plugin_path: str
    if_name: str
    ip: str = ""
    args: str = ""
    mask: str = ""
    host_ip: str = ""
    ip_masq: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {member: self.__dict__[field] for field, member in MEMBERS}


def write_net_info(networks: tuple[NetInfo, ...]) -> bytes:
    """The content of ``net-info.json``."""
    return jsondoc.dump([network.to_dict() for network in networks]) + b"\n"
