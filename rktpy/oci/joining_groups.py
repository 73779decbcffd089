"""The first process's way into its control groups: at once where they are there, else when they are needed. Hot-path module."""

from __future__ import annotations

import os

from rktpy.cgroup.container_groups import entrances
from rktpy.cgroup.subtree import Subtree
from rktpy.linux.constants import CLONE_NEWCGROUP
from rktpy.linux.syscalls import unshare
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.talk import MOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.oci.setup import Setup


def join_groups(setup: Setup) -> None:
    """Enter the groups, then the control group namespace of our own whose root they are; a second time does nothing.

    Raises OSError, RuntimeFailure when the runtime has gone.
    """
    if setup.joined:
        return
    setup.joined = True
    descriptors = setup.groups
    if setup.waits_for_groups:
        message = setup.sync.recv(MOST)
        if message[:1] != b"g":
            raise RuntimeFailure("the runtime has ended")
        setup.subtree = Subtree.from_text(message[1:].decode())
        if not descriptors:
            descriptors = entrances(setup.subtree)
    for fd in descriptors:
        os.write(fd, b"0")
        os.close(fd)
    if setup.namespaces is not None and setup.namespaces.own_cgroup:
        unshare(CLONE_NEWCGROUP)
