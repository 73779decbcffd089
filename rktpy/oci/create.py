"""Making a container: ``create``, and the first half of ``run``. Hot-path module."""

from __future__ import annotations

import os
import time

from rktpy.formats.oci.runtime.config import RuntimeConfig
from rktpy.oci import talk
from rktpy.oci.cloning import clone_first
from rktpy.oci.container import FIFO, Container, check_id
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.loading import launched, load_more
from rktpy.oci.namespaces import Namespaces
from rktpy.oci.setup import Setup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.oci.groups import Groups

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
        "without_groups",
    )

    def __init__(self, root: str, container_id: str, bundle: str) -> None:
        self.root = root
        self.container_id = container_id
        self.bundle = bundle
        self.console_socket = self.pid_file = self.pidfd_socket = ""
        self.preserved = 0
        self.no_pivot = self.keep_keyring = self.detach = self.start = self.systemd = self.rootless = self.without_groups = False
        self.signal_mask: set[int] | None = None


class Making:
    """A container while it is made; what there is of it is taken back when that fails."""

    __slots__ = ("config", "container", "gone", "groups", "hooked", "pid", "pidfd", "request", "sync", "terminal")

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
        self.gone = False  # it was let go before it was ready


def create(request: Request) -> Making:
    """Make a container. Its first process waits: for ``start``, or with ``request.start`` for :func:`let_go`.

    Raises RuntimeFailure, FormatError, OSError; then nothing is left of it.
    """
    check_id(request.container_id)
    request.bundle = os.path.abspath(request.bundle or ".")
    data = read_config(request.bundle)
    config = RuntimeConfig.parse(data)
    _check(config, request)
    if config.linux.namespaces.get("pid"):
        _protect(request)
    container = Container(request.root, request.container_id)
    lock = container.make()
    making = Making(request, config, container)
    try:
        _make(making, data, lock)
    except BaseException:
        from rktpy.oci.accompany import undo

        undo(making)
        raise
    finally:
        os.close(lock)
    return making


def _protect(request: Request) -> None:
    """Processes of another container will see our first process before it is the container's: see ``exec``."""
    from rktpy.isolate.unwritable import execute_unwritable, is_unwritable

    if launched() or os.geteuid() != 0 or is_unwritable():
        return
    import sys

    if request.signal_mask is not None:
        from rktpy.oci.foreground import release_signals

        release_signals(request.signal_mask)
    execute_unwritable(["-IS", os.path.abspath(sys.argv[0]), *sys.argv[1:]])


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
    namespaces = Namespaces(linux.namespaces)
    ours, theirs = talk.pair()
    making.sync = ours
    setup = Setup(config.process, theirs)
    setup.config, setup.namespaces = config, namespaces
    setup.root_path, setup.bundle, setup.container_id = root_path, request.bundle, request.container_id
    setup.no_pivot, setup.keep_keyring = request.no_pivot, request.keep_keyring
    setup.signal_mask = request.signal_mask
    setup.closing.append(lock)
    setup.waits_for_start = not request.start
    setup.asks_for_hooks = bool(config.hooks.get("prestart") or config.hooks.get("createRuntime"))
    _pass_descriptors(request, setup)
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
    if _needs_us(config):
        from rktpy.oci.prepare import prepare_for_users

        prepare_for_users(making, setup)
    else:
        setup.waits_for_groups = True
    making.pid, making.pidfd = clone_first(setup, namespaces, linux, ours)
    load_more("parent")
    from rktpy.oci.accompany import accompany

    accompany(making, data, setup)


def _needs_us(config: RuntimeConfig) -> bool:
    """Whether the first process will not have the rights to open what it mounts and the groups that it joins."""
    if "user" in config.linux.namespaces:
        return True
    return any(one.uid_mappings or "idmap" in one.options or "ridmap" in one.options for one in config.mounts)


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


def _state(making: Making, root_path: str) -> dict[str, object]:
    request, config = making.request, making.config
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
        "groups": "",
        "scope": "",
    }


def _own_end(making: Making) -> socket:
    """For a container in the foreground, whose terminal we copy from and to: the end that its process gets."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socketpair

    making.terminal, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    return theirs


def _connect(path: str) -> socket:
    from rktpy.oci.terminal import connect

    return connect(path)
