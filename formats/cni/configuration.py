"""Network configurations: a list of plugins (``.conflist``), or one plugin (``.conf``, before CNI 1.0.0).

Source: CNI ``SPEC.md`` 1.1.0 section 1, 0.4.0 for single plugins; libcni ``conf.go`` and ``utils.go`` for which names are good.
Names, types and versions are checked; what else a plugin's object has is the plugin's own and is passed on as it is. Member
names are matched without regard to case, because the plugins read them so; two spellings of one member are refused.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Members, copied
from rktpy.formats.cni.versions import UNSAID, VERSIONS, is_version, newest_first
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PORT_MAPPINGS = "portMappings"
BANDWIDTH = "bandwidth"
DNS_CAPABILITY = "dns"

#: What is set in the object that a plugin gets, and therefore nothing in it may say otherwise.
_INJECTED = ("name", "cniversion", "prevresult", "runtimeconfig", "capabilities")
_ATTACHMENTS = "cni.dev/valid-attachments"
#: The name that the text of 1.1.0 had by mistake; libcni sends both.
_ATTACHMENTS_TOO = "cni.dev/attachments"

_LIST = {
    name.casefold(): name
    for name in ("name", "cniVersion", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins", "type")
}
_PLUGIN = {name.casefold(): name for name in ("type", "capabilities", "ipMasq")}
_NAME_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME = _NAME_FIRST | frozenset("_.-")


class Plugin(Record):
    """One plugin of a network: its type (the name of an executable) and its object as it was written.

    ``capabilities`` are those that it declares; ``ip_masq`` whether it hides the pod's address behind the host's.
    """

    type: str
    document: dict[str, Any]
    capabilities: tuple[str, ...] = ()
    ip_masq: bool = False

    def with_environment(
        self,
        network: str,
        version: str,
        previous: dict[str, Any] | None = None,
        runtime: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The object that the plugin gets on its standard input.

        ``previous`` is a result in ``version``; of ``runtime`` it gets the capabilities that it declares.
        """
        document = {name: value for name, value in self.document.items() if name.casefold() not in _INJECTED}
        document["name"] = network
        document["cniVersion"] = version
        if previous is not None:
            document["prevResult"] = previous
        if runtime:
            wanted = {name: runtime[name] for name in self.capabilities if name in runtime}
            if wanted:
                document["runtimeConfig"] = wanted
        return document

    def with_attachments(self, network: str, version: str, attachments: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """The object for GC: ``attachments`` are the container IDs and interface names that are still in use."""
        document = self.with_environment(network, version)
        valid = [{"containerID": container, "ifname": interface} for container, interface in attachments]
        document[_ATTACHMENTS] = valid
        document[_ATTACHMENTS_TOO] = valid
        return document


class Network(Record):
    """A network: its plugins in the order of ADD, and the versions that it may be run with, the newest first.

    ``inlined_only`` forbids more plugins from the directory beside the file; only then or when there are such may ``plugins``
    be empty.
    """

    name: str
    versions: tuple[str, ...]
    plugins: tuple[Plugin, ...]
    disable_check: bool = False
    disable_gc: bool = False
    inlined_only: bool = False

    @property
    def ip_masq(self) -> bool:
        """Whether one of the plugins hides the pod's address behind the host's."""
        return any(plugin.ip_masq for plugin in self.plugins)

    def has_capability(self, name: str) -> bool:
        """Whether one of the plugins declares the capability."""
        return any(name in plugin.capabilities for plugin in self.plugins)

    def with_plugin(self, document: dict[str, Any]) -> Network:
        """The network with one more plugin at its end. Raises FormatError."""
        return self.replace(plugins=(*self.plugins, read_plugin(document, f"network {self.name}", "plugins")))

    def to_bytes(self) -> bytes:
        """The configuration list, in the first of ``versions``."""
        document: dict[str, Any] = {"cniVersion": self.versions[0], "name": self.name}
        if self.disable_check:
            document["disableCheck"] = True
        if self.disable_gc:
            document["disableGC"] = True
        document["plugins"] = [plugin.document for plugin in self.plugins]
        return jsondoc.dump(document)


def is_name(text: str) -> bool:
    """Whether ``text`` can name a network or a container (libcni: letters, digits, ``_.-``, and no sign first)."""
    return text != "" and text[0] in _NAME_FIRST and _NAME.issuperset(text) and len(text) <= 200


def parse_network(data: bytes, what: str) -> Network:
    """Read a configuration of either form, called ``what`` in errors. Raises FormatError."""
    document = jsondoc.parse_object(data, what)
    members = Members(document, _LIST, what, "")
    name = members.required_text("name")
    if not is_name(name):
        raise members.fail("name", f"{name[:80]!r} is not a network name: letters, digits, '_', '.' and '-' are")
    versions = _versions(members)
    if members.get("type") is None:
        plugins = tuple(read_plugin(value, what, f"plugins[{index}]") for index, value in enumerate(members.array("plugins")))
        inlined_only = _boolean(members, "loadOnlyInlinedPlugins")
        if not plugins and (members.get("plugins") is not None or inlined_only):
            raise members.fail("plugins", "must not be empty")
        return Network(name, versions, plugins, _boolean(members, "disableCheck"), _boolean(members, "disableGC"), inlined_only)
    if members.get("plugins") is not None:
        raise members.fail("type", "a list of plugins has no type of its own")
    return Network(name, versions, (read_plugin(document, what, ""),), inlined_only=True)


def read_plugin(document: object, what: str, path: str) -> Plugin:
    """Read the object of one plugin. Raises FormatError."""
    members = Members(document, _PLUGIN, what, path)
    kind = members.required_text("type")
    if kind in (".", "..") or "/" in kind:
        raise members.fail("type", f"{kind[:80]!r} is not the name of a plugin")
    declared = members.get("capabilities")
    capabilities: list[str] = []
    if declared is not None:
        if not isinstance(declared, dict):
            raise members.fail("capabilities", "must be an object")
        for name, value in declared.items():  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(value, bool):
                raise members.fail(f"capabilities.{name}", "must be true or false")
            if value:
                capabilities.append(name)  # pyright: ignore[reportUnknownArgumentType]
    # Whether it masquerades is a question of ours; what kind of value a plugin wants there is its own affair.
    return Plugin(kind, copied(document, what), tuple(capabilities), members.get("ipMasq") is True)


def _versions(members: Members) -> tuple[str, ...]:
    """The versions to run with: the list, or the only one; those that are too new are passed over when there are others."""
    single = members.text("cniVersion")
    listed = members.texts("cniVersions")
    for name, version in (("cniVersion", single), *((f"cniVersions[{i}]", text) for i, text in enumerate(listed))):
        if version and not is_version(version):
            raise members.fail(name, f"{version[:80]!r} is not a version")
    if members.get("cniVersions") is None:
        listed = (single or UNSAID,)
    elif single:
        listed = (single, *listed)
    known = newest_first(listed)
    if not known:
        raise members.fail("cniVersion", f"CNI {', '.join(listed)} is not known here, {VERSIONS[0]} to {VERSIONS[-1]} are")
    return known


def _boolean(members: Members, name: str) -> bool:
    """libcni takes the word for the value."""
    value = members.get(name)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return members.boolean(name)


def parse_plugin(data: bytes, what: str) -> Plugin:
    """Read a file with one plugin of a network whose list is in another file (CNI 1.1.0). Raises FormatError."""
    return read_plugin(jsondoc.parse_object(data, what), what, "")
