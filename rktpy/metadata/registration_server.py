"""How pods are registered, over a Unix socket: ``PUT /pods/<uuid>?token=``, ``PUT /pods/<uuid>/<app>``, ``DELETE /pods/<uuid>``.

Source: rkt 1.30 ``rkt/metadata_service.go`` and ``stage0/registration.go``. rkt trusts the mode of the socket alone; here the
peer must be root as well.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from rktpy.errors import FormatError, NotFoundError, UsageError
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.aci.types import ac_name_problem, parse_uuid
from rktpy.formats.pod import PodManifest
from rktpy.log import note
from rktpy.metadata.bounded_server import BoundedHandler, BoundedServer, Limits, Refused
from rktpy.stage0.pod_states import quoted

if TYPE_CHECKING:
    from rktpy.metadata.registrations import Registrations

LIMITS = Limits(request_s=30, body_bytes=16 << 20, connections=16, of_one_peer=16)
_PATH = re.compile(r"/pods/([^/]*)(?:/(.*))?", re.DOTALL)
_UCRED = struct.Struct("iII")  # unix(7): pid, uid, gid
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class RegistrationServer(BoundedServer):
    """The server for whoever starts pods."""

    def __init__(self, listener: socket.socket, registrations: Registrations) -> None:
        super().__init__(listener, _Handler, LIMITS)
        self.registrations = registrations

    def refusal(self, request: socket.socket) -> bytes:
        """Only root may register pods."""
        _pid, uid, _gid = _UCRED.unpack(request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid == 0:
            return b""
        note("metadata-service", f"user {uid} may not register pods")
        return _FORBIDDEN


class _Handler(BoundedHandler):
    server: RegistrationServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def answer(self) -> tuple[str, bytes]:
        try:
            url = urlsplit(self.path)
            query = parse_qs(url.query, max_num_fields=100)
        except ValueError:
            raise Refused(400, "bad URL") from None
        found = _PATH.fullmatch(unquote(url.path))
        if found is None:
            raise Refused(404, "404 page not found\n")
        try:
            uuid = parse_uuid(found[1])
        except FormatError as error:
            raise Refused(400, f"UUID is missing or malformed: {error.problem}") from None
        try:
            self._change(uuid, found[2], query.get("token", []))
        except UsageError as error:
            raise Refused(400, str(error)) from None
        except FormatError as error:
            raise Refused(400, f"JSON-decoding failed: {error}") from None
        except NotFoundError as error:
            raise Refused(404, str(error)) from None
        note("metadata-service", f"{self.command} {quoted(unquote(url.path))}")
        return "text/plain; charset=utf-8", b""

    def _change(self, uuid: str, app: str | None, tokens: list[str]) -> None:
        registrations = self.server.registrations
        if app is not None:
            if self.command != "PUT":
                raise Refused(405, allow="PUT")
            if ac_name_problem(app):
                raise Refused(400, "app missing" if not app else f"App name {quoted(app)} is not a valid AC Name")
            registrations.add_app(uuid, app, ImageManifest.from_bytes(self.body()))
        elif self.command == "PUT":
            if len(tokens) != 1:
                raise Refused(400, "token missing")
            registrations.add_pod(uuid, tokens[0], PodManifest.from_bytes(self.body()))
        elif self.command == "DELETE":
            registrations.remove(uuid)
        else:
            raise Refused(405, allow="PUT, DELETE")
