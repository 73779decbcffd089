"""A virtual machine in a pod's network namespace: a tap beside each interface that plugins have made, and everything that
comes in at one of the two goes out at the other (tc-mirred(8)).

So the plugins see an interface as of any container, and the guest has its hardware address, addresses and routes, which the
namespace itself gives up. Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from struct import pack

from rktpy.errors import NetworkError, describe
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.net.rtnetlink import Route, RtNetlink
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")

_OWN = "/proc/thread-self/ns/net"
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


class Carried(Record):
    """What the guest's interface is to be: its name, hardware address, largest packet, addresses with prefixes, and routes."""

    name: str
    hardware: str
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[Route, ...]


def in_namespace(netns_fd: int, action: Callable[[], Result]) -> Result:
    """Call ``action`` with the calling thread in a network namespace, and come back. Raises what it raises, OSError."""
    before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(netns_fd, c.CLONE_NEWNET)
        try:
            return action()
        finally:
            syscalls.setns(before, c.CLONE_NEWNET)
    finally:
        os.close(before)


def open_tap(netns_fd: int, name: str) -> int:
    """Make a tap in a network namespace: its descriptor, which may go to QEMU and be used from any namespace. Raises OSError."""
    # It belongs to the namespace that it was opened in, whoever makes the interface.
    fd = in_namespace(netns_fd, lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    try:
        fcntl.ioctl(fd, _TUNSETIFF, pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    except BaseException:
        os.close(fd)
        raise
    return fd


def carry_over(netns_fd: int, if_name: str, tap_name: str) -> Carried:
    """Connect the tap with an interface of the namespace, and take what that has for the guest. Raises NetworkError."""
    try:
        return in_namespace(netns_fd, lambda: _carry_over(if_name, tap_name))
    except OSError as error:
        raise NetworkError(f"cannot connect the virtual machine with interface {if_name}: {describe(error)}") from None


def _carry_over(if_name: str, tap_name: str) -> Carried:
    with RtNetlink() as network:
        link, tap = network.link(if_name), network.link(tap_name)
        addresses, routes = network.addresses(link.index), network.routes(link.index)
        # The namespace must not answer for what is the guest's now.
        for name in (if_name, tap_name):
            _without_ipv6(name)
        for text, body in addresses:
            try:
                network.remove_address(body)
            except OSError:
                if text and ":" not in text:
                    raise  # those of IPv6 are gone with it
        network.raise_link(tap.index, link.mtu)
        network.raise_link(link.index)
        network.redirect(link.index, tap.index)
        network.redirect(tap.index, link.index)
    return Carried(if_name, link.address, link.mtu, tuple([text for text, _body in addresses if text]), tuple(routes))


def _without_ipv6(name: str) -> None:
    try:
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "wb", buffering=0) as file:
            file.write(b"1")
    except OSError:
        pass  # a kernel without IPv6
