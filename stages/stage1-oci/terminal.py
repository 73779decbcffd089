"""The terminal of an interactive app: conmon holds its master, and passes on what comes over a socket. Hot-path module."""

from __future__ import annotations

import os
import sys

from rktpy.stage1.oci.paths import APPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
else:
    import _socket


def attach(app: str) -> int:
    """A socket connected to the terminal of ``app``, which has the size of ours. Raises OSError.

    Packets from it are a byte that names the stream and what was written; packets to it are what is typed (conmon's
    ``src/conn_sock.c``).
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    # By descriptor: the path of a pod's directory may be longer than an address can be.
    directory = os.open(f"{APPS}/{app}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/attach")
    finally:
        os.close(directory)
    _set_size(app)
    return connection.detach()


def _set_size(app: str) -> None:
    """Tell conmon how large our terminal is: ``1 HEIGHT WIDTH`` on its control FIFO."""
    try:
        size = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
        fd = os.open(f"{APPS}/{app}/ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, f"1 {size.lines} {size.columns}\n".encode())
    finally:
        os.close(fd)
