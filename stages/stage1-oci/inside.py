"""Doing something in the mount namespace of a running pod: a child goes there, and its answer or error comes back.

The apps' roots are mounted there; all else is as on the host. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import Stage1Error, StateError, UsageError, innermost
from rktpy.isolate.holder import open_holder, read_pid
from rktpy.isolate.plan import shown
from rktpy.linux import constants as c
from rktpy.linux import syscalls
from rktpy.stage1.oci.paths import MONITOR_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED = b"!"


def in_pod(action: Callable[[], bytes]) -> bytes:
    """What ``action`` returns, called in the mount namespace of the pod in the working directory.

    Raises what it raises, as Stage1Error with the same words; StateError when the pod does not run, OSError.
    """
    monitor = open_holder(read_pid(MONITOR_FILE))
    if monitor is None:
        raise StateError("no process of the pod is running")
    with monitor:
        mounts = os.open(f"/proc/{monitor.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        if not monitor.alive():
            raise StateError("no process of the pod is running")
    directory = os.getcwd()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.setns(mounts, c.CLONE_NEWNS)
            os.chdir(directory)
            _write(writer, action())
        except Exception as error:
            _write(writer, _FAILED + innermost(error).encode("utf-8", "surrogateescape"))
        finally:
            os._exit(0)
    os.close(writer)
    os.close(mounts)
    answer = b""
    while chunk := os.read(reader, 65536):
        answer += chunk
    os.close(reader)
    os.waitpid(pid, 0)
    if answer.startswith(_FAILED):
        raise Stage1Error(answer[1:].decode("utf-8", "surrogateescape"))
    return answer


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def named_app(name: str) -> str:
    """The name of an app, which becomes part of paths. Raises UsageError."""
    from rktpy.formats.aci.types import ac_name_problem

    problem = ac_name_problem(name)
    if problem:
        raise UsageError(f"invalid app name {shown(name)}: {problem}")
    return name
