"""Finding and executing the container's program. Hot-path module.

What is executed is the program's path as the container sees it; the interpreter that we are is nothing a container gets hold of
(see ADR 0020).
"""

from __future__ import annotations

import os
import stat

from rktpy.isolate.handoff import default_signals, sealed_handoff
from rktpy.linux.constants import CLOSE_RANGE_CLOEXEC
from rktpy.linux.syscalls import close_range
from rktpy.oci.failure import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LAST = 2**32 - 1


def find_program(name: str, search_path: str) -> str:
    """The program's path; we are in the container's root and in the process's working directory.

    Raises RuntimeFailure in the words of Go's ``exec.LookPath``, which callers look for.
    """
    if "/" in name:
        try:
            status = os.stat(name)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise RuntimeFailure(f'exec: "{name}": stat {name}: {reason}') from None
        if stat.S_ISDIR(status.st_mode):
            raise RuntimeFailure(f'exec: "{name}": is a directory: permission denied')
        if not status.st_mode & 0o111:
            raise RuntimeFailure(f'exec: "{name}": permission denied')
        return name
    for directory in search_path.split(":"):
        path = f"{directory or '.'}/{name}"
        try:
            status = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
            return path
    raise RuntimeFailure(f'exec: "{name}": executable file not found in $PATH')


def close_descriptors(preserved: int) -> None:
    """Let execve(2) close all but the streams and ``preserved`` more. Raises OSError."""
    close_range(3 + preserved, _LAST, CLOSE_RANGE_CLOEXEC)
    for fd in range(3, 3 + preserved):
        os.set_inheritable(fd, True)


def execute(
    program: str, args: tuple[str, ...], environment: dict[str, str], image: int, speaker: str, *, by_path: bool
) -> NoReturn:
    """Become the program, through ``image`` if it is not -1, which speaks as ``speaker``. Raises OSError.

    ``by_path``: a filter may not know execveat(2).
    """
    if image < 0:
        os.execve(program, args, environment)
    handed = [speaker, program, *args]
    if by_path:
        try:
            os.execve(f"/proc/self/fd/{image}", handed, environment)
        except OSError:
            pass  # no /proc
    os.execve(image, handed, environment)


__all__ = ["close_descriptors", "default_signals", "execute", "find_program", "sealed_handoff"]
