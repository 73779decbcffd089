"""A pseudo terminal of the container's own.

Master and slave are opened through the container's own devpts, looked at, and used by their descriptors: /dev/console is mounted
from the slave that is open, never from a path that something could have been put at (CVE-2025-52565). Hot-path module.
"""

from __future__ import annotations

import fcntl
import os
import stat
from struct import pack

from rktpy.isolate.root import Root
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from rktpy.oci.setup import Setup

_PTMX = os.makedev(5, 2)
_DEVPTS = 0x1CD1
_PTS_MAJORS = range(136, 144)


class Terminal:
    """An open pair of master and slave."""

    __slots__ = ("master", "slave")

    def __init__(self, master: int, slave: int) -> None:
        self.master = master
        self.slave = slave


def open_terminal(root: Root | None, size: tuple[int, int] | None, uid: int) -> Terminal:
    """A new terminal of ``size`` (rows, columns) that belongs to the user ``uid``. Raises RuntimeFailure, OSError.

    It is one of the container's devpts, or without one of the host's.
    """
    master = _open_master(root)
    try:
        fcntl.ioctl(master, c.TIOCSPTLCK, pack("i", 0))
        slave = fcntl.ioctl(master, c.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        status = os.fstat(slave)
        if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) not in _PTS_MAJORS:
            raise RuntimeFailure("the slave of /dev/ptmx is no pseudo terminal")
        if size is not None:
            fcntl.ioctl(slave, c.TIOCSWINSZ, pack("HHHH", size[0] & 0xFFFF, size[1] & 0xFFFF, 0, 0))
        if uid:
            os.fchown(slave, uid, -1)
    except BaseException:
        os.close(master)
        raise
    return Terminal(master, slave)


def _open_master(root: Root | None) -> int:
    if root is None:
        return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        directory = root.open("/dev/pts", os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if syscalls.filesystem_type(directory) != _DEVPTS:
            raise RuntimeFailure("/dev/pts of the container is no devpts")
        resolve = c.RESOLVE_NO_SYMLINKS | c.RESOLVE_NO_XDEV | c.RESOLVE_BENEATH
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        master = syscalls.openat2(directory, "ptmx", flags, 0, resolve)
    finally:
        os.close(directory)
    if os.fstat(master).st_rdev != _PTMX:
        os.close(master)
        raise RuntimeFailure("/dev/pts/ptmx of the container is no multiplexor of terminals")
    return master


def mount_console(root: Root, slave: int) -> None:
    """Show the slave at /dev/console. Raises OSError, RuntimeFailure."""
    directory = root.target("/dev", directory=True)
    try:
        try:
            os.close(os.open("console", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=directory))
        except FileExistsError:
            pass
        target = os.open("console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        if stat.S_ISLNK(os.fstat(target).st_mode):
            raise RuntimeFailure("/dev/console of the container is a symbolic link")
        syscalls.mount(f"/proc/self/fd/{slave}", f"/proc/self/fd/{target}", None, c.MS_BIND, None)
    finally:
        os.close(target)


def take_terminal(slave: int) -> None:
    """Make the terminal that of our session, and our standard streams. Raises OSError."""
    for fd in range(3):
        os.dup2(slave, fd)
    fcntl.ioctl(0, c.TIOCSCTTY, 0)


def send_descriptor(to: socket, fd: int, name: bytes) -> None:
    """Send a descriptor over a UNIX socket, with its name as the text. Raises OSError."""
    from _socket import SCM_RIGHTS, SOL_SOCKET

    to.sendmsg([name], [(SOL_SOCKET, SCM_RIGHTS, pack("i", fd))])


def connect(path: str) -> socket:
    """A connection with the UNIX socket ``path``. Raises RuntimeFailure."""
    from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise RuntimeFailure(f"can't connect with the socket {path}") from OSError(error.errno, error.strerror)
    return connection


def hand_over(setup: Setup, master: int) -> None:
    """Send the master to who asked for it. Raises OSError."""
    assert setup.console is not None
    send_descriptor(setup.console, master, b"/dev/ptmx")
    os.close(master)
