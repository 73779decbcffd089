"""Moving network devices of the host into a container (``linux.netDevices`` of runtime-spec 1.3), by rtnetlink(7).

A device that is moved is down and has no addresses; those that it had with global scope are given back to it, and it is set up,
as the specification wants.
"""

from __future__ import annotations

import os
from struct import pack, unpack_from

from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_REQUEST, _ACK, _DUMP, _CREATE, _EXCL = 1, 4, 0x300, 0x400, 0x200
_ERROR, _DONE = 2, 3
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFF_UP = 1
_IFA_LOCAL, _IFA_ADDRESS, _IFA_FLAGS = 2, 1, 8
_PERMANENT = 0x80
_GLOBAL = 0


def move_devices(pid: int, devices: dict[str, str]) -> None:
    """Move devices, name outside to name inside, into the network namespace of ``pid``. Raises RuntimeFailure, OSError."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with_addresses: list[tuple[str, list[tuple[bytes, bytes]]]] = []
        outside = _socket()
        try:
            for name, new in devices.items():
                index = _index(outside, name)
                addresses = _addresses(outside, index)
                body = pack("=BxHiII", 0, 0, index, 0, 0)
                body += _attribute(_IFLA_NET_NS_FD, pack("=I", namespace)) + _attribute(_IFLA_IFNAME, new.encode() + b"\0")
                _ask(outside, _NEWLINK, body, f"move network device {name}")
                with_addresses.append((new, addresses))
        finally:
            outside.close()
        _set_up_inside(namespace, with_addresses)
    finally:
        os.close(namespace)


def _set_up_inside(namespace: int, devices: list[tuple[str, list[tuple[bytes, bytes]]]]) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(namespace, c.CLONE_NEWNET)
        try:
            inside = _socket()
        finally:
            syscalls.setns(own, c.CLONE_NEWNET)
    finally:
        os.close(own)
    try:
        for name, addresses in devices:
            index = _index(inside, name)
            for header, attributes in addresses:
                body = header[:4] + pack("=I", index) + attributes
                _ask(inside, _NEWADDR, body, f"give network device {name} its addresses", _CREATE | _EXCL)
            _ask(inside, _NEWLINK, pack("=BxHiII", 0, 0, index, _IFF_UP, _IFF_UP), f"set network device {name} up")
    finally:
        inside.close()


def _socket() -> socket:
    from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

    made = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
    made.bind((0, 0))
    return made


def _attribute(kind: int, value: bytes) -> bytes:
    return pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def _ask(netlink: socket, kind: int, body: bytes, what: str, flags: int = 0) -> None:
    netlink.send(pack("=IHHII", len(body) + 16, kind, _REQUEST | _ACK | flags, 1, 0) + body)
    answer = netlink.recv(65536)
    error = -unpack_from("=i", answer, 16)[0] if unpack_from("=H", answer, 4)[0] == _ERROR else 0
    if error:
        raise RuntimeFailure(f"can't {what}") from OSError(error, os.strerror(error))


def _messages(netlink: socket, kind: int, body: bytes) -> list[bytes]:
    """The bodies of all messages of a dump."""
    netlink.send(pack("=IHHII", len(body) + 16, kind, _REQUEST | _DUMP, 2, 0) + body)
    found: list[bytes] = []
    while True:
        data = netlink.recv(1 << 18)
        while len(data) >= 16:
            length, message = unpack_from("=IH", data)
            if message in (_DONE, _ERROR):
                return found
            found.append(data[16:length])
            data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while len(data) >= 4:
        length, kind = unpack_from("=HH", data)
        if length < 4:
            break
        found.append((kind & 0x3FFF, data[4:length]))
        data = data[(length + 3) & ~3 :]
    return found


def _index(netlink: socket, name: str) -> int:
    for body in _messages(netlink, _GETLINK, pack("=BxHiII", 0, 0, 0, 0, 0)):
        if (_IFLA_IFNAME, name.encode() + b"\0") in _attributes(body[16:]):
            index: int = unpack_from("=i", body, 4)[0]
            return index
    raise RuntimeFailure(f"there is no network device {name}")


def _addresses(netlink: socket, index: int) -> list[tuple[bytes, bytes]]:
    """Permanent addresses of global scope: the head of the message, and the attributes to give them again."""
    found: list[tuple[bytes, bytes]] = []
    for body in _messages(netlink, _GETADDR, pack("=BBBBI", 0, 0, 0, 0, 0)):
        _family, _prefix, flags, scope, where = unpack_from("=BBBBI", body)
        attributes = dict(_attributes(body[8:]))
        if _IFA_FLAGS in attributes:
            flags = unpack_from("=I", attributes[_IFA_FLAGS])[0]
        if where != index or scope != _GLOBAL or not flags & _PERMANENT:
            continue
        kept = b"".join(_attribute(kind, attributes[kind]) for kind in (_IFA_ADDRESS, _IFA_LOCAL) if kind in attributes)
        found.append((body[:8], kept))
    return found
