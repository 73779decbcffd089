"""Starting QEMU, which runs code of the pod's when it has a flaw: it gets as little of the host as it can live with.

A user of its own for every pod, without capabilities and without a way to get any; namespaces of its own with a network that
leads nowhere (the pod's is reached through open descriptors); of the host's files the programs below /usr, read-only; the
pod's control groups; QEMU's own filter of system calls. When the process that started it ends, it is killed. Hot-path module.
"""

from __future__ import annotations

import os
import stat

from rktpy.cgroup.subtree import write
from rktpy.errors import Stage1Error, innermost
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.log import debug
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from rktpy.cgroup.subtree import Subtree

#: Users that nobody else has (systemd's "Users, Groups, UIDs and GIDs": 1879048192 to 2147483647 are free).
_FIRST_USER, _USERS = 1900000000, 200000000
_NOBODY = 65534
_LARGEST_FD = 2**32 - 1
_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_NODES = (("null", 1, 3), ("zero", 1, 5), ("urandom", 1, 9))
MEMORY_FILE = "/memory"
_LIBRARIES = "/etc/ld.so.cache"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C"}


class Place(Record):
    """What becomes QEMU's root: a mount that is nowhere yet, the user that it is for, and the file of the machine's memory."""

    mount: int
    user: int
    memory: int

    def close(self) -> None:
        """Close the descriptors, after the start."""
        for fd in (self.mount, self.memory):
            os.close(fd)


def user_of(uuid: str) -> int:
    """The user ID for the machine of a pod."""
    return _FIRST_USER + int(uuid.replace("-", ""), 16) % _USERS


def make_place(user: int, memory: int) -> Place:
    """A root with a file of ``memory`` MiB in it that holds nothing yet. Raises OSError."""
    context = syscalls.fsopen("tmpfs", c.FSOPEN_CLOEXEC)
    try:
        syscalls.fsconfig(context, c.FSCONFIG_SET_STRING, "mode", "755", 0)
        syscalls.fsconfig(context, c.FSCONFIG_SET_STRING, "size", f"{memory + 1}M", 0)
        syscalls.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0)
        mount = syscalls.fsmount(context, c.FSMOUNT_CLOEXEC, c.MOUNT_ATTR_NOSUID)
    finally:
        os.close(context)
    fd = os.open(MEMORY_FILE[1:], os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=mount)
    os.ftruncate(fd, memory << 20)
    try:
        os.fchown(fd, user, user)
    except OSError:
        os.fchmod(fd, 0o666)  # a user namespace with few users: nobody else sees this mount
    return Place(mount, user, fd)


def start(
    command: list[str],
    place: Place,
    guest_directory: str,
    descriptors: tuple[int, ...],
    groups: Subtree | None,
    *,
    quiet: bool = False,
) -> tuple[int, int]:
    """Start QEMU with ``command``; its process ID and pidfd. It inherits ``descriptors`` and the standard streams.

    ``guest_directory`` is seen as /guest; with ``quiet`` nobody sees what QEMU complains about. Raises OSError.
    """
    flags = c.CLONE_NEWNS | c.CLONE_NEWPID | c.CLONE_NEWIPC | c.CLONE_NEWUTS | c.CLONE_NEWNET
    into = _unified(groups)
    pid, pidfd = syscalls.clone3(flags, into)
    if pid == 0:
        try:
            _become(command, place, guest_directory, descriptors, groups, quiet)
        except Exception as error:
            os.write(2, f"stage1: can't start the virtual machine: {innermost(error)}\n".encode("utf-8", "backslashreplace"))
        finally:
            os._exit(254)
    if into >= 0:
        os.close(into)
    return pid, pidfd


def _unified(groups: Subtree | None) -> int:
    for group in groups.groups if groups is not None else ():
        if group.version == 2:
            return os.open(group.entrance, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return -1


def _become(
    command: list[str],
    place: Place,
    guest_directory: str,
    descriptors: tuple[int, ...],
    groups: Subtree | None,
    quiet: bool,
) -> NoReturn:
    syscalls.prctl(c.PR_SET_PDEATHSIG, c.SIGKILL, 0, 0, 0)
    os.setsid()  # what a terminal sends to the process that waits for the pod is not for this one
    for group in groups.groups if groups is not None else ():
        if group.version == 1:
            write(f"{group.entrance}/tasks", "0")
    os.umask(0o022)
    device = _accelerator_device(command)
    syscalls.mount(None, "/", None, c.MS_REC | c.MS_PRIVATE, None)
    _make_root(place, guest_directory, device)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1) if "-serial" not in command else ():
        os.dup2(null, fd)
    if quiet or not os.get_inheritable(2):
        os.dup2(null, 2)  # it was closed, and is one of ours now
    os.setgroups(())
    try:
        os.setresgid(place.user, place.user, place.user)
        os.setresuid(place.user, place.user, place.user)
    except OSError:
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    # A change of the user takes the signal of the parent's death back.
    syscalls.prctl(c.PR_SET_PDEATHSIG, c.SIGKILL, 0, 0, 0)
    syscalls.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    syscalls.close_range(3, _LARGEST_FD, c.CLOSE_RANGE_CLOEXEC)
    for fd in descriptors:
        os.set_inheritable(fd, True)
    debug("stage1", f"execing {command}")
    try:
        os.execve(command[0], command, _ENVIRONMENT)
    except OSError as error:
        raise Stage1Error(f"can't execute {command[0]}") from error


def _accelerator_device(command: list[str]) -> str:
    accelerator = command[command.index("-accel") + 1]
    return {"kvm": "kvm"}.get(accelerator, "")


def _make_root(place: Place, guest_directory: str, device: str) -> None:
    """Fill the root and move into it. The working directory is covered by it on the way."""
    base = f"/proc/self/fd/{place.mount}"
    number = os.stat(f"/dev/{device}").st_rdev if device else 0
    syscalls.move_mount(place.mount, "", c.AT_FDCWD, ".", c.MOVE_MOUNT_F_EMPTY_PATH)
    for name in _PROGRAMS:
        try:
            status = os.lstat(f"/{name}")
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(f"/{name}"), f"{base}/{name}")
        else:
            os.mkdir(f"{base}/{name}")
            _bind(f"/{name}", f"{base}/{name}")
    os.mkdir(f"{base}/etc")
    if os.path.exists(_LIBRARIES):
        os.close(os.open(f"{base}{_LIBRARIES}", os.O_CREAT | os.O_WRONLY, 0o644))
        _bind(_LIBRARIES, f"{base}{_LIBRARIES}")
    os.mkdir(f"{base}/guest")
    _bind(guest_directory, f"{base}/guest")
    os.mkdir(f"{base}/dev")
    for node, major, minor in _NODES:
        os.mknod(f"{base}/dev/{node}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{base}/dev/{node}", 0o666)
    if device:
        os.mknod(f"{base}/dev/{device}", stat.S_IFCHR | 0o600, number)
        os.chown(f"{base}/dev/{device}", place.user, place.user)
    os.fchdir(place.mount)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", c.MNT_DETACH)
    os.chdir("/")


def _bind(source: str, target: str) -> None:
    syscalls.mount(source, target, None, c.MS_BIND | c.MS_REC, None)
    flags = c.MS_REMOUNT | c.MS_BIND | c.MS_RDONLY | c.MS_NOSUID | c.MS_NODEV
    try:
        syscalls.mount(None, target, None, flags, None)
    except PermissionError:
        syscalls.mount(None, target, None, flags | c.MS_NOATIME | c.MS_RELATIME, None)
