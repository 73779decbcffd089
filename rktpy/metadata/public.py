"""What apps ask the metadata service, below ``/<token>/acMetadata/v1``.

Source: appc/spec 0.8.11 ``spec/ace.md`` (App Container Metadata Service), rkt 1.30 ``rkt/metadata_service.go``, whose statuses
and words these are; beyond the spec, rkt also gives single annotations by name. Where rkt says 404 to a method that a path does
not have, this says 405.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from rktpy.errors import FormatError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import ac_identifier_problem, ac_name_problem, lookup, parse_uuid, with_value
from rktpy.log import debug
from rktpy.metadata.bounded_server import BoundedHandler, BoundedServer, Limits, Refused
from rktpy.stage0.pod_states import quoted

if TYPE_CHECKING:
    import socket

    from rktpy.formats.aci.manifest import ImageManifest
    from rktpy.formats.aci.types import NameValue
    from rktpy.metadata.identity import Identity
    from rktpy.metadata.registrations import Registration, Registrations

LIMITS = Limits(request_s=10, body_bytes=1 << 20, connections=64, of_one_peer=16)
_TEXT = "text/plain; charset=us-ascii"
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_FIELDS = 100

_ROOT = re.compile(r"/([^/]*)/acMetadata/v1(/.*)", re.DOTALL)
_POD_ANNOTATION = re.compile(r"/pod/annotations/(.*)", re.DOTALL)
_APP = re.compile(r"/apps/([^/]+)/(?:(annotations)|annotations/(?P<name>.*)|(image/manifest)|(image/id))", re.DOTALL)


class PublicServer(BoundedServer):
    """The server for the apps of all pods."""

    def __init__(self, listener: socket.socket, registrations: Registrations, identity: Identity) -> None:
        super().__init__(listener, _Handler, LIMITS)
        self.registrations = registrations
        self.identity = identity


class _Handler(BoundedHandler):
    server: PublicServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def answer(self) -> tuple[str, bytes]:
        try:
            url = urlsplit(self.path)
        except ValueError:
            raise Refused(400, "bad URL") from None
        found = _ROOT.fullmatch(unquote(url.path))
        if found is None:
            raise Refused(404, "404 page not found\n")
        token, path = found.groups()
        debug("metadata-service", f"{self.command} {quoted(path)} from {self.client_address[0]}")
        if path == "/pod/hmac/sign":
            return self._sign(token, url.query)
        if path == "/pod/hmac/verify":
            return self._verify(url.query)
        if path == "/pod/uuid":
            return _TEXT, self._pod(token).uuid.encode()
        if path == "/pod/manifest":
            return _JSON, jsondoc.dump(self._pod(token).manifest.to_dict())
        if path == "/pod/annotations":
            return _JSON, _pairs(self._pod(token).manifest.annotations)
        annotation = _POD_ANNOTATION.fullmatch(path)
        if annotation is not None:
            return _TEXT, _value(self._pod(token).manifest.annotations, annotation[1], "Pod annotation")
        app = _APP.fullmatch(path)
        if app is None:
            raise Refused(404, "404 page not found\n")
        return self._app(token, app)

    def _app(self, token: str, path: re.Match[str]) -> tuple[str, bytes]:
        pod = self._pod(token)
        app = path[1]
        image = pod.apps.get(app)
        if image is None:
            raise Refused(404, "app not found\n")
        if ac_name_problem(app):
            raise Refused(400, f"App name {quoted(app)} is not a valid AC Name")
        if path[4] is not None:
            return _JSON, jsondoc.dump(image.to_dict())
        if path[5] is not None:
            entry = pod.manifest.app(app)
            if entry is None:
                # Registered before the manifest that names it, or not at all.
                raise Refused(404, "app not found\n")
            return _TEXT, entry.image.id.encode()
        annotations = _merged(pod, app, image)
        if path[2] is not None:
            return _JSON, _pairs(annotations)
        return _TEXT, _value(annotations, path["name"], "App annotation")

    def _pod(self, token: str) -> Registration:
        self._only("GET")
        return self._known(token)

    def _known(self, token: str) -> Registration:
        pod = self.server.registrations.find(token)
        if pod is None:
            raise Refused(401, "pod not found\n")
        return pod

    def _only(self, method: str) -> None:
        if self.command != method:
            raise Refused(405, allow=method)

    def _sign(self, token: str, query: str) -> tuple[str, bytes]:
        self._only("POST")
        uuid = self._known(token).uuid
        content = self._form(query).get("content", "")
        if not content:
            raise Refused(400, "content form value not found")
        return _TEXT, self.server.identity.sign(uuid, _bytes(content)).encode()

    def _verify(self, query: str) -> tuple[str, bytes]:
        # As in rkt, whoever can reach the service may verify, with any token: the answer says nothing about the key.
        self._only("POST")
        form = self._form(query)
        try:
            uuid = parse_uuid(form.get("uuid", ""))
        except FormatError as error:
            raise Refused(400, f"uuid field missing or malformed: {error.problem}") from None
        content = form.get("content", "")
        if not content:
            raise Refused(400, "content field missing")
        try:
            valid = self.server.identity.verify(uuid, _bytes(content), form.get("signature", ""))
        except UsageError as error:
            raise Refused(400, f"signature field missing or corrupt: {error}") from None
        if not valid:
            raise Refused(403)
        return _TEXT, b""

    def _form(self, query: str) -> dict[str, str]:
        """The first value of each field: of the body, else of the query, as Go's ``FormValue``. Raises Refused."""
        body = self.body()
        parts = [body.decode("ascii", "surrogateescape"), query] if self.headers.get_content_type() == _FORM else [query]
        form: dict[str, str] = {}
        for part in parts:
            try:
                fields = parse_qsl(part, keep_blank_values=True, errors="surrogateescape", max_num_fields=_FIELDS)
            except ValueError:
                raise Refused(400, f"more than {_FIELDS} form fields") from None
            for name, value in fields:
                form.setdefault(name, value)
        return form


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _merged(pod: Registration, app: str, image: ImageManifest) -> tuple[NameValue, ...]:
    """The image's annotations, overridden by the app's."""
    merged = image.annotations
    entry = pod.manifest.app(app)
    for annotation in entry.annotations if entry is not None else ():
        merged = with_value(merged, annotation.name, annotation.value)
    return merged


def _pairs(annotations: tuple[NameValue, ...]) -> bytes:
    return jsondoc.dump([{"name": annotation.name, "value": annotation.value} for annotation in annotations])


def _value(annotations: tuple[NameValue, ...], name: str, what: str) -> bytes:
    if ac_identifier_problem(name):
        raise Refused(400, f"{what} {quoted(name)} is not a valid AC Identifier")
    value = lookup(annotations, name)
    if value is None:
        raise Refused(404, f"{what} {quoted(name)} not found")
    return _bytes(value)
