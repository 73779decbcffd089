"""ADD, DEL and CHECK of one pod in one network: its plugins, one after the other.

Source: CNI ``SPEC.md`` 1.1.0 section 3 and 4; libcni ``api.go``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, NetworkError
from rktpy.formats import jsondoc
from rktpy.formats.cni.cache import Attachment
from rktpy.formats.cni.configuration import Network
from rktpy.formats.cni.failure import INCOMPATIBLE_VERSION, UNKNOWN_CONTAINER
from rktpy.formats.cni.result import Result, parse_result
from rktpy.formats.cni.versions import CHECK_SINCE, UNSAID, at_least, supported_versions
from rktpy.log import debug
from rktpy.net.execute import PluginError, find_plugin, run_plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class IncompatibleVersion(NetworkError):
    """A plugin does not speak the version of the configuration."""


def add(attachment: Attachment, network: Network, lock_fd: int = -1) -> Result:
    """ADD, plugin after plugin, each with the result of the one before; the last result.

    ``network`` is the configuration of ``attachment`` and is run in the first of its versions. What was done by then is not
    undone on failure. Raises IncompatibleVersion, PluginError, NetworkError.
    """
    version = network.versions[0]
    variables = _variables(attachment, "ADD")
    paths = [find_plugin(plugin.type, attachment.plugin_dirs) for plugin in network.plugins]
    result: Result | None = None
    for plugin, path in zip(network.plugins, paths, strict=True):
        previous = None if result is None else _previous(result, version, attachment)
        document = plugin.with_environment(network.name, version, previous, attachment.capability_args)
        try:
            output = run_plugin(path, jsondoc.dump(document), variables, lock_fd)
            result = parse_result(output, version, f"result of plugin {plugin.type}")
        except PluginError as error:
            if error.failure.code == INCOMPATIBLE_VERSION:
                raise IncompatibleVersion(f"plugin {plugin.type} does not speak CNI {version}: {error.failure}") from None
            raise
        except FormatError as error:
            raise NetworkError(str(error)) from None
    if result is None:
        raise NetworkError(f'network "{network.name}" has no plugins')
    return result


def delete(attachment: Attachment, netns: str, lock_fd: int = -1) -> list[NetworkError]:
    """DEL, in the reverse order, all plugins even if one fails; what went wrong.

    ``netns`` is the path of the namespace, empty when it is gone. May be called for what was never made, and again.
    """
    try:
        network = attachment.parsed_config()
        version = network.versions[0]
        result = attachment.parsed_result(version)
        previous = None if result is None else result.as_version(version)
    except FormatError as error:
        return [NetworkError(str(error))]
    if not at_least(version, CHECK_SINCE):
        previous = None
    variables = _variables(attachment, "DEL", netns)
    failed: list[NetworkError] = []
    for plugin in reversed(network.plugins):
        document = plugin.with_environment(network.name, version, previous, attachment.capability_args)
        try:
            run_plugin(find_plugin(plugin.type, attachment.plugin_dirs), jsondoc.dump(document), variables, lock_fd)
        except PluginError as error:
            # The first says that there is nothing to undo. The second did nothing either if it has never accepted the version.
            harmless = (UNKNOWN_CONTAINER, INCOMPATIBLE_VERSION) if attachment.result is None else (UNKNOWN_CONTAINER,)
            if error.failure.code in harmless:
                debug("networking", f"{error}")
            else:
                failed.append(error)
        except NetworkError as error:
            failed.append(error)
    return failed


def check(attachment: Attachment, netns: str, lock_fd: int = -1) -> bool:
    """CHECK, plugin after plugin; False when the version or the configuration has none.

    Raises PluginError: something is not as it should be.
    """
    network = attachment.parsed_config()
    version = network.versions[0]
    if not at_least(version, CHECK_SINCE) or network.disable_check:
        return False
    result = attachment.parsed_result(version)
    if result is None:
        raise NetworkError(f'network "{network.name}" was not set up to the end')
    variables = _variables(attachment, "CHECK", netns)
    for plugin in network.plugins:
        document = plugin.with_environment(network.name, version, result.as_version(version), attachment.capability_args)
        run_plugin(find_plugin(plugin.type, attachment.plugin_dirs), jsondoc.dump(document), variables, lock_fd)
    return True


def negotiate(network: Network, plugin_dirs: tuple[str, ...]) -> Network:
    """The network with the newest of its versions that all its plugins say they speak (VERSION). Raises NetworkError."""
    versions = network.versions
    known: list[str] = []
    for kind in dict.fromkeys(plugin.type for plugin in network.plugins):
        spoken = plugin_versions(kind, plugin_dirs)
        known.append(f"{kind} speaks {', '.join(reversed(spoken))}")
        versions = tuple(version for version in versions if version in spoken)
    if not versions:
        asked = ", ".join(reversed(network.versions))
        raise NetworkError(
            f'network "{network.name}": no version of CNI is common to its plugins: it asks for {asked}; {"; ".join(known)}'
        )
    return network.replace(versions=versions)


def plugin_versions(kind: str, plugin_dirs: tuple[str, ...]) -> tuple[str, ...]:
    """The versions that a plugin speaks, the newest first. Raises NetworkError."""
    config = jsondoc.dump({"cniVersion": "1.0.0"})
    try:
        output = run_plugin(find_plugin(kind, plugin_dirs), config, {"CNI_COMMAND": "VERSION", "CNI_PATH": ":".join(plugin_dirs)})
        return supported_versions(output, f"versions of plugin {kind}")
    except PluginError:
        return (UNSAID,)  # CNI 0.1.0 did not have the question
    except FormatError as error:
        raise NetworkError(str(error)) from None


def _variables(attachment: Attachment, command: str, netns: str | None = None) -> dict[str, str]:
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": attachment.container_id,
        "CNI_NETNS": attachment.netns if netns is None else netns,
        "CNI_IFNAME": attachment.if_name,
        "CNI_ARGS": attachment.args_text,
        "CNI_PATH": ":".join(attachment.plugin_dirs),
    }


def _previous(result: Result, version: str, attachment: Attachment) -> dict[str, Any]:
    try:
        return result.as_version(version)
    except FormatError as error:
        raise NetworkError(f'network "{attachment.network}": {error}') from None
