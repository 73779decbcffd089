"""The image manifest of an ACI.

Source: appc/spec 0.8.11 ``spec/aci.md`` (Image Manifest Schema), ``schema/image.go``, ``schema/types/app.go``.

Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.aci.document import Document, Members
from rktpy.formats.aci.isolators import Isolator, read_isolators
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

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME = _LETTERS | frozenset("0123456789.-")

_LARGEST_GID = 2**32 - 2  # the last 32-bit value means "leave as it is" to the kernel
_LARGEST_SIZE = 2**63 - 1


def is_environment_name(text: str) -> bool:
    """Whether ``text`` may name an environment variable: a letter or ``_``, then letters, digits, ``_``, ``.`` and ``-``."""
    return bool(text) and text[0] in _LETTERS and _NAME.issuperset(text)


class EventHandler(Document):
    """What to run before an app starts (``pre-start``) or after it ended (``post-stop``)."""

    name: str
    exec: tuple[str, ...] = ()

    MEMBERS = (("name", "name", True), ("exec", "exec", True))

    @classmethod
    def _parse(cls, members: Members) -> EventHandler:
        name = members.required_text("name")
        if name not in ("pre-start", "post-stop"):
            raise members.fail("name", f"bad eventHandler name: {name!r}")
        return cls(name, members.texts("exec"))


class MountPoint(Document):
    """A path inside the app at which a volume of the same name is wanted."""

    name: str
    path: str
    read_only: bool = False

    MEMBERS = (("name", "name", True), ("path", "path", True), ("read_only", "readOnly", False))

    @classmethod
    def _parse(cls, members: Members) -> MountPoint:
        return cls(read_ac_name(members, "name"), members.required_text("path"), members.boolean("readOnly"))


class Port(Document):
    """A port, or ``count`` ports from ``port`` on, on which the app listens."""

    name: str
    protocol: str
    port: int
    count: int = 1
    socket_activated: bool = False

    MEMBERS = (
        ("name", "name", True),
        ("protocol", "protocol", True),
        ("port", "port", True),
        ("count", "count", True),
        ("socket_activated", "socketActivated", True),
    )

    @classmethod
    def _parse(cls, members: Members) -> Port:
        port = members.integer("port", 0, 0, 2**63)
        if not 1 <= port <= 65535:
            raise members.fail("port", "port must be in 1-65535 range")
        count = members.integer("count", 1, 0, 2**63) or 1  # the reference writes and reads 0 for "not given"
        if port + count > 65536:
            raise members.fail("count", "end of port range must be in 1-65535 range")
        return cls(
            read_ac_name(members, "name"), members.required_text("protocol"), port, count, members.boolean("socketActivated")
        )


class App(Document):
    """How to run an image: the ``app`` section of an image, or its full replacement in a pod.

    ``user`` and ``group`` are names, decimal IDs, or absolute paths whose owner is meant.
    """

    exec: tuple[str, ...] = ()
    user: str = "0"
    group: str = "0"
    supplementary_gids: tuple[int, ...] = ()
    working_directory: str = ""
    environment: tuple[NameValue, ...] = ()
    event_handlers: tuple[EventHandler, ...] = ()
    mount_points: tuple[MountPoint, ...] = ()
    ports: tuple[Port, ...] = ()
    isolators: tuple[Isolator, ...] = ()
    user_annotations: dict[str, str] = {}
    user_labels: dict[str, str] = {}

    MEMBERS = (
        ("exec", "exec", True),
        ("event_handlers", "eventHandlers", False),
        ("user", "user", True),
        ("group", "group", True),
        ("supplementary_gids", "supplementaryGIDs", False),
        ("working_directory", "workingDirectory", False),
        ("environment", "environment", False),
        ("mount_points", "mountPoints", False),
        ("ports", "ports", False),
        ("isolators", "isolators", False),
        ("user_annotations", "userAnnotations", False),
        ("user_labels", "userLabels", False),
    )

    @classmethod
    def _parse(cls, members: Members) -> App:
        directory = members.os_text("workingDirectory")
        if directory and directory[0] != "/":
            raise members.fail("workingDirectory", "must be an absolute path")
        return cls(
            members.texts("exec"),
            members.required_text("user"),
            members.required_text("group"),
            _read_gids(members),
            directory,
            _read_environment(members),
            _read_handlers(members),
            members.records("mountPoints", MountPoint),
            members.records("ports", Port),
            read_isolators(members),
            members.string_map("userAnnotations"),
            members.string_map("userLabels"),
        )


def _read_gids(members: Members) -> tuple[int, ...]:
    gids = members.array("supplementaryGIDs")
    for index, gid in enumerate(gids):
        if not isinstance(gid, int) or isinstance(gid, bool) or not 0 <= gid <= _LARGEST_GID:
            raise members.fail(f"supplementaryGIDs[{index}]", "must be a group ID")
    return tuple(gids)


def _read_environment(members: Members) -> tuple[NameValue, ...]:
    environment = members.records("environment", NameValue)
    seen: set[str] = set()
    for index, variable in enumerate(environment):
        problem = ""
        if not is_environment_name(variable.name):
            problem = f"environment variable does not have valid identifier {variable.name!r}"
        elif variable.name in seen:
            problem = f"duplicate environment variable of name {variable.name!r}"
        elif "\0" in variable.value:
            problem = f"value of environment variable {variable.name!r} contains a NUL character"
        if problem:
            raise members.fail(f"environment[{index}]", problem)
        seen.add(variable.name)
    return environment


def _read_handlers(members: Members) -> tuple[EventHandler, ...]:
    handlers = members.records("eventHandlers", EventHandler)
    seen: set[str] = set()
    for index, handler in enumerate(handlers):
        if handler.name in seen:
            raise members.fail(f"eventHandlers[{index}]", f"only one eventHandler of name {handler.name!r} allowed")
        seen.add(handler.name)
    return handlers


class Dependency(Document):
    """An image whose files lie below those of this one. ``size`` in bytes, ``None`` when not given."""

    image_name: str
    image_id: str | None = None
    labels: tuple[NameValue, ...] = ()
    size: int | None = None

    MEMBERS = (
        ("image_name", "imageName", True),
        ("image_id", "imageID", False),
        ("labels", "labels", False),
        ("size", "size", False),
    )

    @classmethod
    def _parse(cls, members: Members) -> Dependency:
        image_id = None
        if members.get("imageID") is not None:
            image_id = members.text("imageID")
            parse_image_id(image_id, members.what, members.at("imageID"))
        # The reference cannot tell 0 from absent, and no image is empty.
        size = members.integer("size", 0, 0, _LARGEST_SIZE) or None
        return cls(read_ac_identifier(members, "imageName"), image_id, read_labels(members), size)


class ImageManifest(Document):
    """The manifest of an image."""

    ac_version: str
    name: str
    labels: tuple[NameValue, ...] = ()
    app: App | None = None
    dependencies: tuple[Dependency, ...] = ()
    path_whitelist: tuple[str, ...] = ()
    annotations: tuple[NameValue, ...] = ()

    KIND = "ImageManifest"
    WHAT = "image manifest"
    MEMBERS = (
        ("ac_version", "acVersion", True),
        ("name", "name", True),
        ("labels", "labels", False),
        ("app", "app", False),
        ("annotations", "annotations", False),
        ("dependencies", "dependencies", False),
        ("path_whitelist", "pathWhitelist", False),
    )

    @classmethod
    def _parse(cls, members: Members) -> ImageManifest:
        whitelist = members.texts("pathWhitelist")
        for index, path in enumerate(whitelist):
            if not path.startswith("/"):
                raise members.fail(f"pathWhitelist[{index}]", "must be an absolute path")
        return cls(
            read_version(members),
            read_ac_identifier(members, "name"),
            read_labels(members),
            members.record("app", App),
            members.records("dependencies", Dependency),
            whitelist,
            read_annotations(members),
        )

    def label(self, name: str) -> str | None:
        """The value of a label, ``None`` when it is not there."""
        return lookup(self.labels, name)

    def annotation(self, name: str) -> str | None:
        """The value of an annotation, ``None`` when it is not there."""
        return lookup(self.annotations, name)
