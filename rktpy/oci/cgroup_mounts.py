"""A mount of type ``cgroup``: what the container sees of its control groups.

With a control group namespace the hierarchies are mounted anew, which shows the container's group as the top; else the group's
directory is bound there. Hot-path module.
"""

from __future__ import annotations

from rktpy.cgroup.hierarchy import discover
from rktpy.cgroup.subtree import Subtree
from rktpy.isolate.device_nodes import MakeLinks
from rktpy.isolate.mount_entries import BindTree, MountFilesystem, Remount, clean
from rktpy.isolate.plan import Operation, execute_plan, shown
from rktpy.linux import constants as c
from rktpy.oci.joining_groups import join_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.hierarchy import Hierarchy
    from rktpy.formats.oci.runtime.config import Mount, RuntimeConfig
    from rktpy.isolate.mount_options import MountOptions
    from rktpy.isolate.root import Root
    from rktpy.oci.setup import Setup


class CgroupMount(Operation):
    """A mount of control groups, which are joined before."""

    setup: Setup
    mount: Mount
    options: MountOptions

    def describe(self) -> str:
        return f"mount control groups at {shown(self.mount.destination)}"

    def execute(self, root: Root) -> None:
        hierarchies = discover() if self.setup.hierarchies is None else self.setup.hierarchies
        join_groups(self.setup)
        config = self.setup.config
        assert config is not None
        groups = self.setup.subtree or Subtree()
        execute_plan(tuple(plan_cgroup_mount(config, self.mount, self.options, hierarchies, groups)), root, "runtime")


def plan_cgroup_mount(
    config: RuntimeConfig, mount: Mount, options: MountOptions, hierarchies: tuple[Hierarchy, ...], groups: Subtree
) -> list[Operation]:
    """The operations for one mount."""
    target = clean(mount.destination)
    own_namespace = "cgroup" in config.linux.namespaces
    if hierarchies and all(one.version == 2 for one in hierarchies):
        return [_unified(target, options, groups, own_namespace)]
    flags = options.flags & ~c.MS_RDONLY
    plan: list[Operation] = [MountFilesystem("tmpfs", "tmpfs", target, flags, "mode=755", tuple(options.propagation))]
    links: list[tuple[str, str]] = []
    made = {one.controllers: one.directory for one in groups.groups if one.version == 1}
    for one in hierarchies:
        if one.version == 2:
            continue
        name = one.mount.rpartition("/")[2]
        if own_namespace:
            plan.append(MountFilesystem("cgroup", "cgroup", f"{target}/{name}", options.flags, ",".join(one.controllers)))
        elif one.controllers in made:
            read_only = options.flags & c.MS_RDONLY
            attributes = options.set | (c.MOUNT_ATTR_RDONLY if read_only else 0)
            plan.append(BindTree(made[one.controllers], f"{target}/{name}", True, attributes, options.clear))
        if "," in name:
            links += [(controller, name) for controller in name.split(",")]
    if links:
        plan.append(MakeLinks(target, tuple(links)))
    if options.flags & c.MS_RDONLY:
        plan.append(Remount(target, options.flags | c.MS_BIND))
    return plan


def _unified(target: str, options: MountOptions, groups: Subtree, own_namespace: bool) -> Operation:
    if own_namespace or not groups.groups:
        return MountFilesystem("cgroup2", "cgroup", target, options.flags, options.data, tuple(options.propagation))
    return BindTree(groups.groups[0].directory, target, True, options.set, options.clear, 0, 0, tuple(options.propagation))
