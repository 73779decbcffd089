"""Put a pod into its networks.

Order, so that gc can undo it after a kill at any instant: lock, write down where the namespace will be held, hold it, write
down every attachment and ``net-info.json``, then ADD of one network after the other (CNI forbids it at the same time for one
pod), each written down again with its result. On failure everything is undone before the error is raised.

Source: rkt 1.30 ``networking/networking.go`` (Setup), ``portfwd.go`` for the network that ports are forwarded in.
Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NetworkError, StateError, UsageError, innermost
from rktpy.formats.cni.cache import Attachment
from rktpy.formats.cni.configuration import BANDWIDTH, DNS_CAPABILITY, PORT_MAPPINGS, Network
from rktpy.formats.cni.net_info import NetInfo
from rktpy.formats.cni.result import DNS, Address, Result
from rktpy.log import debug, note
from rktpy.net.attach import IncompatibleVersion, add, delete, negotiate
from rktpy.net.execute import find_plugin, plugin_dirs
from rktpy.net.namespace import hold_namespace, namespace_path, raise_loopback
from rktpy.net.records import NetworkRecords, config_path
from rktpy.net.selection import Chosen, Selection, choose_networks, lock_networks, parse_arguments
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.net.bandwidth import Bandwidth
    from rktpy.net.ports import ForwardedPort

_PORTMAP: dict[str, Any] = {"type": "portmap", "capabilities": {PORT_MAPPINGS: True}, "snat": True}
_IGNORE = "IgnoreUnknown"  # CNI's conventions for CNI_ARGS
_LOCK_TIMEOUT = 10.0  # seconds; nobody else is expected to hold it


class Wishes(Record):
    """What a pod wants of its networks.

    ``dns`` is handed to plugins that ask for it; ``capabilities`` are further capability arguments (``ips``, ``mac``,
    ``cgroupPath`` ...) as CNI's conventions have them.
    """

    ports: tuple[ForwardedPort, ...] = ()
    bandwidth: Bandwidth | None = None
    dns: DNS = DNS()
    capabilities: dict[str, Any] = {}


class Joined(Record):
    """A network that the pod is in. ``addresses`` are those in the pod, IPv4 first."""

    name: str
    if_name: str
    addresses: tuple[Address, ...]
    dns: DNS
    ip_masq: bool
    bandwidth: bool = False

    @property
    def host_ip(self) -> str:
        """The gateway: the host's address in this network. Empty when it has none."""
        return next((address.gateway for address in self.addresses if address.gateway), "")


class PodNetworks(Record):
    """The networks of a pod, in the order of its interfaces. ``netns`` is where its namespace is held."""

    netns: str
    joined: tuple[Joined, ...]

    @property
    def main(self) -> Joined | None:
        """The first network that masquerades, else the last one (rkt's rule for where ports are forwarded)."""
        return next((network for network in self.joined if network.ip_masq), self.joined[-1] if self.joined else None)

    @property
    def address(self) -> str:
        """The pod's address in the main network, for /etc/hosts; empty when there is none."""
        return self.main.addresses[0].ip if self.main is not None and self.main.addresses else ""

    @property
    def host_address(self) -> str:
        """The host's address as the pod sees it, for AC_METADATA_URL; empty when there is none."""
        if self.main is not None and self.main.host_ip:
            return self.main.host_ip
        return next((network.host_ip for network in self.joined if network.host_ip), "")

    @property
    def dns(self) -> tuple[DNS, str]:
        """What the first network that says anything says about names, and its name; empty when none does."""
        return next(((network.dns, network.name) for network in self.joined if network.dns), (DNS(), ""))

    @property
    def unlimited(self) -> tuple[str, ...]:
        """The networks in which a bandwidth limit is not in force."""
        return tuple(network.name for network in self.joined if not network.bandwidth)


def set_up(
    pod_fd: int, uuid: str, netns_fd: int, selection: Selection, local_config: str, wishes: Wishes | None = None
) -> PodNetworks:
    """Set up the networks of a pod and its loopback interface.

    ``pod_fd`` is a descriptor of the pod's directory, ``netns_fd`` one of its network namespace (``new_namespace()``, or
    /proc/PID/ns/net of a process in it), ``local_config`` the directory that holds ``net.d``. The caller is in the host's network
    namespace and stays there. With ``none`` only the loopback interface is set up. ``uuid`` is the container ID for the plugins.

    Raises UsageError (``host`` has nothing to set up, ports without a network), ConfigError (a configuration is wrong),
    NetworkError (a network or plugin is not there, a plugin failed, a port is taken), OSError. Nothing is left then.
    """
    wishes = wishes or Wishes()
    if selection.host:
        raise UsageError("the host's network is not set up for a pod")
    lock = lock_networks(local_config) if local_config else -1
    try:
        return _set_up(pod_fd, uuid, netns_fd, choose_networks(selection, local_config), plugin_dirs(local_config), wishes)
    finally:
        if lock >= 0:
            os.close(lock)


def _set_up(
    pod_fd: int, uuid: str, netns_fd: int, chosen: tuple[Chosen, ...], dirs: tuple[str, ...], wishes: Wishes
) -> PodNetworks:
    if not chosen and wishes.ports:
        raise UsageError("--port flag does not work with 'none' networking")
    if not chosen:
        raise_loopback(netns_fd)
        return PodNetworks("", ())
    records = NetworkRecords(pod_fd)
    # The same as what gc waits for, so that a set-up that fails has nobody to wait for.
    records.lock(_LOCK_TIMEOUT, create=True)
    try:
        if records.has_attachments() or records.netns():
            raise StateError(f"the networks of pod {uuid} were set up already")
        planned = _plan(chosen, uuid, dirs, wishes)
        try:
            _write_down(records, planned, uuid, netns_fd)
            if wishes.ports:
                # After our own are written down: of two pods that start at once at least one sees the other.
                from rktpy.net.ports import refuse_conflicts

                refuse_conflicts(wishes.ports, pod_fd, uuid, _reclaim)
            return _add_all(records, planned, uuid)
        except BaseException:
            from rktpy.net.tear_down import take_down

            for problem in take_down(records):
                note("networking", innermost(problem))
            if not records.has_attachments():
                records.forget_net_info()
            raise
    finally:
        records.unlock()


def describe_networks(uuid: str, selection: Selection, local_config: str, wishes: Wishes | None = None) -> tuple[str, ...]:
    """What :func:`set_up` would do, a line for each network, for ``--dry-run``. Raises as it does before anything is done."""
    planned = _plan(choose_networks(selection, local_config), uuid, plugin_dirs(local_config), wishes or Wishes())
    return tuple(
        f"join network {entry.network.name} as {entry.attachment.if_name}"
        f" through {', '.join(plugin.type for plugin in entry.network.plugins)}"
        f" of CNI {entry.network.versions[0]} ({entry.attachment.config_file})"
        for entry in planned
    )


class _Planned(Record):
    """One attachment before it is made."""

    network: Network
    attachment: Attachment
    info: NetInfo
    bandwidth: bool


def _plan(chosen: tuple[Chosen, ...], uuid: str, dirs: tuple[str, ...], wishes: Wishes) -> tuple[_Planned, ...]:
    """What will be made. Raises NetworkError when a plugin is not there, before anything is done."""
    forwarding = _forwarding_network(chosen) if wishes.ports else None
    planned: list[_Planned] = []
    for number, entry in enumerate(chosen):
        network = entry.network
        arguments = dict(wishes.capabilities)
        limited = False
        if wishes.dns:
            arguments[DNS_CAPABILITY] = _dns_argument(wishes.dns)
        if wishes.bandwidth is not None:
            from rktpy.net.bandwidth import with_bandwidth

            changed = with_bandwidth(network)
            if changed is not None:
                network = changed
                arguments[BANDWIDTH] = wishes.bandwidth.capability()
                limited = True
        if entry is forwarding:
            from rktpy.net.ports import port_mappings

            if not network.has_capability(PORT_MAPPINGS):
                network = network.with_plugin(_PORTMAP)
            arguments[PORT_MAPPINGS] = port_mappings(wishes.ports)
        paths = [find_plugin(plugin.type, dirs) for plugin in network.plugins]
        if_name = f"eth{number}"
        attachment = Attachment(
            uuid,
            network.name,
            if_name,
            network.to_bytes(),
            namespace_path(uuid),
            _plugin_arguments(entry),
            {name: value for name, value in arguments.items() if network.has_capability(name)},
            None,
            dirs,
            entry.file_name,
        )
        info = NetInfo(
            network.name, config_path(entry.file_name), paths[0], if_name, args=entry.arguments, ip_masq=network.ip_masq
        )
        planned.append(_Planned(network, attachment, info, limited))
    return tuple(planned)


def _forwarding_network(chosen: tuple[Chosen, ...]) -> Chosen:
    """Where ports are forwarded: a network that is made for it, else the first that masquerades, else the last (rkt)."""
    for entry in chosen:
        if entry.network.has_capability(PORT_MAPPINGS):
            return entry
    return next((entry for entry in chosen if entry.network.ip_masq), chosen[-1])


def _plugin_arguments(entry: Chosen) -> tuple[tuple[str, str], ...]:
    """The user's arguments. Each plugin of a network gets all of them, and is told to pass over those of the others."""
    arguments = parse_arguments(entry.arguments, entry.network.name)
    if not arguments or any(name == _IGNORE for name, _value in arguments):
        return arguments
    return ((_IGNORE, "1"), *arguments)


def _dns_argument(dns: DNS) -> dict[str, list[str]]:
    return {"servers": list(dns.nameservers), "searches": list(dns.search), "options": list(dns.options)}


def _write_down(records: NetworkRecords, planned: tuple[_Planned, ...], uuid: str, netns_fd: int) -> None:
    """Everything that comes before the first plugin."""
    path = namespace_path(uuid)
    records.write_netns(path)
    hold_namespace(netns_fd, path)
    raise_loopback(netns_fd)
    for entry in planned:
        records.write_config(entry.attachment.config_file, entry.attachment.config)
        records.write_attachment(entry.attachment)
    records.write_net_info(tuple(entry.info for entry in planned))


def _add_all(records: NetworkRecords, planned: tuple[_Planned, ...], uuid: str) -> PodNetworks:
    infos = [entry.info for entry in planned]
    joined: list[Joined] = []
    for index, entry in enumerate(planned):
        debug("networking", f'adding network "{entry.network.name}"')
        try:
            result = _add(records, entry)
        except NetworkError as error:
            raise NetworkError(f'error adding network "{entry.network.name}"') from error
        addresses = result.pod_addresses
        if addresses:
            first = addresses[0]
            infos[index] = infos[index].replace(ip=first.ip, mask=first.mask, host_ip=first.gateway)
        records.write_net_info(tuple(infos))
        joined.append(
            Joined(
                entry.network.name,
                entry.attachment.if_name,
                addresses,
                result.dns,
                entry.network.ip_masq,
                entry.bandwidth,
            )
        )
    return PodNetworks(namespace_path(uuid), tuple(joined))


def _add(records: NetworkRecords, entry: _Planned) -> Result:
    """ADD; if a plugin does not speak the version, with one that all of them speak."""
    attachment, network = entry.attachment, entry.network
    try:
        result = add(attachment, network, records.lock_fd)
    except IncompatibleVersion:
        # Plugins before the one that refused have done their work.
        delete(attachment, attachment.netns, records.lock_fd)
        network = negotiate(network, attachment.plugin_dirs)
        attachment = attachment.replace(config=network.to_bytes())
        records.write_config(attachment.config_file, attachment.config)
        records.write_attachment(attachment)
        result = add(attachment, network, records.lock_fd)
    records.write_attachment(attachment.replace(result=result.document))
    return result


def _reclaim(pod_fd: int, uuid: str) -> None:
    """Take down the networks of a pod that has ended and whose ports are wanted."""
    from rktpy.net.tear_down import tear_down

    debug("networking", f"taking down the networks of pod {uuid}, which has ended")
    tear_down(pod_fd)
