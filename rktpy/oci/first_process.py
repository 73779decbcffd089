"""The first process of a container, from its clone to its program. Hot-path module.

All that is written below /proc is written through the host's, before the container's root is entered: whatever a configuration
or an image puts in the place of /proc, labels and kernel parameters go where they should (CVE-2019-16884, CVE-2025-52881).
"""

from __future__ import annotations

import os
from errno import EINVAL

from rktpy.errors import RktpyError, innermost
from rktpy.isolate.plan import execute_plan, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.cloning import become_root
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.joining_groups import join_groups
from rktpy.oci.loading import load_more
from rktpy.oci.mount_plan import plan_container, propagation_of
from rktpy.oci.preload import forbid_imports, preload
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
from rktpy.oci.talk import ask, tell, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rktpy.formats.oci.runtime.config import RuntimeConfig
    from rktpy.oci.setup import Setup
    from rktpy.oci.terminal import Terminal


def become_first(setup: Setup) -> NoReturn:
    """Set the container up, wait to be started, become its program. Never returns; failures are told to the runtime."""
    try:
        config = setup.config
        if config is not None and config.linux.seccomp is not None:
            load_more("filter")
            from rktpy.oci.filter import compile_filter

            compile_filter(setup, config)
        preload(setup)
        forbid_imports()
        _become(setup)
    except (RktpyError, OSError) as error:
        text = innermost(error)
    except BaseException as error:
        text = f"internal error: {type(error).__name__}: {error}"
    tell(setup.sync, b"E", text)
    if setup.waits_for_start:
        try:
            os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass
    os._exit(1)


def _become(setup: Setup) -> NoReturn:
    config = setup.config
    assert config is not None and setup.namespaces is not None
    for fd in setup.closing:
        os.close(fd)
    os.setsid()
    os.umask(0)
    namespaces = setup.namespaces
    if namespaces.waits_for_ids:
        wait(setup.sync)  # for the IDs
        become_root()
    if not namespaces.needs_helper:
        namespaces.enter()
    if setup.groups:
        join_groups(setup)
    _name(config)
    linux = config.linux
    if linux.sysctl:
        _set_sysctls(config)
    if not setup.keep_keyring:
        _new_keyring(setup)
    _label(setup)
    host_pid = os.readlink("/proc/self") if config.hooks.get("createContainer") else ""
    terminal = _enter_root(setup, config, host_pid)
    process = setup.process
    os.umask(0o022 if process.user.umask is None else process.user.umask)
    enter_directory(process.cwd)
    if terminal is not None:
        from rktpy.oci.terminal import take_terminal

        take_terminal(terminal.slave)
    elif process.user.uid:
        own_streams(process.user.uid)
    environment = environment_of(setup)
    program = find_program(process.args[0], search_path_of(environment))
    limit_process(setup, rlimits=not namespaces.own_user and namespaces.user_fd < 0)
    image = handoff_image(setup)
    if setup.agent:
        drop_privileges(setup)  # while the runtime is there that fetches the filter's listener
    tell(setup.sync, b"C")
    if setup.waits_for_start:
        os.read(setup.fifo, 1)  # it is closed by executing the program, which "start" waits for
    else:
        wait(setup.sync)
    if config.hooks.get("startContainer"):
        from rktpy.oci.hooks import run_hooks

        run_hooks("startContainer", config.hooks["startContainer"], setup.hook_state.replace(b"@PID@", b"%d" % os.getpid()))
    if not setup.agent:
        drop_privileges(setup)
    become_program(setup, program, environment, image)


def _name(config: RuntimeConfig) -> None:
    if config.hostname:
        syscalls.sethostname(config.hostname)
    if config.domainname:
        syscalls.setdomainname(config.domainname)


def _set_sysctls(config: RuntimeConfig) -> None:
    from rktpy.isolate.sysctl import SetSysctl, sysctl_path

    for name, value in config.linux.sysctl.items():
        try:
            SetSysctl(sysctl_path(name), value).execute()
        except OSError as error:
            raise RuntimeFailure(f"can't set the kernel parameter {shown(name)}") from OSError(error.errno, error.strerror)


def _new_keyring(setup: Setup) -> None:
    try:
        syscalls.keyctl_join(f"_ses.{setup.container_id}")
    except OSError as error:
        # No keyrings in this kernel, forbidden by a filter, or no room for one more: the container can do without.
        tell(setup.sync, b"W", f"no session keyring: {(error.strerror or '').lower()}")


def _label(setup: Setup) -> None:
    """Labels act at the next execve(2)."""
    process = setup.process
    if process.apparmor_profile:
        from rktpy.isolate.labels import set_apparmor

        set_apparmor(process.apparmor_profile)
    if process.selinux_label:
        from rktpy.isolate.labels import set_selinux

        set_selinux(process.selinux_label)


def _enter_root(setup: Setup, config: RuntimeConfig, host_pid: str) -> Terminal | None:
    """Mount, let hooks run, and make the container's root ours."""
    plan = setup.plan
    if plan is None:
        plan = plan_container(setup, config, bind_devices=False)
    if "mount" not in config.linux.namespaces:
        return _change_root(setup, config, host_pid)
    propagation = propagation_of(config)
    syscalls.mount(None, "/", None, propagation, None)
    if propagation & c.MS_SHARED:
        _parent_private(setup.root_path)
    terminal: Terminal | None = None
    with _mounted_root(setup) as root:
        execute_plan(tuple(plan.mounts), root, "runtime")
        if plan.nodes:
            execute_plan(tuple(plan.nodes), root, "runtime")
        if setup.process.terminal:
            terminal = _make_terminal(setup, root)
        _run_hooks(setup, config, host_pid)
        if plan.protection:
            execute_plan(tuple(plan.protection), root, "runtime")
        if config.root_readonly:
            syscalls.mount_setattr(root.fd, "", c.AT_EMPTY_PATH, c.MOUNT_ATTR_RDONLY, 0, 0, 0)
        if setup.no_pivot:
            _move_root(root)
        else:
            _pivot(root)
    if config.linux.rootfs_propagation:
        syscalls.mount(None, "/", None, propagation, None)
    return terminal


def _mounted_root(setup: Setup) -> Root:
    """The root as a mount of its own, which can be pivoted to."""
    if setup.root_tree < 0:
        syscalls.mount(setup.root_path, setup.root_path, None, c.MS_BIND | c.MS_REC, None)
        return Root(setup.root_path)
    # Opened by the runtime, since the container's root may not be able to walk to it; where it is mounted does not matter.
    syscalls.move_mount(setup.root_tree, "", c.AT_FDCWD, "/", c.MOVE_MOUNT_F_EMPTY_PATH)
    return Root.from_descriptor(setup.root_tree, setup.root_path)


def _change_root(setup: Setup, config: RuntimeConfig, host_pid: str) -> Terminal | None:
    terminal: Terminal | None = None
    with Root(setup.root_path) as root:
        if setup.process.terminal:
            terminal = _make_terminal(setup, None)
        _run_hooks(setup, config, host_pid)
        os.fchdir(root.fd)
        os.chroot(".")
        os.chdir("/")
    return terminal


def _run_hooks(setup: Setup, config: RuntimeConfig, host_pid: str) -> None:
    join_groups(setup)
    if setup.asks_for_hooks:
        ask(setup.sync, b"H")
    hooks = config.hooks.get("createContainer")
    if hooks:
        from rktpy.oci.hooks import run_hooks

        run_hooks("createContainer", hooks, setup.hook_state.replace(b"@PID@", host_pid.encode()), setup.bundle)


def _make_terminal(setup: Setup, root: Root | None) -> Terminal:
    from rktpy.oci.terminal import hand_over, mount_console, open_terminal

    process = setup.process
    terminal = open_terminal(root, process.console_size, process.user.uid)
    if root is not None:
        mount_console(root, terminal.slave)
    hand_over(setup, terminal.master)
    return terminal


def _parent_private(path: str) -> None:
    """The mount that the root is on must not be shared, or the kernel refuses to pivot."""
    from rktpy.cgroup.hierarchy import unescape

    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [unescape(line.split(" ", 5)[4]) for line in file]
    best = "/"
    for point in points:
        if (path == point or path.startswith(f"{point.rstrip('/')}/")) and len(point) > len(best):
            best = point
    syscalls.mount(None, best, None, c.MS_PRIVATE, None)


def _pivot(root: Root) -> None:
    os.fchdir(root.fd)
    # With both names ".", the old root lands on top of the new one and needs no directory in the image.
    try:
        syscalls.pivot_root(".", ".")
    except OSError as error:
        if error.errno == EINVAL:
            raise RuntimeFailure("pivot_root: the root is on a ramdisk or shared; try --no-pivot") from error
        raise
    # What is unmounted must not be unmounted for the host.
    syscalls.mount(None, ".", None, c.MS_SLAVE | c.MS_REC, None)
    syscalls.umount2(".", c.MNT_DETACH)
    os.chdir("/")


def _move_root(root: Root) -> None:
    os.fchdir(root.fd)
    # Other mounts could be seen by a process that leaves the changed root: they go first.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ", 5)[4] for line in file]
    for point in points:
        if (point.startswith(("/proc", "/sys"))) and not point.startswith(root.path):
            try:
                syscalls.mount(None, point, None, c.MS_SLAVE | c.MS_REC, None)
                syscalls.umount2(point, c.MNT_DETACH)
            except OSError:
                continue
    syscalls.mount(".", "/", None, c.MS_MOVE, None)
    os.chroot(".")
    os.chdir("/")
