"""The metadata service as a process: its sockets, its threads, its end.

Source: rkt 1.30 ``rkt/metadata_service.go`` (messages, the socket at descriptor 3 under systemd, port on all IPv4 addresses).
"""

from __future__ import annotations

import os
import signal
import socket
import stat
from typing import TYPE_CHECKING

from rktpy.errors import RktpyError, StateError
from rktpy.linux.service_manager import listen_fds, notify
from rktpy.log import note
from rktpy.metadata.identity import KEY_FILE, Identity, KeyFile
from rktpy.metadata.public import PublicServer
from rktpy.metadata.registration_server import RegistrationServer
from rktpy.metadata.registrations import Registrations
from rktpy.stage0.metadata import SOCKET

if TYPE_CHECKING:
    from rktpy.stage0.options import Globals

_ENDS = frozenset((signal.SIGINT, signal.SIGTERM))
_SWEEP_S = 30
_GRACE_S = 2
_BACKLOG = 128


def serve(g: Globals, port: int) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. ``port``: TCP port for the apps, 0 for any. Raises RktpyError, OSError."""
    # Blocked in every thread, so that the one that waits for them gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    note("metadata-service", "metadata service starting...")
    os.makedirs(os.path.dirname(KEY_FILE), 0o755, exist_ok=True)
    key = KeyFile()
    registering, made = _registration_socket()
    try:
        listening = _public_socket(port)
        registrations = Registrations(g.data_dir)
        known = registrations.rebuild()
        if known:
            note("metadata-service", f"{known} running pod(s) registered again")
        servers = (
            RegistrationServer(registering, registrations),
            PublicServer(listening, registrations, Identity(key.key)),
        )
        for server in servers:
            server.start()
        notify("READY=1")
        note("metadata-service", f"metadata service running on port {listening.getsockname()[1]}...")
        while signal.sigtimedwait(_ENDS, _SWEEP_S) is None:
            registrations.drop_gone()
        notify("STOPPING=1")
        note("metadata-service", "metadata service exiting...")
        for server in servers:
            server.stop(_GRACE_S)
    finally:
        if made is not None:
            _remove(made)
    key.close()
    return 0


def _registration_socket() -> tuple[socket.socket, os.stat_result | None]:
    """The socket for registrations, and what it is in the file system if this process made it."""
    passed = listen_fds()
    if passed:
        listener = socket.socket(fileno=passed[0])
        if len(passed) > 1 or listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
            raise StateError("started by socket activation, but not with one Unix stream socket")
        return listener, None
    _clear_place()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        old = os.umask(0o177)
        try:
            listener.bind(SOCKET)
        finally:
            os.umask(old)
        listener.listen(_BACKLOG)
        return listener, os.stat(SOCKET)
    except OSError as error:
        raise RktpyError(f"cannot listen on {SOCKET}") from error


def _clear_place() -> None:
    """Remove the socket that a killed service left. Raises StateError when somebody listens on it."""
    try:
        mode = os.stat(SOCKET, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StateError(f"{SOCKET} is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(SOCKET)
        except ConnectionRefusedError:
            os.unlink(SOCKET)
            return
    raise StateError(f"another metadata service listens on {SOCKET}")


def _public_socket(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise RktpyError(f"error listening on port {port}") from error
    return listener


def _remove(made: os.stat_result) -> None:
    """Remove the socket, unless another one stands in its place."""
    try:
        found = os.stat(SOCKET, follow_symlinks=False)
        if (found.st_dev, found.st_ino) == (made.st_dev, made.st_ino):
            os.unlink(SOCKET)
    except FileNotFoundError:
        pass
