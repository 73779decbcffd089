"""Image configurations, OCI and Docker (OCI image-spec 1.1 config.md; Docker image spec v1.2).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci import members
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.oci.platform import Platform
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

_KNOWN = (
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
)  # fmt: skip


class ContainerConfig(Record):
    """The defaults for running the image (the ``config`` member).

    ``entrypoint`` and ``cmd`` are None when absent, which differs from an empty list. ``env`` are the ``NAME=value`` texts as
    they stand. ``exposed_ports`` are like ``80/tcp``; ``volumes`` are paths inside the image.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    shell: tuple[str, ...] | None = None

    @classmethod
    def from_dict(cls, doc: dict[str, Any], what: str, path: str) -> ContainerConfig:
        """Read the ``config`` member at JSON path ``path``. Raises :class:`FormatError`."""
        return cls(
            user=members.text(doc, "User", what, path),
            exposed_ports=members.key_set(doc, "ExposedPorts", what, path),
            env=members.texts(doc, "Env", what, path) or (),
            entrypoint=members.texts(doc, "Entrypoint", what, path),
            cmd=members.texts(doc, "Cmd", what, path),
            volumes=members.key_set(doc, "Volumes", what, path),
            working_dir=members.text(doc, "WorkingDir", what, path),
            labels=members.text_map(doc, "Labels", what, path),
            stop_signal=members.text(doc, "StopSignal", what, path),
            shell=members.texts(doc, "Shell", what, path),
        )


class History(Record):
    """How one layer came to be. Entries with ``empty_layer`` have no layer."""

    created: str = ""
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Record):
    """An image's configuration. ``rootfs_diff_ids`` are the digests of the uncompressed layers, bottom first.

    ``architecture`` and ``os`` are required by the specification, yet images without them exist: they are empty then.
    ``original`` and ``raw`` are the document as it was read.
    """

    architecture: str
    os: str
    rootfs_diff_ids: tuple[str, ...]
    config: ContainerConfig = ContainerConfig()
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    created: str = ""
    author: str = ""
    history: tuple[History, ...] = ()
    original: dict[str, Any] = {}
    raw: bytes | None = None

    @classmethod
    def from_dict(cls, doc: dict[str, Any], what: str = "image config", *, raw: bytes | None = None) -> ImageConfig:
        """Read a configuration; ``raw`` are its bytes, which :meth:`to_bytes` gives back. Raises :class:`FormatError`."""
        members.refuse_lookalikes(doc, _KNOWN, what)
        rootfs = members.object_member(doc, "rootfs", what, "")
        if rootfs is None:
            raise FormatError(what, "rootfs", "is missing")
        kind = members.text(rootfs, "type", what, "rootfs")
        if kind != "layers":
            raise FormatError(what, "rootfs.type", f'must be "layers", not {kind!r}')
        diff_ids = members.texts(rootfs, "diff_ids", what, "rootfs") or ()
        for number, diff_id in enumerate(diff_ids):
            parse_digest(diff_id, what, members.join("rootfs.diff_ids", number))
        container = members.object_member(doc, "config", what, "")
        history: list[History] = []
        for number, item in enumerate(members.items(doc, "history", what, "") or ()):
            path = members.join("history", number)
            entry = members.checked_object(item, what, path)
            history.append(
                History(
                    members.text(entry, "created", what, path),
                    members.text(entry, "author", what, path),
                    members.text(entry, "created_by", what, path),
                    members.text(entry, "comment", what, path),
                    members.flag(entry, "empty_layer", what, path),
                )
            )
        return cls(
            architecture=members.text(doc, "architecture", what, ""),
            os=members.text(doc, "os", what, ""),
            rootfs_diff_ids=diff_ids,
            config=ContainerConfig() if container is None else ContainerConfig.from_dict(container, what, "config"),
            variant=members.text(doc, "variant", what, ""),
            os_version=members.text(doc, "os.version", what, ""),
            os_features=members.texts(doc, "os.features", what, "") or (),
            created=members.text(doc, "created", what, ""),
            author=members.text(doc, "author", what, ""),
            history=tuple(history),
            original=members.copied(doc, what),
            raw=raw,
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "image config") -> ImageConfig:
        """Read a configuration from JSON; :meth:`to_bytes` gives the same bytes back. Raises :class:`FormatError`."""
        return cls.from_dict(jsondoc.parse_object(data, what), what, raw=bytes(data))

    def replace(self, **changes: Any) -> Self:
        """A configuration is identified by its bytes and never edited here."""
        raise TypeError("an image configuration cannot be changed")

    @property
    def platform(self) -> Platform:
        """What the image says it is built for."""
        return Platform(self.os, self.architecture, self.variant, self.os_version, self.os_features)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object as it was read."""
        return members.copied(self.original, "image config")

    def to_bytes(self) -> bytes:
        """The document's bytes: the ones that were read, or compact JSON."""
        return self.raw if self.raw is not None else jsondoc.dump(self.original)
