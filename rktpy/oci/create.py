"""Making a container: ``create``, and the first half of ``run``. Hot-path module."""

from __future__ import annotations

import os
import time

from rktpy.errors import RktpyError
from rktpy.formats.oci.runtime.config import RuntimeConfig
from rktpy.isolate.mount_entries import BindTree
from rktpy.linux import constants as c
from rktpy.linux.syscalls import open_tree
from rktpy.oci import talk
from rktpy.oci.cloning import clone_first, write_ids
from rktpy.oci.container import FIFO, Container, check_id
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.groups import plan as plan_groups
from rktpy.oci.identity import start_time
from rktpy.oci.messages import warn
from rktpy.oci.mount_plan import plan_mounts
from rktpy.oci.namespaces import Namespaces
from rktpy.oci.preload import preload
from rktpy.oci.setup import Setup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.formats.oci.runtime.process import Process
    from rktpy.oci.groups import Groups

_KILL = 9
_PLACEHOLDER = 2**31 - 1


class Request:
    """What a caller wants: the flags of ``create`` and ``run``."""

    __slots__ = (
        "bundle",
        "console_socket",
        "container_id",
        "detach",
        "keep_keyring",
        "no_pivot",
        "pid_file",
        "pidfd_socket",
        "preserved",
        "root",
        "rootless",
        "signal_mask",
        "start",
        "systemd",
    )

    def __init__(self, root: str, container_id: str, bundle: str) -> None:
        self.root = root
        self.container_id = container_id
        self.bundle = bundle
        self.console_socket = self.pid_file = self.pidfd_socket = ""
        self.preserved = 0
        self.no_pivot = self.keep_keyring = self.detach = self.start = self.systemd = self.rootless = False
        self.signal_mask: set[int] | None = None


class Making:
    """A container while it is made; what there is of it is taken back when that fails."""

    __slots__ = ("config", "container", "groups", "hooked", "pid", "pidfd", "request", "sync", "terminal")

    def __init__(self, request: Request, config: RuntimeConfig, container: Container) -> None:
        self.request = request
        self.config = config
        self.container = container
        self.groups: Groups | None = None
        self.pid = 0
        self.pidfd = -1
        self.sync: socket | None = None
        self.terminal: socket | None = None  # where the master of a terminal comes from
        self.hooked = False


def create(request: Request) -> Making:
    """Make a container. Its first process waits: for ``start``, or with ``request.start`` for :func:`let_go`.

    Raises RuntimeFailure, FormatError, OSError; then nothing is left of it.
    """
    check_id(request.container_id)
    request.bundle = os.path.abspath(request.bundle or ".")
    data = read_config(request.bundle)
    config = RuntimeConfig.parse(data)
    _check(config, request)
    container = Container(request.root, request.container_id)
    lock = container.make()
    making = Making(request, config, container)
    try:
        _make(making, data, lock)
    except BaseException:
        undo(making)
        raise
    finally:
        os.close(lock)
    return making


def read_config(bundle: str) -> bytes:
    """The bundle's configuration as it is. Raises RuntimeFailure, OSError."""
    try:
        with open(f"{bundle}/config.json", "rb", buffering=0) as file:
            return file.readall() or b""
    except FileNotFoundError:
        raise RuntimeFailure("JSON specification file config.json not found") from None


def _check(config: RuntimeConfig, request: Request) -> None:
    """Refuse what cannot be done here. Raises RuntimeFailure."""
    process = config.process
    if process is None:
        raise RuntimeFailure("process property must not be empty")
    if process.terminal and not request.console_socket and (not request.start or request.detach):
        raise RuntimeFailure("cannot allocate tty if runc will detach without setting console socket")
    if request.console_socket and not process.terminal:
        raise RuntimeFailure("cannot use console socket if runc will not detach or allocate tty")
    if config.linux.intel_rdt:
        raise RuntimeFailure("intelRdt is set in config, but Intel RDT is not supported")
    if process.apparmor_profile:
        from rktpy.isolate.labels import apparmor_enabled

        if not apparmor_enabled():
            raise RuntimeFailure("apparmor profile is set in config, but apparmor is not supported or disabled on this machine")
    if process.selinux_label or config.linux.mount_label:
        from rktpy.isolate.labels import selinux_active

        if not selinux_active():
            raise RuntimeFailure("selinux label is specified in config, but selinux is disabled or not supported")
    namespaces = config.linux.namespaces
    for name, kind in (("hostname", "uts"), ("domainname", "uts")):
        if getattr(config, name) and kind not in namespaces:
            raise RuntimeFailure(f"unable to set {name} without a private UTS namespace")
    if config.mounts and "mount" not in namespaces:
        raise RuntimeFailure("mounts need a mount namespace")
    if (config.linux.masked_paths or config.linux.readonly_paths or config.root_readonly) and "mount" not in namespaces:
        raise RuntimeFailure("unable to restrict sys entries without a private MNT namespace")
    if config.linux.sysctl:
        from rktpy.oci.sysctls import check_sysctls

        check_sysctls(config)
    for fd in range(3, 3 + request.preserved):
        try:
            os.fstat(fd)
        except OSError:
            raise RuntimeFailure(f"unable to preserve descriptor {fd}: it is not open") from None


def _make(making: Making, data: bytes, lock: int) -> None:
    request, config, container = making.request, making.config, making.container
    linux = config.linux
    assert config.process is not None
    root_path = os.path.realpath(os.path.join(request.bundle, config.root_path))
    if not os.path.isdir(root_path):
        raise RuntimeFailure(f"root filesystem {root_path!r} is not a directory")
    groups = making.groups = plan_groups(linux, request.container_id, systemd=request.systemd, rootless=request.rootless)
    if groups.scope is None:
        groups.make()
        groups.limit(linux.resources)
    namespaces = Namespaces(linux.namespaces)
    ours, theirs = talk.pair()
    making.sync = ours
    setup = Setup(config.process, theirs)
    setup.config, setup.namespaces = config, namespaces
    own_users = namespaces.own_user or namespaces.user_fd >= 0
    setup.plan = plan_mounts(config, request.bundle, groups.hierarchies, groups.subtree, bind_devices=own_users)
    _open_sources(setup, own_users=own_users)
    if own_users and "mount" in linux.namespaces and os.geteuid() == 0:
        flags = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_RECURSIVE
        setup.root_tree = open_tree(c.AT_FDCWD, root_path, flags)
        setup.opened.append(setup.root_tree)
    setup.root_path, setup.bundle, setup.container_id = root_path, request.bundle, request.container_id
    setup.no_pivot, setup.keep_keyring = request.no_pivot, request.keep_keyring
    setup.signal_mask = request.signal_mask
    setup.closing.append(lock)
    setup.waits_for_start = not request.start
    setup.asks_for_hooks = bool(config.hooks.get("prestart") or config.hooks.get("createRuntime"))
    _pass_descriptors(request, setup)
    if linux.seccomp is not None:
        compile_filter(setup, config)
    state = container.state = _state(making, root_path)
    if "createContainer" in config.hooks or "startContainer" in config.hooks:
        state["pid"] = _PLACEHOLDER
        setup.hook_state = container.hook_document("creating").replace(b'"pid":%d' % _PLACEHOLDER, b'"pid":@PID@')
    if config.process.terminal:
        setup.console = _connect(request.console_socket) if request.console_socket else _own_end(making)
    if setup.waits_for_start:
        os.mkfifo(f"{container.directory}/{FIFO}", 0o600)
        # Held open for writing too, so that reading waits although nobody writes.
        setup.fifo = os.open(f"{container.directory}/{FIFO}", os.O_RDWR | os.O_CLOEXEC)
    if groups.scope is None:
        from rktpy.cgroup.container_groups import entrances

        setup.groups = entrances(groups.subtree)
    else:
        setup.waits_for_groups = True
    preload(setup)
    making.pid, making.pidfd = clone_first(setup, namespaces, linux, ours)
    _close_theirs(setup)
    _accompany(making, data, setup)


def _open_sources(setup: Setup, *, own_users: bool) -> None:
    """Sources of binds that the container's root may not reach, or that are mapped, are opened here."""
    plan = setup.plan
    assert plan is not None
    for number, operation in enumerate(plan.mounts):
        if isinstance(operation, BindTree):
            if not own_users or os.geteuid() != 0 or operation.copy_link:
                continue
        elif type(operation).__name__ != "MappedBind":
            continue
        opened: BindTree = operation.opened()  # type: ignore[attr-defined]
        setup.opened.append(opened.tree)
        if not opened.propagation:
            # A copy of the host's mounts, not made in the container's own mount namespace, where all are slaves.
            opened = opened.replace(propagation=(c.MS_SLAVE | c.MS_REC,))
        plan.mounts[number] = opened


def _pass_descriptors(request: Request, setup: Setup) -> None:
    """Descriptors for the program: those the caller names, and those of socket activation (sd_listen_fds(3))."""
    setup.preserved = request.preserved
    count = os.environ.get("LISTEN_FDS", "")
    if count.isascii() and count.isdigit() and 0 < int(count) < 1024:
        setup.preserved += int(count)
        setup.environment += [f"LISTEN_FDS={int(count)}", "LISTEN_PID=1"]
        names = os.environ.get("LISTEN_FDNAMES")
        if names:
            setup.environment.append(f"LISTEN_FDNAMES={names}")


def compile_filter(setup: Setup, config: RuntimeConfig) -> None:
    """The system call filter of the configuration. Raises RktpyError."""
    from rktpy.isolate.process import Seccomp
    from rktpy.isolate.seccomp_profile import compile_profile

    assert config.linux.seccomp is not None
    compiled = compile_profile(config.linux.seccomp)
    if compiled.notifies and not config.linux.seccomp.listener_path:
        raise RuntimeFailure("seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
    setup.seccomp, setup.filter_flags, setup.agent = Seccomp(compiled.program), compiled.flags, compiled.notifies


def _state(making: Making, root_path: str) -> dict[str, object]:
    request, config, groups = making.request, making.config, making.groups
    assert groups is not None
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return {
        "ociVersion": config.version,
        "id": request.container_id,
        "pid": 0,
        "started": 0,
        "bundle": request.bundle,
        "rootfs": root_path,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z",
        "annotations": config.annotations,
        "owner": "root" if os.geteuid() == 0 else str(os.geteuid()),
        "groups": groups.subtree.to_text(),
        "scope": groups.scope[1] if groups.scope else "",
    }


def _own_end(making: Making) -> socket:
    """For a container in the foreground, whose terminal we copy from and to: the end that its process gets."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

    making.terminal, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    return theirs


def _connect(path: str) -> socket:
    from rktpy.oci.terminal import connect

    return connect(path)


def _close_theirs(setup: Setup) -> None:
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


def _accompany(making: Making, data: bytes, setup: Setup) -> None:
    """Do for the first process what it cannot, until it is set up."""
    request, config, container, sync = making.request, making.config, making.container, making.sync
    assert sync is not None and making.groups is not None
    container.state["pid"] = making.pid
    container.state["started"] = start_time(making.pid)[0]
    try:
        _serve_before(making, sync)
    except OSError:
        next_failure(sync)  # what the process says of its end tells more
        raise
    hooks = config.hooks
    container.save_config(data)
    if setup.asks_for_hooks:
        container.state["creating"] = True
    container.save()
    while True:
        kind, text = talk.next_message(sync)
        if kind == b"C":
            break
        if kind == b"H":
            from rktpy.oci.hooks import run_hooks

            making.hooked = True
            state = container.hook_document("creating")
            for name in ("prestart", "createRuntime"):
                run_hooks(name, hooks.get(name, ()), state, request.bundle)
            talk.answer(sync)
        elif kind == b"L":
            send_listener(making.pidfd, int(text), config, container, making.pid)
            talk.answer(sync)
        else:
            raise RuntimeFailure("the container's first process ended while it was set up")
    if (setup.namespaces is not None) and setup.namespaces.own_user and config.process is not None:
        raise_rlimits(making.pid, config.process)
    if container.state.pop("creating", None):
        container.save()
    if request.pidfd_socket:
        from rktpy.oci.terminal import connect, send_descriptor

        connection = connect(request.pidfd_socket)
        send_descriptor(connection, making.pidfd, b"pidfd")
        connection.close()
    if request.pid_file:
        write_pid_file(request.pid_file, making.pid)


def _serve_before(making: Making, sync: socket) -> None:
    """What has to be done from outside once there are namespaces: IDs, groups of systemd's, the OOM score, network devices."""
    config, groups = making.config, making.groups
    assert groups is not None and config.process is not None
    namespaces = config.linux.namespaces
    if namespaces.get("user") == "" and namespaces.get("time") != "":
        write_ids(making.pid, config.linux)
        talk.answer(sync)
    if groups.scope is not None:
        from rktpy.oci.scope import enter_scope

        enter_scope(making.pid, groups, config.linux.resources)
        making.container.state["groups"] = groups.subtree.to_text()
        groups.limit(config.linux.resources)
        talk.answer(sync)
    if config.process.oom_score_adj is not None:
        set_oom_score(making.pid, config.process.oom_score_adj)
    if config.linux.net_devices:
        from rktpy.oci.net_devices import move_devices

        move_devices(making.pid, config.linux.net_devices)


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
    """Start the process of a container that was made with ``request.start``. Raises RuntimeFailure when its program cannot be run."""
    sync = making.sync
    assert sync is not None
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
