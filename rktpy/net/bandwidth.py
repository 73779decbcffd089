"""The limit of a pod's traffic (isolator ``resource/network-bandwidth``) as the plugin ``bandwidth`` wants it.

Source: CNI ``CONVENTIONS.md`` (``bandwidth``); plugin ``bandwidth`` 1.1: rates and bursts in bits, a token bucket on the
host's end of a veth pair. Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.cni.configuration import BANDWIDTH, Network
from rktpy.formats.cni.versions import LISTS_SINCE, at_least
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEAST_BURST = 8 * 64 * 1024  # bits; below the largest segment of TCP nothing would pass
_MOST_BURST = 8 * (2**32 - 1)
_VETH_PLUGINS = ("ptp", "bridge")


class Bandwidth(Record):
    """Limits in bits per second, 0 for none. ``ingress`` is towards the pod. Each network is limited for itself."""

    ingress: int = 0
    egress: int = 0

    def capability(self) -> dict[str, int]:
        """The value of the capability ``bandwidth``. The bursts are a quarter of a second of the rate, and at least 64 KiB."""
        value: dict[str, int] = {}
        for name, rate in (("ingress", self.ingress), ("egress", self.egress)):
            if rate:
                value[f"{name}Rate"] = rate
                value[f"{name}Burst"] = min(max(rate // 4, _LEAST_BURST), _MOST_BURST)
        return value


def with_bandwidth(network: Network) -> Network | None:
    """The network with a plugin that limits traffic, None when that cannot be done there."""
    if network.has_capability(BANDWIDTH):
        return network
    if not at_least(network.versions[0], LISTS_SINCE) or not any(p.type in _VETH_PLUGINS for p in network.plugins):
        return None
    addition: dict[str, Any] = {"type": "bandwidth", "capabilities": {BANDWIDTH: True}}
    return network.with_plugin(addition)
