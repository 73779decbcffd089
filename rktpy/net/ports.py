"""Ports of the host that lead into a pod: what the manifest asks for, as the plugins want it, and who else has them.

Source: rkt 1.30 ``common/networking/ports.go``; CNI ``CONVENTIONS.md`` (``portMappings``). Hot-path module.
"""

from __future__ import annotations

import fcntl
import os

from rktpy.errors import NetworkError
from rktpy.formats.cni.addresses import is_unspecified
from rktpy.formats.cni.configuration import PORT_MAPPINGS
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktpy.formats.aci.manifest import Port
    from rktpy.formats.pod import ExposedPort, PodManifest

_PROTOCOLS = ("tcp", "udp", "sctp")
_SIBLINGS = ("run", "exited-garbage")


class ForwardedPort(Record):
    """``count`` ports of the host from ``host_port`` on that lead to those from ``pod_port`` on.

    ``host_ip`` is empty for all addresses of the host.
    """

    protocol: str
    host_port: int
    pod_port: int
    host_ip: str = ""
    count: int = 1

    def conflicts(self, other: ForwardedPort) -> bool:
        """Whether a connection could be meant for both."""
        return (
            self.protocol == other.protocol
            and self.host_port < other.host_port + other.count
            and other.host_port < self.host_port + self.count
            and (not self.host_ip or not other.host_ip or self.host_ip == other.host_ip)
        )

    def __str__(self) -> str:
        ports = str(self.host_port) if self.count == 1 else f"{self.host_port}-{self.host_port + self.count - 1}"
        return f"{self.protocol}-{self.host_ip or '0.0.0.0'}:{ports}"

    def mappings(self) -> list[dict[str, Any]]:
        """The entries of the capability ``portMappings``."""
        entries: list[dict[str, Any]] = []
        for offset in range(self.count):
            entry: dict[str, Any] = {
                "hostPort": self.host_port + offset,
                "containerPort": self.pod_port + offset,
                "protocol": self.protocol,
            }
            if self.host_ip:
                entry["hostIP"] = self.host_ip
            entries.append(entry)
        return entries


def forwarded_ports(manifest: PodManifest) -> tuple[ForwardedPort, ...]:
    """The ports of a pod manifest. A port that names none of the pod is looked up among those of the apps.

    Raises NetworkError: a name that no app or more than one has, a protocol that cannot be forwarded, two of one port.
    """
    ports: list[ForwardedPort] = []
    for exposed in manifest.ports:
        port = exposed.pod_port or _app_port(manifest, exposed)
        forwarded = _forwarded(exposed, port)
        for other in ports:
            if forwarded.conflicts(other):
                raise NetworkError(f"port {forwarded} already mapped to pod port {other.pod_port}")
        ports.append(forwarded)
    return tuple(ports)


def _app_port(manifest: PodManifest, exposed: ExposedPort) -> Port:
    found = [port for app in manifest.apps if app.app is not None for port in app.app.ports if port.name == exposed.name]
    if not found:
        raise NetworkError(f'port name "{exposed.name}" could not be found in any apps')
    if len(found) > 1:
        raise NetworkError(f'port name "{exposed.name}" defined multiple apps')
    return found[0]


def _forwarded(exposed: ExposedPort, port: Port) -> ForwardedPort:
    protocol = port.protocol.lower()
    if protocol not in _PROTOCOLS:
        raise NetworkError(f'port "{exposed.name}": protocol {port.protocol!r} cannot be forwarded, {", ".join(_PROTOCOLS)} can')
    if exposed.host_port + port.count > 65536:
        raise NetworkError(f'port "{exposed.name}": {port.count} ports from {exposed.host_port} on go beyond 65535')
    host_ip = exposed.host_ip or ""
    return ForwardedPort(protocol, exposed.host_port, port.port, "" if is_unspecified(host_ip) else host_ip, port.count)


def port_mappings(ports: tuple[ForwardedPort, ...]) -> list[dict[str, Any]]:
    """The value of the capability ``portMappings``."""
    return [entry for port in ports for entry in port.mappings()]


def refuse_conflicts(ports: tuple[ForwardedPort, ...], pod_fd: int, uuid: str, reclaim: Callable[[int, str], None]) -> None:
    """Look at the networks of the pods beside this one, which is open as ``pod_fd``.

    Rules of a pod that has ended would swallow what is meant for this one until gc removes them: for a pod in the way that does
    not run, ``reclaim`` is called with a descriptor of its directory and its UUID. Raises NetworkError when it runs.
    """
    for state, name, directory in _other_pods(pod_fd, uuid):
        try:
            taken = next(((port, other) for port in ports for other in _ports_of(directory) if port.conflicts(other)), None)
            if taken is None:
                continue
            # Garbage that is locked is being removed; reclaiming waits for that.
            if state == "run" and _is_locked(directory):
                raise NetworkError(f"port {taken[0]} already mapped to port {taken[1].pod_port} of pod {name}")
            reclaim(directory, name)
        finally:
            os.close(directory)


def _other_pods(pod_fd: int, uuid: str) -> list[tuple[str, str, int]]:
    """The state directories, UUIDs and open directories of pods that have networks."""
    found: list[tuple[str, str, int]] = []
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    for state in _SIBLINGS:
        try:
            parent = os.open(f"../../{state}", flags, dir_fd=pod_fd)
        except OSError:
            continue
        try:
            for name in sorted(os.listdir(parent)):
                if name == uuid:
                    continue
                try:
                    os.stat(f"{name}/net/results", dir_fd=parent, follow_symlinks=False)
                    found.append((state, name, os.open(name, flags, dir_fd=parent)))
                except OSError:
                    pass  # no networks, or just being moved or removed
        finally:
            os.close(parent)
    return found


def _ports_of(pod_fd: int) -> list[ForwardedPort]:
    from rktpy.net.records import NetworkRecords

    ports: list[ForwardedPort] = []
    for attachment in NetworkRecords(pod_fd).attachments():
        entries: Any = attachment.capability_args.get(PORT_MAPPINGS)
        if isinstance(entries, list):
            ports += [_from_mapping(entry) for entry in entries if isinstance(entry, dict)]  # pyright: ignore
    return ports


def _from_mapping(entry: dict[str, Any]) -> ForwardedPort:
    def number(name: str) -> int:
        value = entry.get(name)
        return value if isinstance(value, int) else 0

    return ForwardedPort(
        str(entry.get("protocol", "")), number("hostPort"), number("containerPort"), str(entry.get("hostIP", ""))
    )


def _is_locked(pod_fd: int) -> bool:
    """Whether the pod runs: somebody holds the lock on its directory."""
    # A descriptor of its own: releasing must not touch a lock that the caller may hold through the other one.
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=pod_fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
