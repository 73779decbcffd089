"""Image indexes and Docker manifest lists (OCI image-spec 1.1 image-index.md; Docker image manifest v2 schema 2).

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, NotFoundError
from rktpy.formats import jsondoc
from rktpy.formats.oci import members
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.oci.media_types import INDEX_TYPES
from rktpy.formats.oci.platform import Platform, wanted_variants
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

KNOWN = ("schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations")


class ImageIndex(Record):
    """A list of manifests, usually one per platform. ``raw`` are the bytes that were read, if they were bytes."""

    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: dict[str, str] = {}
    subject: Descriptor | None = None
    artifact_type: str = ""
    extra: dict[str, Any] = {}
    original: dict[str, Any] | None = None
    raw: bytes | None = None

    @classmethod
    def from_dict(
        cls, doc: dict[str, Any], what: str = "image index", *, announced: str = "", raw: bytes | None = None
    ) -> ImageIndex:
        """Read an index. Which kind of document ``doc`` is was decided by :mod:`rktpy.formats.oci.parse`.

        ``announced`` is the media type of a document that does not state its own; ``raw`` its bytes, which :meth:`to_bytes`
        gives back. Raises :class:`FormatError`.
        """
        members.refuse_lookalikes(doc, KNOWN, what)
        media_type = members.text(doc, "mediaType", what, "") or announced
        if media_type and media_type not in INDEX_TYPES:
            raise FormatError(what, "mediaType", f"{media_type!r} is not an image index")
        items = members.items(doc, "manifests", what, "")
        if items is None:
            raise FormatError(what, "manifests", "is missing")
        manifests: list[Descriptor] = []
        for number, item in enumerate(items):
            path = members.join("manifests", number)
            manifests.append(Descriptor.from_dict(members.checked_object(item, what, path), what, path, usable=False))
        subject = members.object_member(doc, "subject", what, "")
        original = members.copied(doc, what)
        return cls(
            manifests=tuple(manifests),
            media_type=media_type,
            annotations=members.text_map(doc, "annotations", what, ""),
            subject=None if subject is None else Descriptor.from_dict(subject, what, "subject", usable=False),
            artifact_type=members.text(doc, "artifactType", what, ""),
            extra=members.extra(original, KNOWN),
            original=original,
            raw=raw,
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "image index") -> ImageIndex:
        """Read an index from JSON; :meth:`to_bytes` gives the same bytes back. Raises :class:`FormatError`."""
        return cls.from_dict(jsondoc.parse_object(data, what), what, raw=bytes(data))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; it no longer equals what was read."""
        changes.setdefault("original", None)
        changes.setdefault("raw", None)
        return super().replace(**changes)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        if self.original is not None:
            return members.copied(self.original, "image index")
        doc: dict[str, Any] = {"schemaVersion": 2}
        if self.media_type:
            doc["mediaType"] = self.media_type
        if self.artifact_type:
            doc["artifactType"] = self.artifact_type
        doc["manifests"] = [manifest.to_dict() for manifest in self.manifests]
        if self.subject is not None:
            doc["subject"] = self.subject.to_dict()
        if self.annotations:
            doc["annotations"] = dict(self.annotations)
        doc.update(members.copied(self.extra, "image index"))
        return doc

    def to_bytes(self) -> bytes:
        """The document's bytes: the ones that were read, or compact JSON."""
        return self.raw if self.raw is not None else jsondoc.dump(self.to_dict())


def is_placeholder(entry: Descriptor) -> bool:
    """Whether an index entry is no image for anybody (build attestations state the platform unknown/unknown)."""
    platform = entry.platform
    return platform is not None and platform.os == "unknown" and platform.architecture == "unknown"


def select_platform(index: ImageIndex, platform: Platform, what: str = "image index") -> Descriptor:
    """The entry of ``index`` for ``platform``: best variant first, then the order of the index.

    When no entry fits, the first one that states no platform is taken, as containers/image does. Raises
    :class:`NotFoundError` listing what there is, and :class:`FormatError` when the entry's digest cannot be checked.
    """
    chosen = _choose(index, platform)
    if chosen is None:
        there = ", ".join(
            sorted({entry.platform.text for entry in index.manifests if entry.platform and not is_placeholder(entry)})
        )
        raise NotFoundError(f"{what}: no image for {platform.text}; there is {there or 'none for any platform'}")
    parse_digest(chosen.digest, what, members.join("manifests", index.manifests.index(chosen)) + ".digest")
    return chosen


def _choose(index: ImageIndex, platform: Platform) -> Descriptor | None:
    for variant in wanted_variants(platform):
        for entry in index.manifests:
            have = entry.platform
            if (
                have is not None
                and have.os == platform.os
                and have.architecture == platform.architecture
                and have.variant == variant
                and (not platform.os_version or have.os_version == platform.os_version)
            ):
                return entry
    for entry in index.manifests:
        if entry.platform is None or not (entry.platform.os or entry.platform.architecture):
            return entry
    return None
