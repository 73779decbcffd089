"""The network namespace of a pod: making it, its loopback interface, and holding it until its networks are taken down.

The namespace is bound to a file, ``/run/netns/cni-<uuid>``, as rkt did, before the first plugin is run. A path like
``/proc/PID/ns/net`` would hold nothing: when the pod ends, however it ends, the namespace would be gone before gc could run
DEL. Most plugins then release their addresses and no more; ptp and bridge find out from the interface in the namespace which
rules of iptables are theirs, so that those would stay for good. And a process ID may belong to another process by then, whose
network would be taken down.

The mount has to outlive the pod's mount namespace (docs/adr/0006), so it is made in that of process 1, which is there for as long
as /run is. Its path is written down first (rktpy.net.records), the file removed last. Removing the file detaches copies of the
mount in other mount namespaces too (Linux 3.18), so that no other pod keeps the namespace alive. After a restart of the machine
/run is empty, and there is nothing to undo. ``ip netns exec cni-<uuid>`` works.

Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket
from errno import EINVAL
from struct import pack, unpack_from

from rktpy.errors import NetworkError
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NETNS_DIR = "/run/netns"

# Of the calling thread: a program with several may have them in several.
_OWN = "/proc/thread-self/ns/net"
_HOST_MOUNTS = "/proc/1/ns/mnt"
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_ROUNDS = 100


def namespace_path(uuid: str) -> str:
    """Where the namespace of a pod is held."""
    return f"{NETNS_DIR}/cni-{uuid}"


def new_namespace() -> int:
    """A new network namespace, owned by the present user namespace: a descriptor of it, close-on-exec.

    The caller stays where it is. Raises OSError.
    """
    before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(c.CLONE_NEWNET)
        try:
            return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            syscalls.setns(before, c.CLONE_NEWNET)
    finally:
        os.close(before)


def raise_loopback(netns_fd: int) -> None:
    """Set the loopback interface of a namespace up, which gives it 127.0.0.1 and ::1. Raises OSError."""
    before = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # A socket stays in the namespace that it was made in.
        syscalls.setns(netns_fd, c.CLONE_NEWNET)
        try:
            control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
        finally:
            syscalls.setns(before, c.CLONE_NEWNET)
    finally:
        os.close(before)
    try:
        answer = fcntl.ioctl(control.fileno(), _SIOCGIFFLAGS, pack("16sh22x", b"lo", 0))
        flags = unpack_from("h", answer, 16)[0]
        if not flags & _IFF_UP:
            fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, pack("16sh22x", b"lo", flags | _IFF_UP))
    finally:
        control.close()


def hold_namespace(netns_fd: int, path: str) -> None:
    """Bind the namespace to ``path``, in the mount namespace of process 1, and so that it is seen here. Raises OSError.

    Where process 1's namespace may not be entered it is held here only, and ends with this mount namespace.
    """
    try:
        _in_host_mounts(lambda: _bind(netns_fd, path))
    except PermissionError as error:
        debug("networking", f"the network namespace ends with the pod: {error.strerror}")
    if not _is_same(path, os.fstat(netns_fd)):
        _bind(netns_fd, path)


def open_held(path: str) -> int:
    """A descriptor of the namespace that is held at ``path``, -1 when none is."""
    if not path:
        return -1
    # The second is where it is when mounts of process 1 do not reach this mount namespace.
    for candidate in (path, f"/proc/1/root{path}"):
        try:
            if not _is_namespace(candidate):
                continue
            return os.open(candidate, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
    return -1


def release_namespace(path: str) -> None:
    """Take the mount at ``path`` down and remove the file. Nothing happens when they are not there. Raises OSError."""
    if os.path.dirname(path) != NETNS_DIR:
        raise NetworkError(f"{path[:200]!r} is not where a pod's network namespace is held")
    _unmount(path)
    try:
        _in_host_mounts(lambda: _unbind(path))
    except PermissionError:
        pass
    _unbind(path)


def _is_namespace(path: str) -> bool:
    """Whether ``path`` is a namespace and not the empty file below the mount."""
    return os.stat(path).st_dev == os.stat(_OWN).st_dev


def _is_same(path: str, wanted: os.stat_result) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino)


def _bind(netns_fd: int, path: str) -> None:
    try:
        os.mkdir(NETNS_DIR, 0o755)
    except FileExistsError:
        pass
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444))
    syscalls.mount(f"/proc/self/fd/{netns_fd}", path, None, c.MS_BIND, None)


def _unmount(path: str) -> None:
    for _ in range(_ROUNDS):
        try:
            syscalls.umount2(path, c.MNT_DETACH | c.UMOUNT_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == EINVAL:  # not a mount point
                return
            raise


def _unbind(path: str) -> None:
    _unmount(path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _in_host_mounts(action: Callable[[], None]) -> None:
    """Do it in the mount namespace of process 1: in a child, because whoever enters one cannot come back to its directories.

    Raises OSError with the error of what failed.
    """
    if _is_same(_HOST_MOUNTS, os.stat("/proc/self/ns/mnt")):
        action()
        return
    mounts = os.open(_HOST_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        child = os.fork()
        if child == 0:
            status = 255
            try:
                syscalls.setns(mounts, c.CLONE_NEWNS)
                action()
                status = 0
            except OSError as error:
                status = error.errno or 255
            finally:
                os._exit(status)
    finally:
        os.close(mounts)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0:
        raise OSError(max(status, 0), os.strerror(status) if status > 0 else "killed", NETNS_DIR)
