"""Tell the plugins which attachments are in use, so that they remove the others (GC of CNI 1.1.0).

Not for what a pod leaves, which ``tear_down`` undoes: for what is left by pods whose directory is lost. A network may be used
by other data directories and by other programs, which a caller has to know of: everything that it does not list is removed.

Source: CNI ``SPEC.md`` 1.1.0, GC; libcni ``api.go`` (GCNetworkList).
"""

from __future__ import annotations

import os

from rktpy.errors import NetworkError, StateError
from rktpy.formats import jsondoc
from rktpy.formats.cni.configuration import Network
from rktpy.formats.cni.versions import GC_SINCE, at_least
from rktpy.net.attach import plugin_versions
from rktpy.net.execute import find_plugin, run_plugin
from rktpy.net.records import NetworkRecords

_STATES = ("run", "exited-garbage")


def attachments_in_use(pods_dir: str, network: str) -> tuple[tuple[str, str], ...]:
    """The container IDs and interfaces of the pods below ``pods_dir`` that are, or may be, in the network.

    Raises StateError when networks of one of them are set up or taken down just now: GC must not be run then.
    """
    found: list[tuple[str, str]] = []
    for state in _STATES:
        try:
            names = sorted(os.listdir(f"{pods_dir}/{state}"))
        except FileNotFoundError:
            continue
        for name in names:
            try:
                pod = os.open(f"{pods_dir}/{state}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            records = NetworkRecords(pod)
            try:
                if records.lock(0, create=False):
                    found += [(a.container_id, a.if_name) for a in records.attachments() if a.network == network]
            except NetworkError:
                raise StateError(f"the networks of pod {name} are being changed") from None
            finally:
                records.unlock()
                os.close(pod)
    return tuple(found)


def collect_garbage(
    network: Network, plugin_dirs: tuple[str, ...], in_use: tuple[tuple[str, str], ...]
) -> tuple[NetworkError, ...]:
    """Have the plugins of a network remove all attachments but those ``in_use``; what went wrong.

    Nothing is asked of networks with ``disableGC`` or of a version before 1.1.0, nor of plugins that do not speak it. The caller
    keeps ADD and DEL of the network away meanwhile.
    """
    version = network.versions[0]
    if network.disable_gc or not at_least(version, GC_SINCE):
        return ()
    failed: list[NetworkError] = []
    for plugin in network.plugins:
        try:
            path = find_plugin(plugin.type, plugin_dirs)
            if GC_SINCE in plugin_versions(plugin.type, plugin_dirs):
                config = jsondoc.dump(plugin.with_attachments(network.name, version, in_use))
                run_plugin(path, config, {"CNI_COMMAND": "GC", "CNI_PATH": ":".join(plugin_dirs)})
        except NetworkError as error:
            failed.append(error)
    return tuple(failed)
