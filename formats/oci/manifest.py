"""Image manifests, OCI and Docker schema 2 (OCI image-spec 1.1 manifest.md; Docker image manifest v2 schema 2).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci import members
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.media_types import (
    CONFIG_TYPES,
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    LAYER_COMPRESSION,
    MANIFEST_TYPES,
    OCI_MANIFEST,
)
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

KNOWN = ("schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations")

MAX_LAYERS = 1000
"""Most layers of one image; overlayfs takes 500, Docker 127."""


class Manifest(Record):
    """One image for one platform: its configuration and its layers, bottom first.

    ``media_type`` is always one of the two manifest types, also when the document leaves it out. ``raw`` are the bytes that were
    read, if they were bytes.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST
    annotations: dict[str, str] = {}
    subject: Descriptor | None = None
    artifact_type: str = ""
    extra: dict[str, Any] = {}
    original: dict[str, Any] | None = None
    raw: bytes | None = None

    @classmethod
    def from_dict(
        cls, doc: dict[str, Any], what: str = "image manifest", *, announced: str = "", raw: bytes | None = None
    ) -> Manifest:
        """Read a manifest. Which kind of document ``doc`` is was decided by :mod:`rktpy.formats.oci.parse`.

        ``announced`` is the media type of a document that does not state its own; ``raw`` its bytes, which :meth:`to_bytes`
        gives back. Raises :class:`FormatError`.
        """
        members.refuse_lookalikes(doc, KNOWN, what)
        config_doc = members.object_member(doc, "config", what, "")
        if config_doc is None:
            raise FormatError(what, "config", "is missing")
        config = Descriptor.from_dict(config_doc, what, "config")
        media_type = members.text(doc, "mediaType", what, "") or announced
        if not media_type:
            media_type = DOCKER_MANIFEST if config.media_type == DOCKER_CONFIG else OCI_MANIFEST
        elif media_type not in MANIFEST_TYPES:
            raise FormatError(what, "mediaType", f"{media_type!r} is not an image manifest")
        items = members.items(doc, "layers", what, "")
        if items is None:
            raise FormatError(what, "layers", "is missing")
        if len(items) > MAX_LAYERS:
            raise FormatError(what, "layers", f"has more than {MAX_LAYERS} entries")
        layers: list[Descriptor] = []
        for number, item in enumerate(items):
            path = members.join("layers", number)
            layers.append(Descriptor.from_dict(members.checked_object(item, what, path), what, path))
        subject = members.object_member(doc, "subject", what, "")
        original = members.copied(doc, what)
        return cls(
            config=config,
            layers=tuple(layers),
            media_type=media_type,
            annotations=members.text_map(doc, "annotations", what, ""),
            subject=None if subject is None else Descriptor.from_dict(subject, what, "subject", usable=False),
            artifact_type=members.text(doc, "artifactType", what, ""),
            extra=members.extra(original, KNOWN),
            original=original,
            raw=raw,
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "image manifest") -> Manifest:
        """Read a manifest from JSON; :meth:`to_bytes` gives the same bytes back. Raises :class:`FormatError`."""
        return cls.from_dict(jsondoc.parse_object(data, what), what, raw=bytes(data))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; it no longer equals what was read."""
        changes.setdefault("original", None)
        changes.setdefault("raw", None)
        return super().replace(**changes)

    @property
    def size(self) -> int:
        """Bytes of the configuration and all layers, as stated."""
        return self.config.size + sum(layer.size for layer in self.layers)

    def require_image(self, what: str = "image manifest") -> None:
        """Refuse manifests that cannot be run: artifacts, and layers of a kind that cannot be unpacked.

        Raises :class:`FormatError`.
        """
        if self.config.media_type not in CONFIG_TYPES:
            kind = self.artifact_type or self.config.media_type or "of no stated type"
            raise FormatError(
                what, "config.mediaType", f"not an image that can be run: it is an artifact ({members.shown(kind)})"
            )
        if self.artifact_type:
            raise FormatError(
                what, "artifactType", f"not an image that can be run: it is an artifact ({members.shown(self.artifact_type)})"
            )
        for number, layer in enumerate(self.layers):
            if layer.media_type not in LAYER_COMPRESSION:
                path = members.join("layers", number) + ".mediaType"
                if layer.media_type.endswith("+encrypted"):
                    raise FormatError(what, path, "the layer is encrypted, which is not supported")
                raise FormatError(what, path, f"{layer.media_type!r} is not a layer type that can be unpacked")

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        if self.original is not None:
            return members.copied(self.original, "image manifest")
        doc: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            doc["artifactType"] = self.artifact_type
        doc["config"] = self.config.to_dict()
        doc["layers"] = [layer.to_dict() for layer in self.layers]
        if self.subject is not None:
            doc["subject"] = self.subject.to_dict()
        if self.annotations:
            doc["annotations"] = dict(self.annotations)
        doc.update(members.copied(self.extra, "image manifest"))
        return doc

    def to_bytes(self) -> bytes:
        """The document's bytes: the ones that were read, or compact JSON."""
        return self.raw if self.raw is not None else jsondoc.dump(self.to_dict())
