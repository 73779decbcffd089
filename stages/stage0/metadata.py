"""Registering pods with a metadata service (``--mds-register``).

Source: rkt 1.30 ``stage0/registration.go``: HTTP over the service's Unix socket, ``PUT /pods/<uuid>?token=<token>`` with the pod
manifest, ``PUT /pods/<uuid>/<app>`` with each app's image manifest, ``DELETE /pods/<uuid>``.

The token is also kept in the pod's directory, where a service that is started anew finds it (:mod:`rktpy.metadata`).
"""

from __future__ import annotations

import os
import socket
from http.client import HTTPConnection, HTTPException

from rktpy.errors import RktpyError
from rktpy.formats.stage1 import APPS_INFO_DIR, POD_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage0.pods import Pod

SOCKET = "/run/rktpy/metadata-svc.sock"
REGISTERED_FILE = "mds-registered"
_TIMEOUT_S = 10
_UNREACHABLE = (
    "could not reach the metadata service. Make sure metadata service is currently running or use "
    '"rktpy run --mds-register=false" to skip pod registration'
)


class _Connection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def check_available(path: str = SOCKET) -> None:
    """Raise RktpyError when no metadata service listens."""
    connection = _Connection(path)
    try:
        connection.connect()
    except OSError as error:
        raise RktpyError(_UNREACHABLE) from error
    finally:
        connection.close()


def register(pod: Pod, path: str = SOCKET) -> str:
    """Register a pod and its apps; returns the token that the apps' metadata URL has to contain. Raises RktpyError, OSError."""
    token = os.urandom(16).hex()
    # Written down before it is done, so that gc can undo it after a crash. Nobody but root may speak as the pod.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(REGISTERED_FILE, flags, 0o600, dir_fd=pod.fileno())
    try:
        os.fchmod(fd, 0o600)
        os.write(fd, token.encode())
    finally:
        os.close(fd)
    try:
        _request(path, "PUT", f"/pods/{pod.uuid}?token={token}", pod.read(POD_FILE))
    except RktpyError as error:
        raise RktpyError("failed to register pod with metadata svc") from error
    try:
        for name in pod.app_names():
            _request(path, "PUT", f"/pods/{pod.uuid}/{name}", pod.read(f"{APPS_INFO_DIR}/{name}/manifest"))
    except RktpyError as error:
        unregister(pod, path)
        raise RktpyError("failed to register app with metadata svc") from error
    return token


def registered_token(pod: Pod) -> str:
    """The token of a pod that registered; empty when it did not. Raises OSError, RktpyError."""
    return (pod.read_optional(REGISTERED_FILE) or b"").decode("ascii", "replace").strip()


def unregister(pod: Pod, path: str = SOCKET) -> None:
    """Take back what :func:`register` did, if it did. Raises RktpyError."""
    if pod.exists(REGISTERED_FILE):
        # A service that was restarted after the pod's end does not know it, which is just as well.
        _request(path, "DELETE", f"/pods/{pod.uuid}", None, accepted=(200, 404))


def _request(path: str, method: str, target: str, body: bytes | None, accepted: tuple[int, ...] = (200,)) -> None:
    connection = _Connection(path)
    try:
        connection.request(method, target, body)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise RktpyError(_UNREACHABLE) from error
    finally:
        connection.close()
    if status not in accepted:
        raise RktpyError(f"{method} {target.partition('?')[0]} returned {status}")
