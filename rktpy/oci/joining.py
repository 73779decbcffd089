"""Cloning a process into a container that runs. Hot-path module."""

from __future__ import annotations

import os

from rktpy.cgroup.container_groups import entrances
from rktpy.cgroup.subtree import Group, Subtree
from rktpy.errors import RktpyError, innermost
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.cloning import become_root, left_by, our_children
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.identity import open_process
from rktpy.oci.namespaces import KINDS
from rktpy.oci.preload import forbid_imports
from rktpy.oci.process_setup import (
    become_program,
    drop_privileges,
    enter_directory,
    environment_of,
    handoff_image,
    limit_process,
    own_streams,
    search_path_of,
)
from rktpy.oci.program import find_program
from rktpy.oci.talk import next_message, tell, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import NoReturn

    from rktpy.oci.container import Container
    from rktpy.oci.setup import Setup


def clone_into(setup: Setup, container: Container, below: list[str], ours: socket) -> tuple[int, int]:
    """Clone the process of ``setup`` into the container's groups and namespaces; its ID and a pidfd.

    ``below`` are control groups of the container's to put it in, ``[CONTROLLER:]PATH``. Raises RuntimeFailure, OSError.
    """
    config = setup.config
    assert config is not None
    first = open_process(container.pid, container.began)
    if first < 0:
        raise RuntimeFailure("cannot exec in a stopped container")
    own = -1
    flags = 0
    for kind in config.linux.namespaces:
        if kind not in ("pid", "user") or (kind == "user" and not _is_ours(container.pid, "user")):
            flags |= KINDS[kind][0]
    groups = entrances(_groups(container.groups, below))
    image = handoff_image(setup)
    try:
        if flags & c.CLONE_NEWUSER and os.geteuid() != 0:
            return _clone_helped(setup, first, flags, groups, image, ours)
        if "pid" in config.linux.namespaces:
            own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(first, c.CLONE_NEWPID)  # our children's
        if flags & c.CLONE_NEWTIME:
            flags &= ~c.CLONE_NEWTIME
            time_fd = os.open(f"/proc/{container.pid}/ns/time", os.O_RDONLY | os.O_CLOEXEC)
        else:
            time_fd = -1
        pid, pidfd = syscalls.clone3(0, -1)
        if pid == 0:
            ours.close()
            _become(setup, first, flags, groups, image, time_fd)
        if time_fd >= 0:
            os.close(time_fd)
        return pid, pidfd
    finally:
        for fd in (*groups, first, image):
            if fd >= 0:
                os.close(fd)
        if own >= 0:
            syscalls.setns(own, c.CLONE_NEWPID)
            os.close(own)


def _clone_helped(setup: Setup, first: int, flags: int, groups: list[int], image: int, ours: socket) -> tuple[int, int]:
    """For a user that is not root: only in the container's user namespace the other namespaces can be entered."""
    before = set(our_children())
    helper, helper_fd = syscalls.clone3(0, -1)
    if helper == 0:
        ours.close()
        try:
            syscalls.setns(first, c.CLONE_NEWUSER)
            become_root()
            config = setup.config
            if config is not None and "pid" in config.linux.namespaces:
                syscalls.setns(first, c.CLONE_NEWPID)
            pid, _pidfd = syscalls.clone3(c.CLONE_PARENT, -1)
            if pid == 0:
                _become(setup, first, flags & ~c.CLONE_NEWUSER, groups, image, -1)
            os._exit(0)
        except BaseException as error:
            tell(setup.sync, b"E", innermost(error))
            os._exit(1)
    os.close(helper_fd)
    if os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]):
        next_message(ours)  # raises what it told
        raise RuntimeFailure("the container's namespaces cannot be entered")
    return left_by(helper, before)


def _is_ours(pid: int, name: str) -> bool:
    return os.path.samestat(os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}"))


def _groups(subtree: Subtree, below: list[str]) -> Subtree:
    """The container's groups, or those that ``below`` names in them. Raises RuntimeFailure."""
    groups = list(subtree.groups)
    for one in below:
        controllers, colon, path = one.rpartition(":")
        parts = path.split("/")
        if ".." in parts:
            raise RuntimeFailure(f"bad --cgroup {one!r}: it leads out of the container's control group")
        inner = "/".join([part for part in parts if part not in ("", ".")])
        names = controllers.split(",") if colon else []
        if colon and not any(set(names) & set(group.controllers) for group in groups):
            raise RuntimeFailure(f"unknown controller in --cgroup {one!r}")
        groups = [_below(group, inner) if not colon or set(names) & set(group.controllers) else group for group in groups]
    return Subtree(tuple(groups))


def _below(group: Group, inner: str) -> Group:
    if not inner:
        return group
    directory = f"{group.directory}/{inner}"
    if not os.path.isdir(directory):
        raise RuntimeFailure(f"control group {directory} does not exist")
    return group.replace(directory=directory)


def _become(setup: Setup, first: int, flags: int, groups: list[int], image: int, time_fd: int) -> NoReturn:
    forbid_imports()
    try:
        _join(setup, first, flags, groups, image, time_fd)
    except (RktpyError, OSError) as error:
        text = innermost(error)
    except BaseException as error:
        text = f"internal error: {type(error).__name__}: {error}"
    tell(setup.sync, b"E", text)
    os._exit(255)


def _join(setup: Setup, first: int, flags: int, groups: list[int], image: int, time_fd: int) -> NoReturn:
    os.setsid()
    process = setup.process
    for fd in groups:
        os.write(fd, b"0")
    if process.apparmor_profile or process.selinux_label:
        from rktpy.isolate.labels import set_apparmor, set_selinux

        # Through the host's /proc, as long as we see it.
        if process.apparmor_profile:
            set_apparmor(process.apparmor_profile)
        if process.selinux_label:
            set_selinux(process.selinux_label)
    if time_fd >= 0:
        syscalls.setns(time_fd, c.CLONE_NEWTIME)
    if flags:
        syscalls.setns(first, flags)
    if flags & c.CLONE_NEWNS == 0:
        _enter_root(first)
    if flags & c.CLONE_NEWUSER:
        become_root()
    os.umask(0o022 if process.user.umask is None else process.user.umask)
    terminal = None
    if process.terminal:
        from rktpy.oci.terminal import hand_over, open_terminal

        with Root("/") as root:
            terminal = open_terminal(root, process.console_size, process.user.uid)
        hand_over(setup, terminal.master)
    enter_directory(process.cwd)
    if terminal is not None:
        from rktpy.oci.terminal import take_terminal

        take_terminal(terminal.slave)
    elif process.user.uid:
        own_streams(process.user.uid)
    environment = environment_of(setup)
    program = find_program(process.args[0], search_path_of(environment))
    limit_process(setup, rlimits=not flags & c.CLONE_NEWUSER)
    if setup.agent:
        drop_privileges(setup)
    tell(setup.sync, b"C")
    wait(setup.sync)
    if not setup.agent:
        drop_privileges(setup)
    become_program(setup, program, environment, image)


def _enter_root(first: int) -> None:
    """A container without a mount namespace has only another root directory. Raises OSError."""
    with open(f"/proc/self/fdinfo/{first}", encoding="utf-8") as file:
        pid = next(line.split()[1] for line in file if line.startswith("Pid:"))
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root)
    os.chroot(".")
    os.close(root)
