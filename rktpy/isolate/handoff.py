"""The program that stands between us and a program of an image's, see ``handoff.c`` and ADR 0020. Hot-path module."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal
else:
    from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal

HANDOFF_PROGRAM = f"{os.path.dirname(os.path.abspath(__file__))}/handoff"
_F_ADD_SEALS = 1033
_SEALS = 0xF  # F_SEAL_SEAL, _SHRINK, _GROW, _WRITE


def default_signals() -> None:
    """Python ignores these two, and ignored signals stay ignored through execve(2)."""
    signal(SIGPIPE, SIG_DFL)
    signal(SIGXFSZ, SIG_DFL)


def _read_handoff() -> bytes:
    """The program ``handoff``; empty when it was not built (no compiler, or a machine that it was not ported to)."""
    try:
        with open(HANDOFF_PROGRAM, "rb", buffering=0) as file:
            return file.readall() or b""
    except FileNotFoundError:
        return b""


#: Read before this process goes where it cannot be read any more.
_HANDOFF = _read_handoff()


def sealed_handoff() -> int:
    """A memory file with the program ``handoff`` that nobody can change; -1 when it was not built. Raises OSError."""
    if not _HANDOFF:
        return -1
    fd = os.memfd_create("handoff", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, _HANDOFF)
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    return fd
