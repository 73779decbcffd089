"""Which networks a pod joins: the value of ``--net``, and the configurations that it names.

Source: rkt 1.30 ``common/common.go`` (NetList), ``networking/podenv.go`` and ``Documentation/networking/overview.md``.
Networks are the built-in ones and those of ``<local-config>/net.d/*.conf`` and ``*.conflist``, joined in the order of the
file names. A user's network replaces the built-in one of its name; of two files with one name the first counts.
``default-restricted`` is added when ``default`` is not among the networks.

A file that cannot be read stops every pod that wants a network, as in rkt: it may hold the ``default`` of an administrator
who does not want ours. Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
import stat

from rktpy.errors import ConfigError, FormatError, NetworkError, UsageError
from rktpy.formats.cni.configuration import Network, parse_network, parse_plugin
from rktpy.log import debug, note
from rktpy.net.builtin import BUILTIN, DEFAULT, RESTRICTED
from rktpy.record import Record

NET_DIR = "net.d"
_ENDINGS = (".conf", ".conflist")
_LARGEST = 1 << 20  # bytes of one file


class Selection(Record):
    """What ``--net`` says: names with the arguments for their plugins (CNI_ARGS), in order."""

    networks: tuple[tuple[str, str], ...]

    def __contains__(self, name: str) -> bool:
        return any(name == other for other, _arguments in self.networks)

    @property
    def host(self) -> bool:
        """Whether the pod stays in the host's network namespace. It wins over all other names."""
        return "host" in self

    @property
    def none(self) -> bool:
        """Whether the pod has a loopback interface and nothing else."""
        return "none" in self and not self.host


class Chosen(Record):
    """A network that a pod joins: its configuration, the name of the file with it, and the arguments for its plugins."""

    network: Network
    file_name: str
    arguments: str = ""


def parse_selection(text: str) -> Selection:
    """Read the value of ``--net`` as stage0 passes it: ``NAME[:K=V;K=V],...``, empty for the default network.

    Raises UsageError with rkt's messages.
    """
    networks: list[tuple[str, str]] = []
    for entry in text.split(",") if text else ():
        name, colon, arguments = entry.partition(":")
        if not name:
            raise UsageError("netname must not be empty")
        if any(name == other for other, _arguments in networks):
            raise UsageError(f'found duplicate netname "{name}"')
        if ":" in arguments and name in ("all", "host"):
            raise UsageError(f'network "{name}" provided with invalid arguments: {arguments}')
        if colon and name in ("all", "host"):
            raise UsageError(f'arguments are not supported by special netname "{name}"')
        parse_arguments(arguments, name)
        networks.append((name, arguments))
    return Selection(tuple(networks) or ((DEFAULT, ""),))


def parse_arguments(text: str, network: str) -> tuple[tuple[str, str], ...]:
    """The pairs of ``K=V;K=V``. Raises UsageError when it is not of that form, which plugins refuse."""
    pairs: list[tuple[str, str]] = []
    for entry in text.split(";") if text else ():
        name, equals, value = entry.partition("=")
        if not name or not equals or "\0" in entry:
            raise UsageError(f'network "{network}" provided with invalid arguments: {entry!r} is not of the form K=V')
        pairs.append((name, value))
    return tuple(pairs)


def lock_networks(local_config: str, *, exclusive: bool = False) -> int:
    """Lock the directory of the user's networks; close the descriptor to unlock it. -1 when there is none to lock.

    Who sets networks up shares the lock and waits for it; the ``exclusive`` one is for the collection of garbage, which does not
    wait (-1 as well). Raises OSError.
    """
    try:
        fd = os.open(f"{local_config}/{NET_DIR}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def choose_networks(selection: Selection, local_config: str) -> tuple[Chosen, ...]:
    """The networks of a selection in the order of their interfaces; none for ``none`` and ``host``.

    ``local_config`` is the directory that holds ``net.d``. Raises NetworkError when one is not found, ConfigError when a file is
    wrong.
    """
    if selection.host or selection.none:
        return ()
    wanted = dict(selection.networks)
    everything = "all" in wanted
    if DEFAULT not in wanted and not everything:
        wanted.setdefault(RESTRICTED, "")
    found = _user_networks(f"{local_config}/{NET_DIR}", None if everything else wanted) if local_config else {}
    for name, (file_name, data) in BUILTIN.items():
        if not everything and name not in wanted:
            continue
        if name in found:
            debug("networking", f'overriding "{name}" network with one from {local_config}/{NET_DIR}')
        else:
            found[name] = Chosen(parse_network(data, f"built-in network {name}"), file_name)
    missing = [name for name in wanted if name not in found and name != "all"]
    if missing:
        raise NetworkError(f"networks not found: {', '.join(missing)}")
    chosen = [entry.replace(arguments=wanted.get(name, "")) for name, entry in found.items()]
    return tuple(sorted(chosen, key=lambda entry: entry.file_name))


def _user_networks(directory: str, wanted: dict[str, str] | None) -> dict[str, Chosen]:
    """The networks in a directory by their names; only those ``wanted``, or all."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read the network configurations in {directory!r}") from error
    found: dict[str, Chosen] = {}
    for name in names:
        if not name.endswith(_ENDINGS):
            continue
        path = f"{directory}/{name}"
        try:
            data = _read(path)
            if data is None:
                continue
            network = parse_network(data, path)
            if wanted is not None and network.name not in wanted:
                continue
            network = _complete(network, directory, path)
        except FormatError as error:
            raise ConfigError(str(error)) from None
        if network.name in ("all", "host", "none"):
            note("networking", f'ignoring {path}: "{network.name}" has a meaning of its own to --net')
        elif network.name in found:
            note("networking", f'"{network.name}" network already defined, ignoring {name}')
        else:
            found[network.name] = Chosen(network, name)
    return found


def _complete(network: Network, directory: str, path: str) -> Network:
    """The network with the plugins in the directory of its name (CNI 1.1.0, ``loadOnlyInlinedPlugins``)."""
    if not network.inlined_only:
        more = f"{directory}/{network.name}"
        try:
            names = sorted(name for name in os.listdir(more) if name.endswith(".conf"))
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise ConfigError(f"cannot read the network configurations in {more!r}") from error
        files = [(f"{more}/{name}", _read(f"{more}/{name}")) for name in names]
        plugins = tuple(parse_plugin(data, where) for where, data in files if data is not None)
        network = network.replace(plugins=(*network.plugins, *plugins))
    if not network.plugins:
        raise ConfigError(f"{path}: no plugins in the list")
    return network


def _read(path: str) -> bytes | None:
    """The content of a regular file, None when it is something else."""
    try:
        # Nonblocking: opening a FIFO that somebody put there must not hang every pod.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot read the network configuration {path!r}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = os.read(fd, _LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the network configuration {path!r}") from error
    finally:
        os.close(fd)
    if len(data) > _LARGEST:
        raise ConfigError(f"{path}: larger than {_LARGEST} bytes")
    return data
