"""Maps of user namespaces, as the kernel takes them: lines of three numbers (user_namespaces(7)). Hot-path module."""

from __future__ import annotations

import os

from rktpy.linux import constants as c
from rktpy.linux import syscalls


def write_map(pid: int, name: str, text: str) -> None:
    """Write ``uid_map`` or ``gid_map`` of a process's user namespace, once and for all. Raises OSError."""
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"/proc/{pid}/{name}") from None
    finally:
        os.close(fd)


def open_mapped_namespace(uid_map: str, gid_map: str) -> int:
    """The descriptor of a user namespace with these maps that no process is in. Raises OSError."""
    reader, writer = os.pipe()
    try:
        pid, pidfd = syscalls.clone3(c.CLONE_NEWUSER, -1)
        if pid == 0:
            try:
                os.close(writer)
                os.read(reader, 1)  # until we are done with it, or gone
            finally:
                os._exit(0)
    except BaseException:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    try:
        write_map(pid, "gid_map", gid_map)
        write_map(pid, "uid_map", uid_map)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.close(pidfd)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass  # the caller ignores SIGCHLD


def map_tree(tree: int, namespace: int, *, recursive: bool) -> None:
    """Give a detached mount the IDs of the user namespace ``namespace``. Raises OSError, EINVAL when the file system cannot."""
    flags = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0)
    syscalls.mount_setattr(tree, "", flags, c.MOUNT_ATTR_IDMAP, 0, 0, namespace)
