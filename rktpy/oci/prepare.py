"""What the runtime opens for a first process that may not: in a user namespace, or with files shown as those of others."""

from __future__ import annotations

import os

from rktpy.isolate.mount_entries import BindTree
from rktpy.linux import constants as c
from rktpy.linux.syscalls import open_tree
from rktpy.oci.accompany import make_groups
from rktpy.oci.mapped_mounts import MappedBind
from rktpy.oci.mount_plan import plan_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.oci.create import Making
    from rktpy.oci.setup import Setup


def prepare_for_users(making: Making, setup: Setup) -> None:
    """Make the groups and open their entrances, the root, and the sources of binds. Raises OSError, RktpyError."""
    linux = making.config.linux
    make_groups(making)
    groups = making.groups
    assert groups is not None
    if groups.scope is None:
        from rktpy.cgroup.container_groups import entrances

        setup.groups = entrances(groups.subtree)
        setup.subtree, setup.hierarchies = groups.subtree, groups.hierarchies
    else:
        setup.waits_for_groups = True
    own_users = "user" in linux.namespaces
    plan = setup.plan = plan_container(setup, making.config, bind_devices=own_users)
    privileged = os.geteuid() == 0
    for number, operation in enumerate(plan.mounts):
        if isinstance(operation, BindTree):
            if not own_users or not privileged or operation.copy_link:
                continue
        elif not isinstance(operation, MappedBind):
            continue
        opened = operation.opened()
        setup.opened.append(opened.tree)
        if not opened.propagation:
            # A copy of the host's mounts, not made in the container's own mount namespace, where all are slaves.
            opened = opened.replace(propagation=(c.MS_SLAVE | c.MS_REC,))
        plan.mounts[number] = opened
    if own_users and "mount" in linux.namespaces and privileged:
        flags = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_RECURSIVE
        setup.root_tree = open_tree(c.AT_FDCWD, setup.root_path, flags)
        setup.opened.append(setup.root_tree)
