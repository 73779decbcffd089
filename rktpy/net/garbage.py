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
from rktpy.log import debug
from rktpy.net.attach import plugin_versions
from rktpy.net.execute import find_plugin, plugin_dirs, run_plugin
from rktpy.net.records import NetworkRecords
from rktpy.net.selection import choose_networks, lock_networks, parse_selection

_STATES = ("run", "exited-garbage")


def collect_unused(pods_dir: str, local_config: str) -> tuple[NetworkError, ...]:
    """Have the plugins of the user's networks remove what no pod below ``pods_dir`` uses; what went wrong.

    Meanwhile no network is set up or taken down: the configurations' directory is locked against the one, each pod's records
    against the other. When somebody is at it, nothing is done: the next call will do. Raises ConfigError.
    """
    lock = lock_networks(local_config, exclusive=True)
    if lock < 0:
        return ()
    problems: list[NetworkError] = []
    try:
        networks = [
            chosen.network
            for chosen in choose_networks(parse_selection("all"), local_config)
            if at_least(chosen.network.versions[0], GC_SINCE) and not chosen.network.disable_gc
        ]
        for network in networks:
            with AttachmentsInUse(pods_dir) as in_use:
                problems += collect_garbage(network, plugin_dirs(local_config), in_use.of(network.name))
    except StateError as error:
        debug("networking", str(error))
    finally:
        os.close(lock)
    return tuple(problems)


class AttachmentsInUse:
    """The attachments of the pods below a directory, which stay as they are while this is entered.

    Entering raises StateError when networks of one of them are set up or taken down just now: GC must not be run then.
    """

    def __init__(self, pods_dir: str) -> None:
        self._directory = pods_dir
        self._pods: list[int] = []
        self._records: list[NetworkRecords] = []

    def __enter__(self) -> AttachmentsInUse:
        try:
            for state in _STATES:
                self._lock_all(f"{self._directory}/{state}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for records in self._records:
            records.unlock()
        for pod in self._pods:
            os.close(pod)
        self._records, self._pods = [], []

    def of(self, network: str) -> tuple[tuple[str, str], ...]:
        """The container IDs and interfaces of the pods that are, or may be, in the network."""
        found = [attachment for records in self._records for attachment in records.attachments() if attachment.network == network]
        return tuple([(attachment.container_id, attachment.if_name) for attachment in found])

    def _lock_all(self, directory: str) -> None:
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            return
        for name in names:
            try:
                pod = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            self._pods.append(pod)
            records = NetworkRecords(pod)
            try:
                if records.lock(0, create=False):
                    self._records.append(records)
            except NetworkError:
                raise StateError(f"the networks of pod {name} are being changed") from None


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
