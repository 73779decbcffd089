"""Ask the plugins whether a running pod's networks are as they were made, and whether a network is ready for pods.

Source: CNI ``SPEC.md`` 1.1.0, CHECK and STATUS.
"""

from __future__ import annotations

import os

from rktpy.errors import FormatError, NetworkError
from rktpy.formats import jsondoc
from rktpy.formats.cni.configuration import Network
from rktpy.formats.cni.versions import GC_SINCE, at_least
from rktpy.net.attach import check, plugin_versions
from rktpy.net.execute import TIMEOUT, find_plugin, run_plugin
from rktpy.net.namespace import open_held
from rktpy.net.records import NetworkRecords


def check_pod(pod_fd: int) -> tuple[str, ...]:
    """CHECK every network of the pod whose directory is open as ``pod_fd``; the names of those that could be asked.

    Networks of versions before 0.4.0, or with ``disableCheck``, cannot. Raises NetworkError: one is not as it should be.
    """
    records = NetworkRecords(pod_fd)
    if not records.lock(TIMEOUT, create=False):
        return ()
    try:
        path = records.netns()
        held = open_held(path)
        if held < 0:
            raise NetworkError("the network namespace of the pod is gone")
        os.close(held)
        checked: list[str] = []
        for attachment in reversed(records.attachments()):
            try:
                if check(attachment, path, records.lock_fd):
                    checked.append(attachment.network)
            except (NetworkError, FormatError) as error:
                raise NetworkError(f'network "{attachment.network}" is not as it should be') from error
        return tuple(checked)
    finally:
        records.unlock()


def ask_status(network: Network, plugin_dirs: tuple[str, ...]) -> bool:
    """STATUS of a network's plugins; False when it is of a version before 1.1.0, which has none.

    Plugins of such a network that do not speak 1.1.0 themselves are not asked. Raises PluginError: a plugin is not ready
    (codes 50 and 51 of the specification), NetworkError when one is not there.
    """
    if not at_least(network.versions[0], GC_SINCE):
        return False
    for plugin in network.plugins:
        path = find_plugin(plugin.type, plugin_dirs)
        if GC_SINCE in plugin_versions(plugin.type, plugin_dirs):
            config = jsondoc.dump(plugin.with_environment(network.name, network.versions[0]))
            run_plugin(path, config, {"CNI_COMMAND": "STATUS", "CNI_PATH": ":".join(plugin_dirs)})
    return True
