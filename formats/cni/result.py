"""What a plugin answers to ADD, of every version, in one form.

Source: CNI ``SPEC.md`` 1.1.0 section 5; 0.2.0 (``ip4``, ``ip6``) and 0.3.0 to 0.4.0 (``version`` in ``ips``) for older ones, and
libcni ``pkg/types`` for turning one into another. A result is passed on in the bytes it came in as long as the version stays.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Members
from rktpy.formats.cni.addresses import network_mask, packed, split_network
from rktpy.formats.cni.versions import VERSIONS, at_least
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LARGEST = 2**31 - 1

_RESULT = {name.casefold(): name for name in ("cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6")}
_INTERFACE = {name.casefold(): name for name in ("name", "mac", "mtu", "sandbox", "socketPath", "pciID")}
_ADDRESS = {name.casefold(): name for name in ("version", "address", "gateway", "interface")}
_OLD_ADDRESS = {name.casefold(): name for name in ("ip", "gateway", "routes")}
_ROUTE = {name.casefold(): name for name in ("dst", "gw", "mtu", "advmss", "priority", "table", "scope")}
_DNS = {name.casefold(): name for name in ("nameservers", "domain", "search", "options")}


class Interface(Record):
    """An interface that was made. ``sandbox`` is the path of its network namespace, empty for one on the host."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = ""


class Address(Record):
    """An address in the form ``ADDRESS/LENGTH``, and the index of its interface in the result, None when it is not said."""

    network: str
    gateway: str = ""
    interface: int | None = None

    @property
    def ip(self) -> str:
        """The address alone."""
        return self.network.partition("/")[0]

    @property
    def mask(self) -> str:
        """The mask, written as an address."""
        return network_mask(self.network)

    @property
    def is_v4(self) -> bool:
        """Whether it is an IPv4 address."""
        return ":" not in self.network


class Route(Record):
    """A route in the pod. An empty ``gateway`` means that of the address."""

    destination: str
    gateway: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class DNS(Record):
    """What a network says about names: what goes into resolv.conf(5)."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nameservers or self.domain or self.search or self.options)


class Result(Record):
    """The result of a network. ``document`` is as the plugin wrote it, in ``version``."""

    version: str
    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: DNS = DNS()
    document: dict[str, Any] | None = None

    @property
    def pod_addresses(self) -> tuple[Address, ...]:
        """The addresses inside the pod, IPv4 first: a plugin may also tell those of interfaces on the host."""
        inside = [address for address in self.addresses if self._is_inside(address)]
        return (*[address for address in inside if address.is_v4], *[address for address in inside if not address.is_v4])

    def _is_inside(self, address: Address) -> bool:
        index = address.interface
        return index is None or index >= len(self.interfaces) or self.interfaces[index].sandbox != ""

    def as_version(self, version: str) -> dict[str, Any]:
        """The result as a document of ``version``. Raises FormatError: nothing before 0.3.0 can be without an address."""
        if self.document is not None and self.version == version:
            return self.document
        if at_least(version, "0.3.0"):
            return self._to_dict(version)
        return self._to_old_dict(version)

    def _to_dict(self, version: str) -> dict[str, Any]:
        document: dict[str, Any] = {"cniVersion": version}
        newest = at_least(version, "1.1.0")
        if self.interfaces:
            document["interfaces"] = [_interface_document(interface, newest) for interface in self.interfaces]
        if self.addresses:
            document["ips"] = [_address_document(address, version) for address in self.addresses]
        if self.routes:
            document["routes"] = [_route_document(route, newest) for route in self.routes]
        document["dns"] = _dns_document(self.dns)
        return document

    def _to_old_dict(self, version: str) -> dict[str, Any]:
        document: dict[str, Any] = {"cniVersion": version}
        for member, v4 in (("ip4", True), ("ip6", False)):
            first = next((address for address in self.addresses if address.is_v4 == v4), None)
            if first is None:
                continue
            routes = [_route_document(route, False) for route in self.routes if (":" not in route.destination) == v4]
            document[member] = {"ip": first.network}
            if first.gateway:
                document[member]["gateway"] = first.gateway
            if routes:
                document[member]["routes"] = routes
        if len(document) == 1:
            raise FormatError("result", "", f"has no address, which CNI {version} wants")
        document["dns"] = _dns_document(self.dns)
        return document


def parse_result(data: bytes, version: str, what: str) -> Result:
    """Read a result. ``version`` is that of the configuration; a result that says none is taken for one of it (libcni).

    Raises FormatError: wrong types, addresses that are none, a version that is not known.
    """
    return read_result(jsondoc.parse_object(data, what), version, what)


def read_result(document: dict[str, Any], version: str, what: str) -> Result:
    """As :func:`parse_result`, from a JSON object, which from here on belongs to the result."""
    members = Members(document, _RESULT, what, "")
    said = members.text("cniVersion")
    if said and said not in VERSIONS:
        raise members.fail("cniVersion", f"CNI {said[:80]!r} is not known here")
    if not said:
        document = {**document, "cniVersion": version}
    said = said or version
    dns = _read_dns(members)
    if at_least(said, "0.3.0"):
        interfaces = tuple(_read_interface(entry) for entry in _objects(members, "interfaces", _INTERFACE))
        addresses = tuple(_read_address(entry, len(interfaces)) for entry in _objects(members, "ips", _ADDRESS))
        routes = tuple(_read_route(entry) for entry in _objects(members, "routes", _ROUTE))
        return Result(said, interfaces, addresses, routes, dns, document)
    old: list[Address] = []
    old_routes: list[Route] = []
    for member in ("ip4", "ip6"):
        value = members.get(member)
        if value is None:
            continue
        entry = Members(value, _OLD_ADDRESS, what, member)
        address = Address(_network(entry, "ip"), _gateway(entry, "gateway"))
        if address.is_v4 != (member == "ip4"):
            raise entry.fail("ip", "is of the other family")
        old.append(address)
        old_routes += [_read_route(route) for route in _objects(entry, "routes", _ROUTE)]
    return Result(said, (), tuple(old), tuple(old_routes), dns, document)


def _objects(members: Members, name: str, names: dict[str, str]) -> list[Members]:
    return [
        Members(value, names, members.what, f"{members.at(name)}[{index}]") for index, value in enumerate(members.array(name))
    ]


def _network(members: Members, name: str) -> str:
    text = members.required_text(name)
    if split_network(text) is None:
        raise members.fail(name, f"{text[:80]!r} is not an address with a prefix length")
    return text


def _gateway(members: Members, name: str) -> str:
    text = members.text(name)
    if text and packed(text) is None:
        raise members.fail(name, f"{text[:80]!r} is not an address")
    return text


def _read_interface(members: Members) -> Interface:
    return Interface(
        members.required_text("name"),
        members.os_text("mac"),
        members.integer("mtu", 0, 0, _LARGEST),
        members.os_text("sandbox"),
        members.os_text("socketPath"),
        members.os_text("pciID"),
    )


def _read_address(members: Members, interfaces: int) -> Address:
    index = None
    if members.get("interface") is not None:
        # -1 and beyond the end are written by plugins that have nothing to point at.
        number = members.integer("interface", 0, -1, _LARGEST)
        index = number if 0 <= number < interfaces else None
    return Address(_network(members, "address"), _gateway(members, "gateway"), index)


def _read_route(members: Members) -> Route:
    def optional(name: str) -> int | None:
        return None if members.get(name) is None else members.integer(name, 0, 0, 2**32 - 1)

    return Route(
        _network(members, "dst"),
        _gateway(members, "gw"),
        members.integer("mtu", 0, 0, _LARGEST),
        members.integer("advmss", 0, 0, _LARGEST),
        members.integer("priority", 0, 0, 2**32 - 1),
        optional("table"),
        optional("scope"),
    )


def _read_dns(members: Members) -> DNS:
    value = members.get("dns")
    if value is None:
        return DNS()
    entry = Members(value, _DNS, members.what, "dns")
    dns = DNS(entry.texts("nameservers"), entry.os_text("domain"), entry.texts("search"), entry.texts("options"))
    for name, words in (("search", dns.search), ("options", dns.options), ("domain", (dns.domain,))):
        if any(word.split() != [word] for word in words if word):
            raise entry.fail(name, "contains white space")  # it would become another line of resolv.conf
    for index, server in enumerate(dns.nameservers):
        if packed(server.partition("%")[0]) is None or server.split() != [server]:
            raise entry.fail(f"nameservers[{index}]", f"{server[:80]!r} is not an address")
    return dns


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value not in ("", 0, None, [], ())}


def _interface_document(interface: Interface, newest: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"name": interface.name, "mac": interface.mac, "sandbox": interface.sandbox}
    if newest:
        document.update(mtu=interface.mtu, socketPath=interface.socket_path, pciID=interface.pci_id)
    return _without_empty(document)


def _address_document(address: Address, version: str) -> dict[str, Any]:
    document: dict[str, Any] = {"address": address.network}
    if not at_least(version, "1.0.0"):
        document["version"] = "4" if address.is_v4 else "6"
    if address.gateway:
        document["gateway"] = address.gateway
    if address.interface is not None:
        document["interface"] = address.interface
    return document


def _route_document(route: Route, newest: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"dst": route.destination}
    if route.gateway:
        document["gw"] = route.gateway
    if newest:
        document.update(_without_empty({"mtu": route.mtu, "advmss": route.advmss, "priority": route.priority}))
        if route.table is not None:
            document["table"] = route.table
        if route.scope is not None:
            document["scope"] = route.scope
    return document


def _dns_document(dns: DNS) -> dict[str, Any]:
    return _without_empty(
        {
            "nameservers": list(dns.nameservers),
            "domain": dns.domain,
            "search": list(dns.search),
            "options": list(dns.options),
        }
    )
