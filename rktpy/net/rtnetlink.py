"""The kernel's interface to its network (rtnetlink(7)), as far as a tap in a pod's namespace needs it. Hot-path module."""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_RAW, inet_ntop, socket
from struct import Struct, pack, unpack_from

from rktpy.record import Record

AF_NETLINK = 16
_HEADER = Struct("=IHHII")
_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWADDR, _DELADDR, _GETADDR, _NEWROUTE, _GETROUTE = 16, 18, 20, 21, 22, 24, 26
_NEWQDISC, _NEWTFILTER = 36, 44
_REQUEST, _ACK, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400
_INGRESS, _INGRESS_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_STOLEN, _REDIRECT, _TERMINAL = 4, 1, 1
_IFF_UP = 1
_MAIN_TABLE, _BY_KERNEL, _UNICAST = 254, 2, 1
_SCOPE_LINK = 253


class Link(Record):
    """An interface: its number, hardware address, and largest packet in bytes."""

    index: int
    address: str
    mtu: int


class Route(Record):
    """A route of the main table. ``to`` is ``address/prefix``; ``gateway`` may be empty; ``scope`` as in rtnetlink(7)."""

    to: str
    gateway: str
    scope: int
    metric: int


class RtNetlink:
    """A socket in the namespace that it was made in. Use it as a context manager."""

    def __init__(self) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
        self._sequence = 0

    def __enter__(self) -> RtNetlink:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def link(self, name: str) -> Link:
        """The interface called ``name``. Raises OSError."""
        for body in self._dump(_GETLINK, pack("=BxHiII", 0, 0, 0, 0, 0)):
            attributes = _attributes(body, 16)
            if attributes.get(3, b"").rstrip(b"\0").decode("ascii", "replace") == name:
                address = ":".join([f"{byte:02x}" for byte in attributes.get(1, b"")])
                return Link(unpack_from("=i", body, 4)[0], address, unpack_from("=I", attributes.get(4, bytes(4)))[0])
        raise FileNotFoundError(2, os.strerror(2), name)

    def addresses(self, index: int) -> list[tuple[str, bytes]]:
        """The addresses of an interface that are not the kernel's own, as ``address/prefix``; with each what takes it away."""
        found: list[tuple[str, bytes]] = []
        for body in self._dump(_GETADDR, pack("=BBBBi", 0, 0, 0, 0, 0)):
            family, prefix, _flags, scope, number = unpack_from("=BBBBi", body)
            if number != index:
                continue
            attributes = _attributes(body, 8)
            address = attributes.get(2) or attributes.get(1, b"")
            text = "" if scope == _SCOPE_LINK else f"{inet_ntop(family, address)}/{prefix}"
            found.append((text, body))
        return found

    def remove_address(self, body: bytes) -> None:
        """Take an address away, as :meth:`addresses` gives it. Raises OSError."""
        self._ask(_DELADDR, 0, body)

    def routes(self, index: int) -> list[Route]:
        """The routes through an interface, those left out that come with its addresses; routes to gateways' own come first."""
        found: list[Route] = []
        for body in self._dump(_GETROUTE, bytes(12)):
            family, prefix, _source, _tos, table, protocol, scope, kind, _flags = unpack_from("=BBBBBBBBI", body)
            attributes = _attributes(body, 12)
            out = unpack_from("=i", attributes.get(4, bytes(4)))[0]
            if (
                out != index
                or table != _MAIN_TABLE
                or protocol == _BY_KERNEL
                or kind != _UNICAST
                or family not in (AF_INET, AF_INET6)
            ):
                continue
            empty = bytes(4 if family == AF_INET else 16)
            to = f"{inet_ntop(family, attributes.get(1, empty))}/{prefix}"
            gateway = inet_ntop(family, attributes[5]) if 5 in attributes else ""
            found.append(Route(to, gateway, scope, unpack_from("=I", attributes.get(6, bytes(4)))[0]))
        return sorted(found, key=lambda route: bool(route.gateway))

    def raise_link(self, index: int, mtu: int = 0) -> None:
        """Set an interface up. Raises OSError."""
        attributes = _attribute(4, pack("=I", mtu)) if mtu else b""
        self._ask(_NEWLINK, 0, pack("=BxHiII", 0, 0, index, _IFF_UP, _IFF_UP) + attributes)

    def redirect(self, source: int, target: int) -> None:
        """Send everything that comes in at one interface out at another one (tc-mirred(8)). Raises OSError."""
        queue = pack("=BxHiIII", 0, 0, source, _INGRESS_HANDLE, _INGRESS, 0) + _attribute(1, b"ingress\0")
        self._ask(_NEWQDISC, _CREATE, queue)
        action = pack("=IIiiiiI", 0, 0, _STOLEN, 0, 0, _REDIRECT, target)
        mirred = _attribute(1, _attribute(1, b"mirred\0") + _attribute(2, _attribute(2, action)))
        # One key that everything matches: there are kernels without the filter that needs none.
        key = pack("=BBBxHHhhI", _TERMINAL, 0, 1, 0, 0, 0, 0, 0) + bytes(16)
        options = _attribute(2, _attribute(5, key) + _attribute(7, mirred))
        every_protocol = 0x0300  # ETH_P_ALL in the network's order of bytes
        head = pack("=BxHiIII", 0, 0, source, 0, _INGRESS_HANDLE, 1 << 16 | every_protocol)
        self._ask(_NEWTFILTER, _CREATE, head + _attribute(1, b"u32\0") + options)

    def _ask(self, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, flags | _ACK, body)
        answer = self._socket.recv(65536)
        error = unpack_from("=i", answer, 16)[0] if unpack_from("=H", answer, 4)[0] == _ERROR else 0
        if error:
            raise OSError(-error, os.strerror(-error))

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(16 + len(body), kind, flags | _REQUEST, self._sequence, 0) + body)

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        self._send(kind, _DUMP, body)
        found: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 18)
            at = 0
            while at + 16 <= len(data):
                length, type_ = unpack_from("=IH", data, at)
                if type_ in (_DONE, _ERROR) or length < 16:
                    return found
                found.append(data[at + 16 : at + length])
                at += -(-length // 4) * 4


def _attribute(kind: int, data: bytes) -> bytes:
    return pack("=HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)


def _attributes(body: bytes, start: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = start
    while at + 4 <= len(body):
        length, kind = unpack_from("=HH", body, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = body[at + 4 : at + length]
        at += -(-length // 4) * 4
    return found
