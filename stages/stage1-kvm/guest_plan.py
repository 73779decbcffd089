"""What the guest is asked to do for a pod, as operations: lists of words that ``guest/operations.c`` carries out.

::

    /images/<app>                  the app's tree, read-only (EROFS), or /share/apps/<app> (virtiofs)
    /scratch                       the pod's disk: apps/<app>/{upper,work}, volumes/<name>
    /share                         what the host shares: volumes/<number>, apps/<app>
    /apps/<app>/root               the app's root, with the devices, the kernel's files and the volumes in it
    /kernel/{proc,sys}             what apps see of these: some read-only, some hidden
    /names/                        hostname, hosts, resolv.conf

An app's processes are in a mount namespace of their own in which its root is all there is. Hot-path module.
"""

from __future__ import annotations

import os
import stat
from time import time_ns

from rktpy.isolate.protected_paths import HIDDEN_PROC, HIDDEN_SYS, READ_ONLY_PROC
from rktpy.linux import constants as c
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.isolate.pod_app import PodApp
    from rktpy.isolate.volumes import VolumeMount
    from rktpy.stage1.kvm.guest import Guest
    from rktpy.stage1.kvm.machine import Shape
    from rktpy.stage1.kvm.pod import Pod

    Operation = tuple[str | bytes, ...]

CGROUPS = "/sys/fs/cgroup/apps"
SCRATCH = "/scratch"
SHARE = "/share"
NAMES = "/names"
_PROC, _SYS = "/kernel/proc", "/kernel/sys"
_CONTROLLERS = "+cpu +memory +pids +io"
_SAFE = str(c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC)
_ENTROPY = 64
_NODES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("net/tun", 10, 200),
)
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx"))


class Rooted(Record):
    """How an app gets its root: ``disk`` is the number of the disk with its tree, -1 when the host shares its root
    at ``place``, below the share."""

    disk: int
    place: str = ""


def pod_operations(pod: Pod, guest: Guest, shape: Shape) -> list[Operation]:
    """What is done once: secrets that a snapshot must not hold, drivers, the pod's own file systems."""
    now = time_ns()
    operations: list[Operation] = [
        ("clock", str(now // 1000000000), str(now % 1000000000)),
        ("entropy", os.urandom(_ENTROPY)),
        ("hostname", pod.hostname),
    ]
    kinds = (("block", shape.disks), ("network", shape.networks), ("shared", shape.shared))
    operations += [("module", f"/modules/{file}", "") for kind, wanted in kinds if wanted for file in guest.later[kind]]
    if shape.disks:
        operations.append(
            ("mount", "", "disk:disk0", SCRATCH, "ext4", str(c.MS_NOSUID | c.MS_NODEV | c.MS_NOATIME), "noinit_itable")
        )
    if shape.shared:
        operations.append(("mount", "", "share", SHARE, "virtiofs", str(c.MS_NODEV), ""))
    operations += [
        ("set", "/sys/fs/cgroup/cgroup.subtree_control", _CONTROLLERS),
        ("mkdir", "", CGROUPS, str(0o755), "0", "0"),
        ("set", f"{CGROUPS}/cgroup.subtree_control", _CONTROLLERS),
        ("mount", "", "proc", _PROC, "proc", _SAFE, ""),
        ("mount", "", "sysfs", _SYS, "sysfs", str(int(_SAFE) | c.MS_RDONLY), ""),
        ("interface", "lo", "lo", "", "0"),
        ("write", "", f"{NAMES}/hostname", f"{pod.hostname}\n", str(0o644)),
    ]
    if pod.protect_paths:
        operations += [("readonly", _PROC, f"/{path}", "0") for path in READ_ONLY_PROC]
        operations += [("mask", _PROC, f"/{path}") for path in HIDDEN_PROC]
        operations += [("mask", _SYS, f"/{path}") for path in HIDDEN_SYS]
    return operations


def app_root(app: PodApp, rooted: Rooted) -> list[Operation]:
    """The app's root without its volumes and names."""
    name, root = app.name, app_directory(app.name)
    operations: list[Operation] = []
    if rooted.disk < 0:
        operations.append(("bind", "", SHARE, f"/{rooted.place}", root, str(c.MS_NODEV)))
    else:
        status = os.stat(app.rootfs)
        lower, upper, work = f"/images/{name}", f"{SCRATCH}/apps/{name}/upper", f"{SCRATCH}/apps/{name}/work"
        mode = str(stat.S_IMODE(status.st_mode))
        operations += [
            ("mount", "", f"disk:disk{rooted.disk}", lower, "erofs", str(c.MS_RDONLY), ""),
            ("mkdir", "", upper, mode, str(status.st_uid), str(status.st_gid)),
            ("mkdir", "", work, str(0o700), "0", "0"),
            ("mount", "", "overlay", root, "overlay", "0", f"lowerdir={lower},upperdir={upper},workdir={work}"),
        ]
    operations += [
        ("bind", root, "", _PROC, "/proc", str(c.MS_REC)),
        ("bind", root, "", _SYS, "/sys", str(c.MS_REC)),
        ("mount", root, "dev", "/dev", "tmpfs", str(c.MS_NOSUID | c.MS_STRICTATIME), "mode=755,size=64k,nr_inodes=1m"),
        *[("mknod", root, f"/dev/{node}", str(stat.S_IFCHR | 0o666), str(major), str(minor)) for node, major, minor in _NODES],
        *[("symlink", root, f"/dev/{link}", target) for link, target in _LINKS],
        *[("bind", root, "/dev", f"/{directory}", f"/dev/{directory}", "0") for directory in ("pts", "shm", "mqueue")],
        # Read-only: connecting to a socket writes nothing, and no app can put a socket of its own in the place of one.
        ("bind", root, "", "/journal", "/run/systemd/journal", str(c.MS_RDONLY)),
        ("symlink", root, "/dev/log", "/run/systemd/journal/dev-log"),
        ("mkdir", root, "/tmp", str(0o1777), "0", "0", "once"),
    ]
    return operations


def volumes(
    app: PodApp, mounts: tuple[VolumeMount, ...], places: dict[VolumeMount, str], made: set[str] | None = None
) -> list[Operation]:
    """What makes the app's volumes and puts them in place. ``places`` says where in the share they are; those that are not
    there are empty ones, made on the pod's disk unless ``made`` has them already."""
    operations: list[Operation] = []
    for mount in mounts:
        volume = mount.volume
        flags = c.MS_RDONLY if mount.read_only else 0
        if mount in places:
            operations.append(("bind", app_directory(app.name), SHARE, f"/{places[mount]}", mount.path, str(flags | c.MS_REC)))
            continue
        place = f"{SCRATCH}/volumes/{volume.name}"
        if made is not None and volume.name not in made:
            made.add(volume.name)
            operations.append(("mkdir", "", place, str(volume.mode_bits), str(volume.uid or 0), str(volume.gid or 0)))
            if mount.from_image:
                operations.append(("copy", app_directory(app.name), mount.path, place))
        operations.append(("bind", app_directory(app.name), "", place, mount.path, str(flags)))
    return operations


def name_files(app: PodApp, contents: dict[str, bytes], *, hosts_only_if_missing: bool) -> list[Operation]:
    """/etc/hostname, /etc/hosts and /etc/resolv.conf, as ``contents`` has them, then what has to be last."""
    root = app_directory(app.name)
    operations: list[Operation] = [("bind", root, NAMES, "/hostname", "/etc/hostname", "0")]
    if "resolv.conf" in contents:
        operations.append(("bind", root, NAMES, "/resolv.conf", "/etc/resolv.conf", "0"))
    if "hosts" in contents:
        kind = "bind-missing" if hosts_only_if_missing else "bind"
        operations.append((kind, root, NAMES, "/hosts", "/etc/hosts", "0"))
    if app.runtime.read_only_root_fs:
        operations.append(("readonly", root, "/", "0"))
    return operations


def cgroup_operations(app: PodApp, files: list[tuple[str, str]]) -> list[Operation]:
    """The app's control group with its limits."""
    group = app_cgroup(app.name)
    return [("mkdir", "", group, str(0o755), "0", "0"), *[("set", f"{group}/{file}", value) for file, value in files]]


def app_directory(name: str) -> str:
    """The app's root in the guest."""
    return f"/apps/{name}/root"


def app_cgroup(name: str) -> str:
    """The app's control group in the guest. No controller of the kernel's has a dot at the beginning of a file."""
    return f"{CGROUPS}/app-{name}"
