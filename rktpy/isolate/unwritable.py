"""Running the interpreter from where nobody can write to it.

A process that executes something of an app's is, until that execve(2) and once more if the app's program leads to
``/proc/self/exe`` (by a link, or as the interpreter of a script), an instance of the host's interpreter. The app can keep that
open as ``/proc/PID/exe`` and, when no instance of it runs any more, open it again for writing: CVE-2019-5736. The way through
``/proc`` leads to the mount that the program was executed from; so before we go into an app we execute ourselves once more, from
a read-only mount that is in no namespace and that nobody can therefore change. Hot-path module.
"""

from __future__ import annotations

import os
import sys

from rktpy.errors import Stage1Error
from rktpy.linux.constants import AT_EMPTY_PATH, AT_FDCWD, MOUNT_ATTR_RDONLY, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE
from rktpy.linux.syscalls import mount_setattr, open_tree

_SELF = "/proc/self/exe"


def is_unwritable() -> bool:
    """Whether this process was executed from a read-only mount that is in no namespace. Raises OSError."""
    if not os.statvfs(_SELF).f_flag & os.ST_RDONLY:
        return False
    fd = os.open(_SELF, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = b""
        for line in _read(f"/proc/self/fdinfo/{fd}").splitlines():
            if line.startswith(b"mnt_id:"):
                mount = line.split()[1]
    finally:
        os.close(fd)
    return mount not in [line.split(b" ", 1)[0] for line in _read("/proc/self/mountinfo").splitlines()]


def execute_unwritable(arguments: list[str]) -> None:
    """Become the interpreter with ``arguments``, executed from a read-only mount. Raises Stage1Error where that cannot be had."""
    try:
        program = open_tree(AT_FDCWD, _SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
        mount_setattr(program, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0, 0)
        # Python finds its library by the name it is called by.
        os.execve(program, [sys.executable or "/usr/bin/python3", *arguments], dict(os.environ))
    except OSError as error:
        raise Stage1Error("can't protect the interpreter from the app") from error


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()
