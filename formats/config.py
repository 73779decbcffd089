"""rkt's configuration documents: ``auth``, ``dockerAuth``, ``paths`` and ``stage1``, version ``v1``.

Source: rkt 1.30 ``rkt/config/*.go`` and ``Documentation/configuration.md``. Stricter than rkt: a member that the document's
kind does not have is an error, so that a misspelt one is not taken for a default.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.aci.document import Members
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERSION = "v1"

# Sub-directory -> the kinds of documents that may be in it.
SUB_DIRS: dict[str, tuple[str, ...]] = {
    "auth.d": ("auth", "dockerAuth"),
    "paths.d": ("paths",),
    "stage1.d": ("stage1",),
}

_SCHEMES = ("docker", "file", "http", "https")


class BasicAuth(Record):
    """User and password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"BasicAuth(user={self.user!r})"


class OAuth(Record):
    """A bearer token."""

    token: str

    def __repr__(self) -> str:
        return "OAuth()"


class AWSAuth(Record):
    """Keys that sign requests to S3. Without ``region`` it is guessed from the host (see :func:`aws_region_of`)."""

    access_key_id: str
    secret_access_key: str
    region: str = ""

    def __repr__(self) -> str:
        return f"AWSAuth(access_key_id={self.access_key_id!r})"


class AuthDocument(Record):
    """Kind ``auth``: what to send to HTTP servers. Domains are ``host`` or ``host:port``."""

    domains: tuple[str, ...]
    credentials: BasicAuth | OAuth | AWSAuth


class DockerAuthDocument(Record):
    """Kind ``dockerAuth``: user and password for registries."""

    registries: tuple[str, ...]
    credentials: BasicAuth


class PathsDocument(Record):
    """Kind ``paths``: absolute paths, empty when not given."""

    data: str = ""
    stage1_images: str = ""


class Stage1Document(Record):
    """Kind ``stage1``: the default stage1 image. Name and version come together; ``location`` is an absolute path or a URL.

    ``oci_runtime`` is the runtime of stage1-oci, by name or absolute path; where it is all that is configured, that stage1 is the
    default.
    """

    name: str = ""
    version: str = ""
    location: str = ""
    oci_runtime: str = ""


ConfigDocument = AuthDocument | DockerAuthDocument | PathsDocument | Stage1Document


def parse_config(data: bytes, what: str) -> ConfigDocument:
    """Read one configuration file, called ``what`` in errors. Raises :class:`FormatError`."""
    document = jsondoc.parse_object(data, what)
    header = Members(document, {"rktkind": "rktKind", "rktversion": "rktVersion"}, what, "")
    kind = header.text("rktKind")
    version = header.text("rktVersion")
    if not kind:
        raise FormatError(what, "", "no rktKind specified")
    if not version:
        raise FormatError(what, "", "no rktVersion specified")
    reader = _READERS.get(kind)
    if reader is None:
        raise FormatError(what, "rktKind", f"no parser available for configuration of kind {kind!r}")
    if version != VERSION:
        raise FormatError(
            what, "rktVersion", f"no parser available for configuration of kind {kind!r} and version {version!r}, only v1"
        )
    return reader(document, what)


def kind_of(document: ConfigDocument) -> str:
    """The ``rktKind`` of a document."""
    return _KINDS[type(document)]


def _members(document: object, what: str, path: str, *names: str) -> Members:
    known = {name.casefold(): name for name in names}
    members = Members(document, known, what, path)
    if isinstance(document, dict):
        for name in document:  # pyright: ignore[reportUnknownVariableType]
            if str(name).casefold() not in known:  # pyright: ignore[reportUnknownArgumentType]
                raise FormatError(what, members.at(str(name)), "unknown member")  # pyright: ignore[reportUnknownArgumentType]
    return members


def _required(members: Members, name: str, problem: str) -> str:
    value = members.os_text(name)
    if not value:
        raise members.fail(name, problem)
    if "\n" in value or "\r" in value:
        raise members.fail(name, "contains a line break")  # it would become part of an HTTP header
    return value


def _hosts(members: Members, name: str) -> tuple[str, ...]:
    hosts = members.texts(name)
    if not hosts:
        raise members.fail(name, f"no {name} specified")
    for index, host in enumerate(hosts):
        if not host:
            raise members.fail(f"{name}[{index}]", "cannot be empty")
    return hosts


def _basic(document: object, what: str, path: str) -> BasicAuth:
    members = _members({} if document is None else document, what, path, "user", "password")
    return BasicAuth(_required(members, "user", "user not specified"), _required(members, "password", "password not specified"))


def _auth(document: dict[str, Any], what: str) -> AuthDocument:
    members = _members(document, what, "", "rktKind", "rktVersion", "domains", "type", "credentials")
    domains = _hosts(members, "domains")
    kind = members.text("type")
    credentials = members.get("credentials")
    path = members.at("credentials")
    if kind == "basic":
        return AuthDocument(domains, _basic(credentials, what, path))
    if kind == "oauth":
        token = _members({} if credentials is None else credentials, what, path, "token")
        return AuthDocument(domains, OAuth(_required(token, "token", "no oauth bearer token specified")))
    if kind == "aws":
        keys = _members({} if credentials is None else credentials, what, path, "accessKeyID", "secretAccessKey", "awsRegion")
        access = _required(keys, "accessKeyID", "no AWS Access Key ID specified")
        secret = _required(keys, "secretAccessKey", "no AWS Secret Access Key specified")
        return AuthDocument(domains, AWSAuth(access, secret, keys.os_text("awsRegion")))
    raise members.fail("type", f"unknown auth type: {kind!r}" if kind else "no auth type specified")


def _docker_auth(document: dict[str, Any], what: str) -> DockerAuthDocument:
    members = _members(document, what, "", "rktKind", "rktVersion", "registries", "credentials")
    return DockerAuthDocument(_hosts(members, "registries"), _basic(members.get("credentials"), what, members.at("credentials")))


def _paths(document: dict[str, Any], what: str) -> PathsDocument:
    members = _members(document, what, "", "rktKind", "rktVersion", "data", "stage1-images")
    paths = PathsDocument(members.os_text("data"), members.os_text("stage1-images"))
    for name, path, thing in (("data", paths.data, "data"), ("stage1-images", paths.stage1_images, "stage1 images")):
        if path and not path.startswith("/"):
            raise members.fail(name, f"{thing} directory must be an absolute path")
    return paths


def _stage1(document: dict[str, Any], what: str) -> Stage1Document:
    members = _members(document, what, "", "rktKind", "rktVersion", "name", "version", "location", "ociRuntime")
    texts = [members.os_text(name) for name in ("name", "version", "location", "ociRuntime")]
    stage1 = Stage1Document(*texts)
    if "/" in stage1.oci_runtime and not stage1.oci_runtime.startswith("/"):
        raise members.fail("ociRuntime", "the OCI runtime is neither a name nor an absolute path")
    if stage1.version and not stage1.name:
        raise members.fail("version", "default stage1 image version specified, but name is missing")
    if stage1.name and not stage1.version:
        raise members.fail("name", "default stage1 image name specified, but version is missing")
    location = stage1.location
    if location and not location.startswith("/"):
        scheme, colon, _rest = location.partition(":")
        if not colon or not scheme.isascii() or not scheme.replace("+", "a").replace("-", "a").replace(".", "a").isalnum():
            raise members.fail("location", "default stage1 image location is either a relative path or a URL without scheme")
        if scheme.lower() not in _SCHEMES:
            raise members.fail(
                "location",
                f"default stage1 image location URL has invalid scheme {scheme!r}, allowed schemes are {', '.join(_SCHEMES)}",
            )
    return stage1


_READERS: dict[str, Callable[[dict[str, Any], str], ConfigDocument]] = {
    "auth": _auth,
    "dockerAuth": _docker_auth,
    "paths": _paths,
    "stage1": _stage1,
}
_KINDS: dict[type[ConfigDocument], str] = {
    AuthDocument: "auth",
    DockerAuthDocument: "dockerAuth",
    PathsDocument: "paths",
    Stage1Document: "stage1",
}


def auth_to_dict(domain: str, credentials: BasicAuth | OAuth | AWSAuth) -> dict[str, Any]:
    """The ``auth`` document for one domain."""
    shown: dict[str, str]
    if isinstance(credentials, BasicAuth):
        kind, shown = "basic", {"user": credentials.user, "password": credentials.password}
    elif isinstance(credentials, OAuth):
        kind, shown = "oauth", {"token": credentials.token}
    else:
        kind = "aws"
        shown = {
            "accessKeyID": credentials.access_key_id,
            "secretAccessKey": credentials.secret_access_key,
            "awsRegion": credentials.region,
        }
    return {"rktVersion": VERSION, "rktKind": "auth", "domains": [domain], "type": kind, "credentials": shown}


def docker_auth_to_dict(registry: str, credentials: BasicAuth) -> dict[str, Any]:
    """The ``dockerAuth`` document for one registry."""
    return {
        "rktVersion": VERSION,
        "rktKind": "dockerAuth",
        "registries": [registry],
        "credentials": {"user": credentials.user, "password": credentials.password},
    }


def paths_to_dict(paths: PathsDocument) -> dict[str, Any]:
    """The ``paths`` document."""
    return {"rktVersion": VERSION, "rktKind": "paths", "data": paths.data, "stage1-images": paths.stage1_images}


def stage1_to_dict(stage1: Stage1Document) -> dict[str, Any]:
    """The ``stage1`` document. What rkt does not know is left out where it is not configured."""
    return {
        "rktVersion": VERSION,
        "rktKind": "stage1",
        "name": stage1.name,
        "version": stage1.version,
        "location": stage1.location,
        **({"ociRuntime": stage1.oci_runtime} if stage1.oci_runtime else {}),
    }


def aws_region_of(host: str) -> str:
    """The region that a host name of S3 tells, ``us-east-1`` when it tells none. ``host`` may carry a port."""
    parts = host.partition(":")[0].lower().split(".")
    if len(parts) >= 3 and parts[-2:] == ["amazonaws", "com"]:
        service = parts[-3]
        if service.startswith("s3-") and service != "s3-external-1":
            return service[3:]
        if len(parts) > 3 and parts[-4] == "s3":
            return service
    return "us-east-1"
