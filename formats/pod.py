"""The pod manifest: apps, volumes, ports and what they share.

Source: appc/spec 0.8.11 ``spec/pods.md``, ``schema/pod.go``, ``schema/types/volume.go``, ``schema/types/port.go``. rkt writes
its own version as ``acVersion``; any semantic version is accepted.

Hot-path module.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from rktpy.formats.aci.document import Document, Members
from rktpy.formats.aci.isolators import Isolator, read_isolators
from rktpy.formats.aci.manifest import App, Port
from rktpy.formats.aci.types import (
    NameValue,
    lookup,
    parse_image_id,
    read_ac_identifier,
    read_ac_name,
    read_annotations,
    read_labels,
    read_version,
)

_LARGEST_ID = 2**32 - 2
_OCTAL = frozenset("01234567")


def is_ip_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address."""
    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


class Volume(Document):
    """Storage that apps mount: a host path (``kind`` ``host``) or a fresh directory (``empty``) that lives as long as the pod.

    ``recursive`` is ``None`` when not given: then the stage1 decides. ``mode`` (octal text), ``uid`` and ``gid`` are set for
    empty volumes only.
    """

    name: str
    kind: str
    source: str = ""
    read_only: bool = False
    recursive: bool | None = None
    mode: str | None = None
    uid: int | None = None
    gid: int | None = None

    MEMBERS = (
        ("name", "name", True),
        ("kind", "kind", True),
        ("source", "source", False),
        ("read_only", "readOnly", False),
        ("recursive", "recursive", False),
        ("mode", "mode", False),
        ("uid", "uid", False),
        ("gid", "gid", False),
    )

    @property
    def mode_bits(self) -> int:
        """The permission bits of an empty volume."""
        return int(self.mode or "0755", 8)

    @classmethod
    def _parse(cls, members: Members) -> Volume:
        name = read_ac_name(members, "name")
        kind = members.text("kind")
        source = members.os_text("source")
        read_only = members.boolean("readOnly")
        recursive = members.optional_boolean("recursive")
        if kind == "host":
            if not source:
                raise members.fail("source", "source for host volume cannot be empty")
            if source[0] != "/":
                raise members.fail("source", "source for host volume must be absolute path")
            for member in ("mode", "uid", "gid"):
                if members.get(member) is not None:
                    raise members.fail(member, f"{member} for host volume cannot be set")
            return cls(name, kind, source, read_only, recursive)
        if kind == "empty":
            if source:
                raise members.fail("source", "source for empty volume must be empty")
            mode = members.text("mode", "0755")
            if not mode or not _OCTAL.issuperset(mode) or len(mode) > 12 or int(mode, 8) > 0o7777:
                raise members.fail("mode", f"{mode!r} is not an octal file mode")
            uid = members.integer("uid", 0, 0, _LARGEST_ID)
            gid = members.integer("gid", 0, 0, _LARGEST_ID)
            return cls(name, kind, source, read_only, recursive, mode, uid, gid)
        raise members.fail("kind", "unrecognized volume kind: should be one of 'empty', 'host'")


class Mount(Document):
    """Where a volume goes inside an app. ``app_volume`` carries the volume itself, for this app alone."""

    volume: str
    path: str
    app_volume: Volume | None = None

    MEMBERS = (("volume", "volume", True), ("path", "path", True), ("app_volume", "appVolume", False))

    @classmethod
    def _parse(cls, members: Members) -> Mount:
        return cls(read_ac_name(members, "volume"), members.required_text("path"), members.record("appVolume", Volume))


class RuntimeImage(Document):
    """The image of an app, by ID; name and labels say what it was when the pod was made."""

    id: str
    name: str | None = None
    labels: tuple[NameValue, ...] = ()

    MEMBERS = (("name", "name", False), ("id", "id", True), ("labels", "labels", False))

    @classmethod
    def _parse(cls, members: Members) -> RuntimeImage:
        image_id = members.required_text("id")
        parse_image_id(image_id, members.what, members.at("id"))
        name = None if members.get("name") is None else read_ac_identifier(members, "name")
        return cls(image_id, name, read_labels(members))


class RuntimeApp(Document):
    """An app of a pod. ``app`` replaces the image's whole app section when it is there."""

    name: str
    image: RuntimeImage
    app: App | None = None
    read_only_root_fs: bool = False
    mounts: tuple[Mount, ...] = ()
    annotations: tuple[NameValue, ...] = ()

    MEMBERS = (
        ("name", "name", True),
        ("image", "image", True),
        ("app", "app", False),
        ("read_only_root_fs", "readOnlyRootFS", False),
        ("mounts", "mounts", False),
        ("annotations", "annotations", False),
    )

    @classmethod
    def _parse(cls, members: Members) -> RuntimeApp:
        name = read_ac_name(members, "name")
        image = members.record("image", RuntimeImage)
        if image is None:
            raise members.fail("image", f"no image ID for app {name!r}")
        return cls(
            name,
            image,
            members.record("app", App),
            members.boolean("readOnlyRootFS"),
            members.records("mounts", Mount),
            read_annotations(members),
        )

    def annotation(self, name: str) -> str | None:
        """The value of an annotation, ``None`` when it is not there."""
        return lookup(self.annotations, name)


class ExposedPort(Document):
    """A port of the host that leads into the pod: to ``pod_port``, or to the app port of the same name."""

    name: str
    host_port: int
    host_ip: str | None = None
    pod_port: Port | None = None

    MEMBERS = (
        ("name", "name", True),
        ("host_port", "hostPort", True),
        ("host_ip", "hostIP", False),
        ("pod_port", "podPort", False),
    )

    @classmethod
    def _parse(cls, members: Members) -> ExposedPort:
        host_port = members.integer("hostPort", 0, 0, 2**63)
        if not 1 <= host_port <= 65535:
            raise members.fail("hostPort", "port must be in 1-65535 range")
        host_ip = members.text("hostIP") or None
        if host_ip is not None and not is_ip_address(host_ip):
            raise members.fail("hostIP", f"{host_ip!r} is not a valid IP")
        return cls(read_ac_name(members, "name"), host_port, host_ip, members.record("podPort", Port))


class PodManifest(Document):
    """The manifest of a pod."""

    ac_version: str
    apps: tuple[RuntimeApp, ...] = ()
    volumes: tuple[Volume, ...] = ()
    isolators: tuple[Isolator, ...] = ()
    annotations: tuple[NameValue, ...] = ()
    ports: tuple[ExposedPort, ...] = ()
    user_annotations: dict[str, str] = {}
    user_labels: dict[str, str] = {}

    KIND = "PodManifest"
    WHAT = "pod manifest"
    MEMBERS = (
        ("ac_version", "acVersion", True),
        ("apps", "apps", True),
        ("volumes", "volumes", True),
        ("isolators", "isolators", True),
        ("annotations", "annotations", True),
        ("ports", "ports", True),
        ("user_annotations", "userAnnotations", False),
        ("user_labels", "userLabels", False),
    )

    @classmethod
    def _parse(cls, members: Members) -> PodManifest:
        apps = members.records("apps", RuntimeApp)
        _refuse_duplicates(members, "apps", [app.name for app in apps], "duplicate apps of name")
        volumes = members.records("volumes", Volume)
        _refuse_duplicates(members, "volumes", [volume.name for volume in volumes], "duplicate volume name")
        return cls(
            read_version(members),
            apps,
            volumes,
            read_isolators(members),
            read_annotations(members),
            members.records("ports", ExposedPort),
            members.string_map("userAnnotations"),
            members.string_map("userLabels"),
        )

    def app(self, name: str) -> RuntimeApp | None:
        """The app called ``name``."""
        for app in self.apps:
            if app.name == name:
                return app
        return None

    def volume(self, name: str) -> Volume | None:
        """The pod's volume called ``name``."""
        for volume in self.volumes:
            if volume.name == name:
                return volume
        return None

    def annotation(self, name: str) -> str | None:
        """The value of an annotation, ``None`` when it is not there."""
        return lookup(self.annotations, name)


def _refuse_duplicates(members: Members, member: str, names: list[str], problem: str) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise members.fail(f"{member}[{index}].name", f"{problem} {name!r}")
        seen.add(name)
