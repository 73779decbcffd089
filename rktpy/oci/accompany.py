"""What the runtime does for a container's first process after it was cloned, and taking back what was made. Hot-path module.

The process loads its modules and mounts meanwhile: control groups take about as long to make.
"""

from __future__ import annotations

import os

from rktpy.errors import RktpyError
from rktpy.oci import talk
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.identity import start_time
from rktpy.oci.messages import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.formats.oci.runtime.config import RuntimeConfig
    from rktpy.formats.oci.runtime.process import Process
    from rktpy.oci.container import Container
    from rktpy.oci.create import Making
    from rktpy.oci.setup import Setup

_KILL = 9


def close_theirs(setup: Setup) -> None:
    """Our copies of what only the first process needs."""
    setup.sync.close()
    for fd in (*setup.groups, *setup.opened):
        os.close(fd)
    if setup.fifo >= 0:
        os.close(setup.fifo)
    if setup.console is not None:
        setup.console.close()
    if setup.namespaces is not None:
        setup.namespaces.close()


def make_groups(making: Making) -> None:
    """Make the container's control groups and limit them, or plan them where systemd makes them. Raises OSError, RktpyError."""
    from rktpy.cgroup.subtree import Subtree
    from rktpy.oci.groups import Groups, plan

    request, linux = making.request, making.config.linux
    if request.without_groups:
        making.groups = Groups(Subtree(), (), None, tolerant=True)
        return
    groups = making.groups = plan(linux, request.container_id, systemd=request.systemd, rootless=request.rootless)
    if groups.scope is None:
        groups.make()
        groups.limit(linux.resources)


def accompany(making: Making, data: bytes, setup: Setup) -> None:
    """Do for the first process what it cannot, until it is set up. Raises RktpyError, OSError."""
    request, config, container, sync = making.request, making.config, making.container, making.sync
    assert sync is not None and setup.namespaces is not None
    own_user = setup.namespaces.own_user
    close_theirs(setup)
    container.state["pid"] = making.pid
    container.state["started"] = start_time(making.pid)[0]
    try:
        _serve_before(making, sync, setup)
    except OSError:
        next_failure(sync)  # what the process says of its end tells more
        raise
    assert making.groups is not None
    container.state["groups"] = making.groups.subtree.to_text()
    container.state["scope"] = making.groups.scope[1] if making.groups.scope else ""
    container.save_config(data)
    if setup.asks_for_hooks:
        container.state["creating"] = True
    container.save()
    if request.start and not setup.asks_for_hooks and not own_user and config.linux.seccomp is None:
        _tell_pid(making)
        talk.answer(sync)  # it need not wait for us when it comes so far
        making.gone = True
    _serve_until_ready(making, sync)
    if own_user and config.process is not None:
        raise_rlimits(making.pid, config.process)
    if container.state.pop("creating", None):
        container.save()
    if not making.gone:
        _tell_pid(making)


def _serve_until_ready(making: Making, sync: socket) -> None:
    config, container = making.config, making.container
    while True:
        kind, text = talk.next_message(sync)
        if kind == b"C":
            return
        if kind == b"H":
            from rktpy.oci.hooks import run_hooks

            making.hooked = True
            state = container.hook_document("creating")
            for name in ("prestart", "createRuntime"):
                run_hooks(name, config.hooks.get(name, ()), state, making.request.bundle)
            talk.answer(sync)
        elif kind == b"L":
            send_listener(making.pidfd, int(text), config, container, making.pid)
            talk.answer(sync)
        else:
            raise RuntimeFailure("the container's first process ended while it was set up")


def _tell_pid(making: Making) -> None:
    request = making.request
    if request.pidfd_socket:
        from rktpy.oci.terminal import connect, send_descriptor

        connection = connect(request.pidfd_socket)
        send_descriptor(connection, making.pidfd, b"pidfd")
        connection.close()
    if request.pid_file:
        write_pid_file(request.pid_file, making.pid)


def _serve_before(making: Making, sync: socket, setup: Setup) -> None:
    """What has to be done from outside once there are namespaces: IDs, groups, the OOM score, network devices."""
    config = making.config
    assert config.process is not None and setup.namespaces is not None
    if setup.namespaces.waits_for_ids:
        from rktpy.oci.cloning import write_ids

        write_ids(making.pid, config.linux)
        talk.answer(sync)
    if config.process.oom_score_adj is not None:
        set_oom_score(making.pid, config.process.oom_score_adj)
    if config.linux.net_devices:
        from rktpy.oci.net_devices import move_devices

        move_devices(making.pid, config.linux.net_devices)
    if making.groups is None:
        make_groups(making)
    groups = making.groups
    assert groups is not None
    if groups.scope is not None:
        from rktpy.oci.scope import enter_scope

        enter_scope(making.pid, groups, config.linux.resources)
        groups.limit(config.linux.resources)
    if setup.waits_for_groups:
        talk.tell(sync, b"g", groups.subtree.to_text())


def next_failure(sync: socket) -> None:
    """Raise what the process told, if it told an error and has ended."""
    sync.setblocking(False)
    try:
        talk.next_message(sync)
    except OSError:
        pass


def set_oom_score(pid: int, score: int) -> None:
    """How readily the kernel kills the process when memory runs out; less than ours needs CAP_SYS_RESOURCE."""
    path = f"/proc/{pid}/oom_score_adj"
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    except PermissionError:
        warn(f"oomScoreAdj {score} is not set: lowering it needs CAP_SYS_RESOURCE")
    finally:
        os.close(fd)


def raise_rlimits(pid: int, process: Process) -> None:
    """Set limits of a process in a user namespace, whose root may not raise any, from outside."""
    from rktpy.formats.oci.runtime.process import RLIMIT_NUMBERS
    from rktpy.isolate.rlimits import set_rlimit

    for limit in process.rlimits:
        clamped = set_rlimit(RLIMIT_NUMBERS[limit.kind], limit.soft, limit.hard, pid)
        if clamped is not None:
            warn(f"{limit.kind} is {clamped[0]}:{clamped[1]}: raising it needs CAP_SYS_RESOURCE")


def send_listener(pidfd: int, fd: int, config: RuntimeConfig, container: Container, pid: int) -> None:
    """Fetch the listener of the process's filter and give it to the agent (``config-linux.md``, containerprocessstate)."""
    from rktpy.formats.jsondoc import dump, parse
    from rktpy.linux.syscalls import pidfd_getfd
    from rktpy.oci.terminal import connect, send_descriptor

    profile = config.linux.seccomp
    assert profile is not None
    listener = pidfd_getfd(pidfd, fd, 0)
    try:
        status = "creating" if pid == container.pid else container.status()
        document = {
            "ociVersion": config.version,
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": profile.listener_metadata,
            "state": parse(container.hook_document(status), "state"),
        }
        connection = connect(profile.listener_path)
        try:
            send_descriptor(connection, listener, dump(document))
        finally:
            connection.close()
    finally:
        os.close(listener)


def write_pid_file(path: str, pid: int) -> None:
    """Write a process ID, so that who reads sees all of it or nothing. Raises OSError."""
    directory, _slash, name = path.rpartition("/")
    temporary = f"{directory}/.{name}" if _slash else f".{name}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.write(fd, str(pid).encode())
    finally:
        os.close(fd)
    os.rename(temporary, path)


def let_go(making: Making) -> None:
    """Start the process of a container that was made with ``request.start``.

    Raises RuntimeFailure when its program cannot be run.
    """
    sync = making.sync
    assert sync is not None
    if not making.gone:
        talk.answer(sync)
    kind, _text = talk.next_message(sync)
    if kind:
        raise RuntimeFailure("the container's first process said something unexpected")
    sync.close()
    hooks = making.config.hooks.get("poststart")
    if hooks:
        from rktpy.oci.hooks import run_hooks

        run_hooks("poststart", hooks, making.container.hook_document("running"), making.request.bundle)


def undo(making: Making) -> None:
    """Take back what was made of a container."""
    if making.pid > 0:
        from rktpy.linux.syscalls import pidfd_send_signal

        try:
            pidfd_send_signal(making.pidfd, _KILL, 0)
        except (ProcessLookupError, OSError):
            pass
        try:
            os.waitpid(making.pid, 0)
        except ChildProcessError:
            pass
    if making.groups is not None and making.groups.subtree.groups:
        try:
            making.groups.subtree.kill()
            making.groups.subtree.remove()
        except (OSError, TimeoutError):
            pass  # the first failure is the one to tell
    hooks = making.config.hooks.get("poststop")
    if making.hooked and hooks:
        from rktpy.oci.hooks import run_hooks

        try:
            run_hooks("poststop", hooks, making.container.hook_document("stopped"), making.request.bundle)
        except RktpyError as error:
            warn(str(error))
    making.container.remove()
