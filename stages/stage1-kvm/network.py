"""The pod's network: CNI plugins outside, in a network namespace that only holds what they make; taps lead into the machine.

Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.isolate.pod_app import append_file, write_file
from rktpy.net.pod_bandwidth import bandwidth_report, wanted_bandwidth
from rktpy.record import Record
from rktpy.stage1.kvm.machine import hardware_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.stage1 import Enforcement
    from rktpy.net.set_up import PodNetworks
    from rktpy.stage1.kvm.guest_plan import Operation
    from rktpy.stage1.kvm.pod import Pod

_HOSTS_IPV6 = "::1\tlocalhost ip6-localhost ip6-loopback\n"


class Cards(Record):
    """The machine's network cards before anything is connected: the namespace (-1: none), and the taps in it."""

    namespace: int
    taps: tuple[int, ...]

    def close(self) -> None:
        """Close the descriptors, which others have by now."""
        for fd in (self.namespace, *self.taps):
            if fd >= 0:
                os.close(fd)


class Connected(Record):
    """What the guest has to know: operations for its interfaces, whether networks gave name servers, where the metadata service
    is, and the report about the limit of traffic."""

    operations: tuple[Operation, ...] = ()
    has_resolv: bool = False
    metadata: str = ""
    report: tuple[Enforcement, ...] = ()


def make_cards(pod: Pod) -> Cards:
    """A namespace with a tap for every network that the pod joins. Raises RktpyError, OSError."""
    if pod.networks.none:
        return Cards(-1, ())
    from rktpy.net.namespace import new_namespace
    from rktpy.net.selection import choose_networks
    from rktpy.net.tap import open_tap

    count = len(choose_networks(pod.networks, pod.local_config))
    namespace = new_namespace()
    return Cards(namespace, tuple([open_tap(namespace, f"tap{index}") for index in range(count)]))


def connect(pod: Pod, cards: Cards) -> Connected:
    """Connect the namespace with the pod's networks, and the taps with what came of that. Raises RktpyError, OSError."""
    if cards.namespace < 0:
        if pod.manifest.ports:
            from rktpy.errors import UsageError

            raise UsageError("--port flag does not work with 'none' networking")
        return Connected(report=tuple(bandwidth_report(pod.manifest, pod.apps, None)))
    from rktpy.net.ports import forwarded_ports
    from rktpy.net.set_up import Wishes, set_up
    from rktpy.net.tap import carry_over

    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    wishes = Wishes(ports=forwarded_ports(pod.manifest), bandwidth=wanted_bandwidth(pod.manifest, pod.apps)[0])
    try:
        networks = set_up(here, pod.uuid, cards.namespace, pod.networks, pod.local_config, wishes)
    finally:
        os.close(here)
    operations: list[Operation] = []
    for index, joined in enumerate(networks.joined):
        carried = carry_over(cards.namespace, joined.if_name, f"tap{index}")
        operations.append(
            ("interface", hardware_address(index), carried.name, carried.hardware, str(carried.mtu), *carried.addresses)
        )
        operations += [
            ("route", carried.name, route.to, route.gateway, str(route.scope), str(route.metric)) for route in carried.routes
        ]
    metadata = ""
    if pod.token and networks.host_address:
        metadata = names.metadata_url(networks.host_address, pod.token)
    report = bandwidth_report(pod.manifest, pod.apps, networks.unlimited)
    return Connected(tuple(operations), _write_names(pod, networks), metadata, tuple(report))


def write_hosts(pod: Pod) -> None:
    """The hosts file for images that have none, without the pod's address. Raises OSError."""
    text = f"127.0.0.1\tlocalhost localhost.localdomain {pod.hostname}\n{_HOSTS_IPV6}"
    write_file(f"{names.STAGE1_ROOTFS}/{names.HOSTS_FALLBACK}", text.encode("utf-8", "surrogateescape"))


def _write_names(pod: Pod, networks: PodNetworks) -> bool:
    if networks.address:
        append_file(f"{names.STAGE1_ROOTFS}/{names.HOSTS_FALLBACK}", f"{networks.address}\t{pod.hostname}\n")
    dns, network = networks.dns
    if not dns or pod.names.resolv != "default":
        return False
    from rktpy.net.resolv_conf import resolv_conf

    write_file(f"{names.STAGE1_ROOTFS}/{names.RESOLV_CONF}", resolv_conf(dns, network).encode())
    return True


def name_contents(pod_resolv: str, pod_hosts: str, *, has_resolv: bool) -> dict[str, bytes]:
    """What the pod's apps get as resolv.conf and hosts, as the modes say. Raises OSError."""
    from rktpy.isolate.pod_app import read_file

    contents: dict[str, bytes] = {}
    if pod_resolv == "host":
        contents["resolv.conf"] = read_file("/etc/resolv.conf")
    elif pod_resolv == "stage0" or (pod_resolv == "default" and has_resolv):
        contents["resolv.conf"] = read_file(f"{names.STAGE1_ROOTFS}/{names.RESOLV_CONF}")
    files = {"host": "/etc/hosts", "stage0": f"{names.STAGE1_ROOTFS}/{names.HOSTS}"}
    contents["hosts"] = read_file(files.get(pod_hosts, f"{names.STAGE1_ROOTFS}/{names.HOSTS_FALLBACK}"))
    return contents
