"""The pod's network: none, the host's, or what CNI plugins make of it. Hot-path module."""

from __future__ import annotations

import os

from rktpy.formats import stage1 as names
from rktpy.isolate.pod_app import append_file, write_file
from rktpy.net.pod_bandwidth import bandwidth_report, wanted_bandwidth
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.stage1 import Enforcement
    from rktpy.net.set_up import PodNetworks
    from rktpy.pod.pod import Pod


class Connected(Record):
    """Whether the networks gave name servers, and the report about the limit of traffic."""

    has_resolv: bool = False
    report: tuple[Enforcement, ...] = ()


def connect(pod: Pod, pid: int) -> Connected:
    """Connect the pod, whose first process is ``pid``, to its networks. Raises RktpyError, OSError.

    Of the pod's files, those that name its address are written again. The loopback interface is left to the pod.
    """
    if pod.networks.host:
        _write_metadata(pod, "127.0.0.1")
        return Connected(False, tuple(bandwidth_report(pod.manifest, pod.apps, None)))
    if pod.networks.none and not pod.manifest.ports:
        return Connected(False, tuple(bandwidth_report(pod.manifest, pod.apps, None)))
    from rktpy.net.ports import forwarded_ports
    from rktpy.net.set_up import Wishes, set_up

    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    wishes = Wishes(ports=forwarded_ports(pod.manifest), bandwidth=wanted_bandwidth(pod.manifest, pod.apps)[0])
    try:
        networks = set_up(here, pod.uuid, namespace, pod.networks, pod.local_config, wishes)
    finally:
        os.close(namespace)
        os.close(here)
    _write_metadata(pod, networks.host_address)
    return Connected(_write_names(pod, networks), tuple(bandwidth_report(pod.manifest, pod.apps, networks.unlimited)))


def _write_metadata(pod: Pod, host: str) -> None:
    """Tell apps where the metadata service is, if the pod is registered there."""
    if pod.token and host:
        url = names.metadata_url(host, pod.token)
        write_file(f"{names.STAGE1_ROOTFS}/{names.METADATA_FILE}", f"{names.METADATA_URL}={url}\n".encode())


def _write_names(pod: Pod, networks: PodNetworks) -> bool:
    """Fill the pod's hosts and resolv.conf in place: the apps' roots have them bound already."""
    address = networks.address
    if address:
        append_file(f"{names.STAGE1_ROOTFS}/{names.HOSTS_FALLBACK}", f"{address}\t{pod.hostname}\n")
    dns, network = networks.dns
    if not dns or pod.names.resolv != "default":
        return False
    from rktpy.net.resolv_conf import resolv_conf

    append_file(f"{names.STAGE1_ROOTFS}/{names.RESOLV_CONF}", resolv_conf(dns, network))
    return True
