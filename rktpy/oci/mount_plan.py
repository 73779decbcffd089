"""From the mounts, devices and paths of a configuration to operations. Hot-path module."""

from __future__ import annotations

import os

from rktpy.isolate.device_nodes import MakeLinks, MakeNodes, Node
from rktpy.isolate.hidden_paths import HidePaths, ProtectPaths
from rktpy.isolate.mount_entries import BindTree, MountFilesystem, Remount, clean
from rktpy.isolate.mount_options import PROPAGATION, MountOptions
from rktpy.linux import constants as c
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.formats.oci.runtime.config import Mount, RuntimeConfig
    from rktpy.isolate.plan import Operation
    from rktpy.oci.setup import Setup

DEFAULT_NODES = (
    Node("/dev/null", "c", 1, 3),
    Node("/dev/zero", "c", 1, 5),
    Node("/dev/full", "c", 1, 7),
    Node("/dev/random", "c", 1, 8),
    Node("/dev/urandom", "c", 1, 9),
    Node("/dev/tty", "c", 5, 0),
)
#: File systems without labels of their own, whose files get one by an option (SELinux).
_LABELLED = ("tmpfs", "devpts", "ramfs")
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)


class MountPlan:
    """What is done in a container's root: ``mounts`` in their order, then ``nodes``, at the end ``protection``."""

    __slots__ = ("mounts", "nodes", "own_dev", "protection")

    def __init__(self) -> None:
        self.mounts: list[Operation] = []
        self.nodes: list[Operation] = []
        self.protection: list[Operation] = []
        self.own_dev = True


def plan_container(setup: Setup, config: RuntimeConfig, *, bind_devices: bool) -> MountPlan:
    """The plan for a first process. Raises RuntimeFailure."""

    def cgroup_mount(mount: Mount, options: MountOptions) -> Operation:
        from rktpy.oci.cgroup_mounts import CgroupMount

        return CgroupMount(setup, mount, options)

    return plan_mounts(config, setup.bundle, cgroup_mount, bind_devices=bind_devices)


def plan_mounts(
    config: RuntimeConfig, bundle: str, cgroup_mount: Callable[[Mount, MountOptions], Operation], *, bind_devices: bool
) -> MountPlan:
    """The plan; ``cgroup_mount`` gives what is to be done for a mount of control groups.

    ``bind_devices`` says that nodes cannot be made. Raises RuntimeFailure.
    """
    plan = MountPlan()
    read_only_later: list[Operation] = []
    for number, mount in enumerate(config.mounts):
        options = MountOptions(mount.options)
        destination = clean(mount.destination)
        if destination == "/dev":
            plan.own_dev = not options.bind
        if mount.kind == "cgroup" or (mount.kind == "cgroup2" and not options.bind):
            plan.mounts.append(cgroup_mount(mount, options))
            continue
        if "idmap" in options.special or "ridmap" in options.special or mount.uid_mappings:
            plan.mounts.append(_mapped(config, mount, options, bundle, number))
            continue
        operation = _operation(mount, options, destination, bundle)
        if config.linux.mount_label and isinstance(operation, MountFilesystem) and operation.kind in _LABELLED:
            label = f'context="{config.linux.mount_label}"'
            operation = operation.replace(data=f"{operation.data},{label}" if operation.data else label)
        if isinstance(operation, MountFilesystem) and destination in ("/dev", "/tmp") and operation.flags & c.MS_RDONLY:
            # Something is still to be made in it.
            read_only_later.append(Remount(destination, operation.flags, operation.data))
            operation = operation.replace(flags=operation.flags & ~c.MS_RDONLY)
        plan.mounts.append(operation)
    linux = config.linux
    if plan.own_dev:
        plan.nodes = _devices(config, bind_devices)
    plan.protection += read_only_later
    if linux.readonly_paths:
        plan.protection.append(ProtectPaths(linux.readonly_paths))
    if linux.masked_paths:
        plan.protection.append(HidePaths(linux.masked_paths))
    return plan


def _operation(mount: Mount, options: MountOptions, destination: str, bundle: str) -> Operation:
    if options.bind or mount.kind in ("bind", "rbind"):
        return bind_operation(mount, options, destination, bundle)
    if options.flags & c.MS_REMOUNT:
        return Remount(destination, options.flags, options.data)
    if not mount.kind or mount.kind == "none":
        raise RuntimeFailure(f"mount at {mount.destination!r} has no type")
    return MountFilesystem(
        mount.kind,
        mount.source,
        destination,
        options.flags,
        options.data,
        tuple(options.propagation),
        options.tree_set,
        options.tree_clear,
        mount.kind in ("proc", "sysfs"),
        "tmpcopyup" in options.special and mount.kind == "tmpfs",
    )


def bind_operation(mount: Mount, options: MountOptions, destination: str, bundle: str) -> BindTree:
    """A bind mount; its source counts from the bundle. Raises RuntimeFailure."""
    if not mount.source:
        raise RuntimeFailure(f"bind mount at {mount.destination!r} has no source")
    if options.data:
        raise RuntimeFailure(f"bind mount at {mount.destination!r}: data {options.data!r} means nothing to it")
    return BindTree(
        os.path.join(bundle, mount.source),
        destination,
        options.recursive or mount.kind == "rbind",
        options.set,
        options.clear,
        options.tree_set,
        options.tree_clear,
        tuple(options.propagation),
        "src-nofollow" not in options.special,
        "dest-nofollow" not in options.special,
        "copy-symlink" in options.special,
    )


def _mapped(config: RuntimeConfig, mount: Mount, options: MountOptions, bundle: str, number: int) -> Operation:
    from rktpy.oci.mapped_mounts import MappedBind

    if not options.bind:
        raise RuntimeFailure(f"mounts[{number}]: only bind mounts can be id-mapped")
    uids = mount.uid_mappings or config.linux.uid_mappings
    gids = mount.gid_mappings or config.linux.gid_mappings
    if not uids and "user" not in config.linux.namespaces:
        raise RuntimeFailure(f"mounts[{number}]: an id-mapped mount needs mappings or a user namespace")
    operation = bind_operation(mount, options, clean(mount.destination), bundle)
    return MappedBind(operation, uids, gids, config.linux.namespaces.get("user", ""), "ridmap" in options.special)


def _devices(config: RuntimeConfig, bind: bool) -> list[Operation]:
    nodes = list(DEFAULT_NODES)
    for one in config.linux.devices:
        path = clean(one.path)
        nodes = [node for node in nodes if node.path != path]
        if path != "/dev/ptmx":  # a link to the container's own
            nodes.append(Node(path, one.kind, one.major, one.minor, one.mode, one.uid, one.gid))
    links: tuple[tuple[str, str], ...] = _LINKS
    if os.path.exists("/proc/kcore"):
        links = (*links, ("core", "/proc/kcore"))
    return [MakeNodes(tuple(nodes), bind), MakeLinks("/dev", (("ptmx", "pts/ptmx"), *links))]


def propagation_of(config: RuntimeConfig) -> int:
    """What the container's mounts become to the host's before anything is mounted: slaves, unless it says otherwise."""
    name = config.linux.rootfs_propagation
    return PROPAGATION[name] if name else c.MS_SLAVE | c.MS_REC
