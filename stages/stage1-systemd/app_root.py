"""The root of an app in the pod: its image, with the devices, the kernel's files and the volumes in it.

As rkt 1.30's prepare-app: /proc, /sys, /dev (nodes, pts, shm), the journal's sockets, /tmp, /etc/{resolv.conf,hosts,hostname},
volumes. The app's service gets a mount namespace of its own in which this is all there is (PrivateMounts, RootDirectory).
Hot-path module.
"""

from __future__ import annotations

import os
import stat

from rktpy.formats import stage1 as names
from rktpy.formats.aci.isolators import LANDLOCK_NAME, SELINUX_CONTEXT_NAME
from rktpy.isolate.mounts import Bind, BindRoot, Mkdir, RemountReadonly, Symlink, Tmpfs, WorldWritable
from rktpy.isolate.plan import Operation
from rktpy.isolate.volumes import choose_mounts, volume_operations
from rktpy.linux import constants as c
from rktpy.stage1.systemd.pod_paths import CONFINE, TERMINAL
from rktpy.stage1.systemd.pod_root import KERNEL_PROC, KERNEL_SYS, device_nodes, working_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.root import Root
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.pod.pod import NameFiles, Sharing

_JOURNAL = "/run/systemd/journal"


class HostsFallback(Operation):
    """Give an image without /etc/hosts the pod's."""

    source: str

    def describe(self) -> str:
        return 'bind the pod\'s hosts at "/etc/hosts" unless the image has its own'

    def execute(self, root: Root) -> None:
        if root.stat("/etc/hosts") is None:
            Bind(self.source, "/etc/hosts").execute(root)


def app_root(app: PodApp, pod_root: str, sharing: Sharing, *, interactive: bool = False) -> tuple[Operation, ...]:
    """The root without its volumes (:func:`volumes`) and what is known only when the network is up (:func:`name_files`).

    ``pod_root`` is the path of the pod's root, ``interactive`` says that the app has the pod's terminal.
    """
    return (
        BindRoot(),
        Bind(f"{pod_root}{KERNEL_PROC}", "/proc", recursive=True),
        Bind(f"{pod_root}{KERNEL_SYS}", "/sys", recursive=True),
        Tmpfs("/dev", "mode=755,size=64k,nr_inodes=1m", c.MS_NOSUID | c.MS_STRICTATIME),
        *device_nodes("/dev", f"{pod_root}/dev" if sharing.user_namespace else ""),
        *working_directory(app.app.working_directory or "/"),
        *[Bind(f"{pod_root}/dev/{name}", f"/dev/{name}") for name in ("pts", "shm", "mqueue")],
        Bind(f"{pod_root}/{TERMINAL if interactive else 'dev/console'}", "/dev/console"),
        # Read-only: connecting to a socket writes nothing, and no app can put a socket of its own in the place of one.
        Bind(f"{pod_root}{_JOURNAL}", _JOURNAL, read_only=True),
        Symlink("/dev/log", f"{_JOURNAL}/dev-log"),
        # Where systemd mounts for itself; afterwards the root may be read-only.
        Mkdir("/run/systemd/incoming"),
        Mkdir("/run/credentials", 0o700),
        WorldWritable("/tmp"),
    )


def volumes(app: PodApp, mounts: tuple[VolumeMount, ...]) -> tuple[Operation, ...]:
    """What makes the app's volumes and puts them in place, and what else is taken from the host. Sources are paths of the
    host."""
    operations = volume_operations(mounts, app.directory, recursive=True)
    if any(isolator.name in (LANDLOCK_NAME, SELINUX_CONTEXT_NAME) for isolator in app.app.isolators):
        from rktpy.isolate.landlock import confine_program

        operations.append(Bind(confine_program(), f"/{CONFINE}", read_only=True))
    return tuple(operations)


def name_files(app: PodApp, pod_root: str, wanted: NameFiles, *, has_resolv: bool) -> tuple[Operation, ...]:
    """The rest: names, then read-only where the app wants that. ``has_resolv`` says that the network gave name servers."""
    operations: list[Operation] = [Bind(f"{pod_root}/etc/hostname", "/etc/hostname")]
    if wanted.resolv == "host":
        operations.append(Bind("/etc/resolv.conf", "/etc/resolv.conf", read_only=True))
    elif wanted.resolv == "stage0" or (wanted.resolv == "default" and has_resolv):
        operations.append(Bind(f"{pod_root}/{names.RESOLV_CONF}", "/etc/resolv.conf"))
    if wanted.hosts == "host":
        operations.append(Bind("/etc/hosts", "/etc/hosts", read_only=True))
    elif wanted.hosts == "stage0":
        operations.append(Bind(f"{pod_root}/{names.HOSTS}", "/etc/hosts"))
    else:
        operations.append(HostsFallback(f"{pod_root}/{names.HOSTS_FALLBACK}"))
    if app.runtime.read_only_root_fs:
        operations.append(RemountReadonly("/"))
    return tuple(operations)


def app_mounts(app: PodApp) -> tuple[VolumeMount, ...]:
    """Which volume goes where in an app. Raises Stage1Error."""
    return choose_mounts(app)


def volume_devices(mounts: tuple[VolumeMount, ...]) -> tuple[str, ...]:
    """The device nodes among an app's volumes, as DeviceAllow= names them (systemd.resource-control(5))."""
    found: list[str] = []
    for mount in mounts:
        if mount.volume.kind != "host":
            continue
        try:
            status = os.stat(mount.volume.source)
        except OSError:
            continue
        kind = "char" if stat.S_ISCHR(status.st_mode) else "block" if stat.S_ISBLK(status.st_mode) else ""
        if kind:
            found.append(f"/dev/{kind}/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
    return tuple(found)
