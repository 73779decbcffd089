"""The root of a pod's systemd: the host's programs, read-only, and a few directories of the pod's own.

::

    <pod>/stage1/rootfs            bound onto itself, then the root of the pod's mount namespace
        usr, bin, lib ...          the host's, read-only; nothing else of the host
        etc/                       machine-id, hostname, passwd, journald.conf, systemd/system/ (units)
        proc, sys, dev, run, tmp   of the pod's namespaces
        sys/fs/cgroup/             the pod's groups, as the root of a control group namespace
        rkt/kernel/{proc,sys}      what apps see of these: some read-only, some hidden
        rkt/{status,env,units ...} the contract's
        var/log/journal/<id>/      the pod's log
        opt/stage2/<app>/rootfs    the apps' roots

What an app can reach is its own root, put together by :mod:`rktpy.stage1.systemd.app_root`. Protected paths as in rkt 1.30, whose
systemd-nspawn kept apps from the kernel's parameters as well: to write to those of the whole machine takes no capability, but to
be its root. Hot-path module.
"""

from __future__ import annotations

import os
import stat

from rktpy.isolate.mounts import Bind, BindOnItself, BindRoot, Filesystem, MaskPath, Mkdir, Mknod, RemountReadonly, Symlink, Tmpfs
from rktpy.isolate.protected_paths import HIDDEN_PROC, HIDDEN_SYS, READ_ONLY_PROC
from rktpy.linux import constants as c
from rktpy.stage1.systemd.pod_paths import TERMINAL, WORKING_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rktpy.cgroup.subtree import Group
    from rktpy.isolate.plan import Operation
    from rktpy.pod.pod import Sharing

KERNEL_PROC = "/rkt/kernel/proc"
KERNEL_SYS = "/rkt/kernel/sys"
_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec")
_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx"))
_TUN = ("net/tun", 10, 200)


def host_programs() -> Iterable[Operation]:
    """The host's programs and libraries: directories are bound read-only, links (a merged /usr) made again."""
    for name in _PROGRAMS:
        try:
            mode = os.lstat(f"/{name}").st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(mode):
            yield Symlink(f"/{name}", os.readlink(f"/{name}"))
        elif stat.S_ISDIR(mode):
            yield Bind(f"/{name}", f"/{name}", recursive=True, read_only=True)
    if os.path.isfile("/etc/ld.so.cache"):
        yield Bind("/etc/ld.so.cache", "/etc/ld.so.cache", read_only=True)


def device_nodes(directory: str, source: str = "") -> Iterable[Operation]:
    """The nodes and links that every /dev has. With ``source``, another /dev, its nodes are bound instead of made."""
    for name, major, minor in (*_NODES, _TUN):
        if not source:
            yield Mknod(f"{directory}/{name}", stat.S_IFCHR, major, minor)
        elif name != _TUN[0] or os.path.exists(f"{source}/{name}"):
            yield Bind(f"{source}/{name}", f"{directory}/{name}")
    for name, target in _LINKS:
        yield Symlink(f"{directory}/{name}", target)


def working_directory(path: str) -> Iterable[Operation]:
    """Links that let :data:`WORKING_DIRECTORY` lead to ``path``."""
    yield Symlink(WORKING_DIRECTORY[0], WORKING_DIRECTORY[1])
    yield Symlink(WORKING_DIRECTORY[1], path)


def pod_root(groups: tuple[Group, ...], *, terminal: str, console: str, protect: bool, sharing: Sharing) -> tuple[Operation, ...]:
    """What makes the directory of a pod's stage1 the root of its systemd.

    ``terminal`` is the host's path of what apps' lines are written on, or of an interactive app's terminal; ``console`` that of
    systemd's own console, empty for none (it would flush what is typed). ``protect`` says that paths of /proc and /sys are kept
    from apps. The calling process is in the pod's namespaces.
    """
    return (
        BindRoot(),
        *host_programs(),
        Filesystem("proc", "/proc"),
        _sysfs("/sys", sharing),
        *_cgroups(groups, sharing),
        Tmpfs("/dev", "mode=755,size=64k,nr_inodes=1m", c.MS_NOSUID | c.MS_STRICTATIME),
        *device_nodes("/dev", "/dev" if sharing.user_namespace else ""),
        *working_directory("/"),
        Filesystem("devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=620,gid=5", c.MS_NOSUID | c.MS_NOEXEC),
        Tmpfs("/dev/shm", "mode=1777", c.MS_NOSUID | c.MS_NODEV),
        *_mqueue(sharing),
        Bind(console or "/dev/null", "/dev/console"),
        Bind(terminal, f"/{TERMINAL}"),
        Tmpfs("/run", "mode=755", c.MS_NOSUID | c.MS_NODEV),
        Tmpfs("/tmp", "mode=1777", c.MS_NOSUID | c.MS_NODEV),
        # journald writes to disk only when it is told that /var is there (systemd-journald.service(8)).
        Mkdir("/run/systemd/journal/flushed"),
        *_kernel_for_apps(protect, sharing),
    )


def _sysfs(target: str, sharing: Sharing) -> Operation:
    if sharing.user_namespace and sharing.network:
        return Bind("/sys", target, recursive=True, read_only=True)
    return Filesystem("sysfs", target, "", c.MS_NOSUID | c.MS_NODEV | c.MS_NOEXEC | c.MS_RDONLY)


def _mqueue(sharing: Sharing) -> Iterable[Operation]:
    if not (sharing.user_namespace and sharing.ipc):
        yield Filesystem("mqueue", "/dev/mqueue")
    elif os.path.isdir("/dev/mqueue"):
        yield Bind("/dev/mqueue", "/dev/mqueue")
    else:
        yield Mkdir("/dev/mqueue")


def _cgroups(groups: tuple[Group, ...], sharing: Sharing) -> Iterable[Operation]:
    """The hierarchies of this control group namespace, at the places where systemd looks for them."""
    if len(groups) == 1 and groups[0].version == 2:
        if sharing.user_namespace and sharing.network:
            # The host's hierarchy came with its /sys, and the kernel mounts none on itself.
            yield Tmpfs("/sys/fs/cgroup", "mode=755,size=64k")
        yield Filesystem("cgroup2", "/sys/fs/cgroup", "nsdelegate")
        return
    if not groups:
        return
    yield Tmpfs("/sys/fs/cgroup", "mode=755,size=64k")
    for group in groups:
        if group.version == 2:
            yield Filesystem("cgroup2", "/sys/fs/cgroup/unified", "")
            continue
        controllers = ",".join(group.controllers)
        name = controllers.removeprefix("name=")
        options = f"none,{controllers}" if controllers.startswith("name=") else controllers
        yield Filesystem("cgroup", f"/sys/fs/cgroup/{name}", options)
        if "," in name:
            for one in group.controllers:
                yield Symlink(f"/sys/fs/cgroup/{one}", name)


def _kernel_for_apps(protect: bool, sharing: Sharing) -> Iterable[Operation]:
    yield Filesystem("proc", KERNEL_PROC)
    yield _sysfs(KERNEL_SYS, sharing)
    if not protect:
        return
    if not sharing.network:
        # Of the pod's own network, for apps that may administer it.
        yield BindOnItself(f"{KERNEL_PROC}/sys/net")
    for path in READ_ONLY_PROC:
        yield RemountReadonly(f"{KERNEL_PROC}/{path}")
    for path in HIDDEN_PROC:
        yield MaskPath(f"{KERNEL_PROC}/{path}")
    for path in HIDDEN_SYS:
        yield MaskPath(f"{KERNEL_SYS}/{path}")
