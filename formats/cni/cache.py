"""What is remembered of an attachment, so that it can be undone: libcni's ``cniCacheV1``.

Source: libcni ``api.go`` (``cachedInfo``): a file ``<directory>/results/<network>-<container>-<interface>``. Beyond libcni's
members ours tell where the plugins were looked for; tools that do not know them pass over them. Hot-path module.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Members
from rktpy.formats.cni.configuration import Network, is_name, parse_network
from rktpy.formats.cni.result import Result, read_result
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KIND = "cniCacheV1"
RESULTS_DIR = "results"

_MEMBERS = (
    "kind", "containerId", "config", "ifName", "networkName", "netns", "cniArgs", "capabilityArgs", "result", "pluginDirs",
    "configFile",
)  # fmt: skip
_NAMES = {name.casefold(): name for name in _MEMBERS}


class Attachment(Record):
    """A pod's interface in a network, wanted (``result`` is None) or made.

    ``config`` is the list as it is run: one version, and with the plugins that were added to the user's. ``plugin_dirs`` is
    where its plugins were looked for; ``config_file`` the name of the file that the network came from.
    """

    container_id: str
    network: str
    if_name: str
    config: bytes
    netns: str = ""
    args: tuple[tuple[str, str], ...] = ()
    capability_args: dict[str, Any] = {}
    result: dict[str, Any] | None = None
    plugin_dirs: tuple[str, ...] = ()
    config_file: str = ""

    @property
    def file_name(self) -> str:
        """Its name in RESULTS_DIR."""
        return f"{self.network}-{self.container_id}-{self.if_name}"

    @property
    def args_text(self) -> str:
        """The arguments as CNI_ARGS has them."""
        return ";".join(f"{name}={value}" for name, value in self.args)

    def parsed_config(self) -> Network:
        """The configuration. Raises FormatError."""
        return parse_network(self.config, f"configuration of network {self.network}")

    def parsed_result(self, version: str) -> Result | None:
        """The result, None before there is one. Raises FormatError."""
        if self.result is None:
            return None
        return read_result(self.result, version, f"result of network {self.network}")

    def to_bytes(self) -> bytes:
        """The file's content."""
        document: dict[str, Any] = {
            "kind": KIND,
            "containerId": self.container_id,
            "config": b2a_base64(self.config, newline=False).decode(),
            "ifName": self.if_name,
            "networkName": self.network,
        }
        if self.netns:
            document["netns"] = self.netns
        if self.args:
            document["cniArgs"] = [list(pair) for pair in self.args]
        if self.capability_args:
            document["capabilityArgs"] = self.capability_args
        if self.result is not None:
            document["result"] = self.result
        document["pluginDirs"] = list(self.plugin_dirs)
        document["configFile"] = self.config_file
        return jsondoc.dump(document)


def parse_attachment(data: bytes, what: str) -> Attachment:
    """Read a file of RESULTS_DIR. Raises FormatError."""
    members = Members(jsondoc.parse_object(data, what), _NAMES, what, "")
    if members.required_text("kind") != KIND:
        raise members.fail("kind", f"must be {KIND}")
    try:
        config = a2b_base64(members.required_text("config").encode(), strict_mode=True)
    except (Error, ValueError):
        raise members.fail("config", "is not base64") from None
    container = members.required_text("containerId")
    network = members.required_text("networkName")
    interface = members.required_text("ifName")
    for name, text in (("containerId", container), ("networkName", network)):
        if not is_name(text):
            raise members.fail(name, f"{text[:80]!r} is not a name")
    if not is_interface_name(interface):
        raise members.fail("ifName", f"{interface[:80]!r} is not the name of an interface")
    return Attachment(
        container,
        network,
        interface,
        config,
        members.os_text("netns"),
        _pairs(members),
        _object(members, "capabilityArgs") or {},
        _object(members, "result"),
        members.texts("pluginDirs"),
        members.os_text("configFile"),
    )


def is_interface_name(text: str) -> bool:
    """Whether the kernel takes ``text`` for the name of an interface (``dev_valid_name``)."""
    return 0 < len(text.encode()) < 16 and text not in (".", "..") and not any(c in "/:" or c.isspace() for c in text)


def _pairs(members: Members) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for index, value in enumerate(members.array("cniArgs")):
        pair: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
        if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], str):
            raise members.fail(f"cniArgs[{index}]", "must be a pair of strings")
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _object(members: Members, name: str) -> dict[str, Any] | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise FormatError(members.what, members.at(name), "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]
