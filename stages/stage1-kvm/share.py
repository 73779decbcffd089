"""Files of the host for the guest: one directory, served by virtiofsd (Debian: qemu-system-common).

::

    <pod>/machine/share/           a mount in the pod's mount namespace, which receives more while the pod runs
        volumes/<number>           host volumes, each as it may be used: read-only ones are read-only here
        volumes/<app>.<mark>.<n>   volumes of an app that was added
        apps/<app>.<mark>          the roots of a mutable pod's apps
        empty/<name>               empty volumes of a mutable pod's first apps

virtiofsd runs as root, because it gives files the owners that the guest says, but sees nothing of the host but this
directory: its own namespaces, capabilities and system call filter see to that. Device nodes it neither makes nor opens.
Hot-path module.
"""

from __future__ import annotations

import os
import stat
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from rktpy.errors import NotFoundError, Stage1Error
from rktpy.isolate.mounts import Bind
from rktpy.isolate.plan import execute_plan, shown
from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debug, debugging
from rktpy.stage1.kvm.disks import MACHINE_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cgroup.subtree import Subtree
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.volumes import VolumeMount

SHARE_DIR = f"{MACHINE_DIR}/share"
_SOCKET = f"{MACHINE_DIR}/virtiofs"
_PROGRAMS = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
_LARGEST_FD = 2**32 - 1


class Shares:
    """Which volumes are shared, and where: each source, read-only or not, with or without the mounts below it, once."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, bool, bool], str] = {}

    def place(self, mount: VolumeMount) -> str:
        """Where a host volume is, below the share."""
        volume = mount.volume
        deep = volume.recursive is None or volume.recursive
        key = (volume.source, mount.read_only, deep)
        return self._places.setdefault(key, f"volumes/{len(self._places)}")

    def operations(self) -> tuple[Bind, ...]:
        """What shares them."""
        return tuple([Bind(source, f"/{place}", deep, read_only) for (source, read_only, deep), place in self._places.items()])


def check_shareable(app: PodApp, mounts: tuple[VolumeMount, ...]) -> None:
    """Refuse volumes that are neither directories nor files: a device of the host's is none of the guest's. Raises
    Stage1Error."""
    for mount in mounts:
        if mount.volume.kind == "host":
            mode = os.stat(mount.volume.source).st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise Stage1Error(
                    f"app {app.name}: volume {shown(mount.volume.name)} is neither a directory nor a file, which is all that a"
                    " virtual machine can be given"
                )


def make_share() -> None:
    """Make the shared directory in the pod's mount namespace. Raises OSError."""
    try:
        os.mkdir(SHARE_DIR, 0o755)
    except FileExistsError:
        pass
    syscalls.mount("share", SHARE_DIR, "tmpfs", c.MS_NOSUID | c.MS_NODEV, "mode=755,size=1m")
    syscalls.mount(None, SHARE_DIR, None, c.MS_SHARED, None)
    for name in ("volumes", "apps", "empty"):
        os.mkdir(f"{SHARE_DIR}/{name}", 0o755)


def share(operations: tuple[Bind, ...]) -> None:
    """Put directories and files of the host into the share. Raises Stage1Error."""
    with Root(SHARE_DIR) as root:
        execute_plan(operations, root)


def remove_places(directory: str, app: str) -> None:
    """Take an app's files out of the share, which is ``directory``. What is not there is no error."""
    for kind in ("apps", "volumes"):
        for name in os.listdir(f"{directory}/{kind}"):
            if name.partition(".")[0] != app:
                continue
            path = f"{directory}/{kind}/{name}"
            try:
                syscalls.umount2(path, c.MNT_DETACH | c.UMOUNT_NOFOLLOW)
            except OSError:
                pass  # an addition that was killed before it was mounted
            try:
                os.rmdir(path)
            except OSError:
                os.unlink(path)


def serve(groups: Subtree | None) -> int:
    """Start virtiofsd, which ends with the machine; a socket for QEMU. Raises NotFoundError, OSError."""
    program = next((path for path in _PROGRAMS if os.access(path, os.X_OK)), "")
    if not program:
        raise NotFoundError(
            "virtiofsd is not installed (Debian: qemu-system-common), which host volumes need in a virtual machine"
        )
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        os.unlink(_SOCKET)
    except FileNotFoundError:
        pass
    listener.bind(_SOCKET)
    listener.listen(1)
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    connection.connect(_SOCKET)
    os.unlink(_SOCKET)
    options = (
        f"source={os.getcwd()}/{SHARE_DIR},cache=auto,xattr,announce_submounts,sandbox=namespace,modcaps=-mknod,log_level=err"
    )
    command = [program, f"--fd={listener.fileno()}", "-f", "--rlimit-nofile=0", "-o", options]
    debug("stage1", f"execing {command}")
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(c.PR_SET_PDEATHSIG, c.SIGKILL, 0, 0, 0)
            os.setsid()  # what a terminal sends to the process that waits for the pod is not for this one
            if os.getppid() == parent:
                if groups is not None:
                    groups.enter()
                syscalls.close_range(3, _LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
                os.set_inheritable(listener.fileno(), True)
                null = os.open("/dev/null", os.O_RDWR)
                os.dup2(null, 0)
                os.dup2(null, 1)
                if not debugging():
                    os.dup2(null, 2)  # it tells that the machine has gone away
                os.execve(program, command, {"PATH": "/usr/bin:/bin"})
        finally:
            os._exit(254)
    listener.close()
    return connection.detach()
