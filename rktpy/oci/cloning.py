"""Cloning the first process of a container into its namespaces. Hot-path module."""

from __future__ import annotations

import os

from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.loading import load_more
from rktpy.oci.namespaces import write_time_offsets
from rktpy.oci.talk import answer, next_message, tell, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.formats.oci.runtime.linux import Linux
    from rktpy.oci.namespaces import Namespaces
    from rktpy.oci.setup import Setup


def clone_first(setup: Setup, namespaces: Namespaces, linux: Linux, ours: socket) -> tuple[int, int]:
    """The first process's ID and a pidfd. Raises OSError, RuntimeFailure."""
    own = -1
    if namespaces.pid_fd >= 0:
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(namespaces.pid_fd, c.CLONE_NEWPID)  # our children's
    try:
        if namespaces.needs_helper:
            return _clone_helped(setup, namespaces, linux, ours)
        pid, pidfd = syscalls.clone3(namespaces.clone, -1)
        if pid == 0:
            ours.close()
            _become(setup)
        return pid, pidfd
    finally:
        if own >= 0:
            syscalls.setns(own, c.CLONE_NEWPID)
            os.close(own)


def _become(setup: Setup) -> None:
    """The first process. Never returns."""
    load_more("child")
    from rktpy.oci.first_process import become_first

    become_first(setup)


def become_root() -> None:
    """User and group 0 of the user namespace that we are in. Raises OSError."""
    os.setresgid(0, 0, 0)
    try:
        os.setgroups(())
    except PermissionError:
        pass  # denied to maps that were written without privileges
    os.setresuid(0, 0, 0)


def _clone_helped(setup: Setup, namespaces: Namespaces, linux: Linux, ours: socket) -> tuple[int, int]:
    """Through a process that joins and makes what has to be there before; the first process is its sibling, our child."""
    before = set(our_children())
    helper, helper_fd = syscalls.clone3(0, -1)
    if helper == 0:
        ours.close()
        _help(setup, namespaces, linux)
    os.close(helper_fd)
    if namespaces.own_user and namespaces.own_time:
        kind, _text = next_message(ours)
        if kind != b"U":
            raise RuntimeFailure("the container's namespaces could not be made")
        write_ids(helper, linux)
        answer(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if status:
        next_message(ours)  # raises what it told
        raise RuntimeFailure("the container's namespaces could not be made")
    return left_by(helper, before)


def _help(setup: Setup, namespaces: Namespaces, linux: Linux) -> None:
    from rktpy.errors import innermost

    try:
        namespaces.enter()
        flags = namespaces.clone
        if namespaces.user_fd >= 0:
            syscalls.setns(namespaces.user_fd, c.CLONE_NEWUSER)
            become_root()
        elif namespaces.own_user and namespaces.own_time:
            syscalls.unshare(c.CLONE_NEWUSER)
            flags &= ~c.CLONE_NEWUSER
            tell(setup.sync, b"U")
            wait(setup.sync)
            become_root()
        if namespaces.own_time:
            syscalls.unshare(c.CLONE_NEWTIME)
            write_time_offsets(linux.time_offsets)
        pid, _pidfd = syscalls.clone3(flags | c.CLONE_PARENT, -1)
        if pid == 0:
            _become(setup)
        os._exit(0)
    except BaseException as error:
        tell(setup.sync, b"E", innermost(error))
        os._exit(1)


def left_by(helper: int, before: set[int]) -> tuple[int, int]:
    """The sibling that a helper cloned, of our children that were not there ``before``: its ID and a pidfd.

    Raises RuntimeFailure.
    """
    children = [one for one in our_children() if one not in before and one != helper]
    if len(children) != 1:
        raise RuntimeFailure("the process that was cloned is gone")
    return children[0], syscalls.pidfd_open(children[0], 0)


def our_children() -> list[int]:
    """Our children's IDs."""
    from rktpy.isolate.holder import children_of

    return children_of(os.getpid())


def write_ids(pid: int, linux: Linux) -> None:
    """Map the IDs of the user namespace of ``pid``; without privileges by newuidmap(1) and newgidmap(1). Raises OSError."""
    from rktpy.isolate.id_maps import write_map
    from rktpy.oci.namespaces import map_text

    if os.geteuid() != 0:
        from rktpy.oci.rootless import write_ids_rootless

        write_ids_rootless(pid, linux)
        return
    write_map(pid, "gid_map", map_text(linux.gid_mappings))
    write_map(pid, "uid_map", map_text(linux.uid_mappings))
