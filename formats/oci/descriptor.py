"""Descriptors: type, digest and size of a piece of content (OCI image-spec 1.1 descriptor.md).

Hot-path module.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from rktpy.errors import FormatError
from rktpy.formats.oci import members
from rktpy.formats.oci.digest import check_digest_syntax, parse_digest
from rktpy.formats.oci.platform import Platform
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

_KNOWN = ("mediaType", "digest", "size", "platform", "annotations", "urls", "artifactType", "data")


class Descriptor(Record):
    """A reference to content by digest.

    ``size`` is in bytes; ``data`` is the embedded content, if any. ``original`` is the object as it was read, which
    :meth:`to_dict` gives back; a changed copy (:meth:`replace`) is built from the fields and the unknown members in ``extra``.
    """

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = {}
    urls: tuple[str, ...] = ()
    artifact_type: str = ""
    data: bytes | None = None
    extra: dict[str, Any] = {}
    original: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, doc: dict[str, Any], what: str, path: str, *, usable: bool = True) -> Descriptor:
        """Read one descriptor; ``path`` is its JSON path in the document ``what``.

        With ``usable`` the digest must be of a supported algorithm; without it, as in an index of which one entry will be
        used, any well-formed digest passes. Raises :class:`FormatError`.
        """
        members.refuse_lookalikes(doc, _KNOWN, f"{what}: {path}" if path else what)
        digest = members.text(doc, "digest", what, path, required=True)
        (parse_digest if usable else check_digest_syntax)(digest, what, members.join(path, "digest"))
        size = members.size(doc, "size", what, path)
        raw_platform = members.object_member(doc, "platform", what, path)
        platform = None
        if raw_platform is not None:
            inner = members.join(path, "platform")
            platform = Platform(
                members.text(raw_platform, "os", what, inner),
                members.text(raw_platform, "architecture", what, inner),
                members.text(raw_platform, "variant", what, inner),
                members.text(raw_platform, "os.version", what, inner),
                members.texts(raw_platform, "os.features", what, inner) or (),
            )
        embedded = members.text(doc, "data", what, path)
        data: bytes | None = None
        if embedded:
            try:
                data = a2b_base64(embedded, strict_mode=True)
            except (Base64Error, ValueError):
                raise FormatError(what, members.join(path, "data"), "must be base64") from None
            if len(data) != size:
                raise FormatError(what, members.join(path, "data"), f"is {len(data)} bytes long but size says {size}")
        original = members.copied(doc, what)
        return cls(
            media_type=members.text(doc, "mediaType", what, path),
            digest=digest,
            size=size,
            platform=platform,
            annotations=members.text_map(doc, "annotations", what, path),
            urls=members.texts(doc, "urls", what, path) or (),
            artifact_type=members.text(doc, "artifactType", what, path),
            data=data,
            extra=members.extra(original, _KNOWN),
            original=original,
        )

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; it no longer equals what was read."""
        changes.setdefault("original", None)
        return super().replace(**changes)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        if self.original is not None:
            return members.copied(self.original, "descriptor")
        doc: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform is not None:
            platform: dict[str, Any] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.os_version:
                platform["os.version"] = self.platform.os_version
            if self.platform.os_features:
                platform["os.features"] = list(self.platform.os_features)
            if self.platform.variant:
                platform["variant"] = self.platform.variant
            doc["platform"] = platform
        if self.annotations:
            doc["annotations"] = dict(self.annotations)
        if self.urls:
            doc["urls"] = list(self.urls)
        if self.artifact_type:
            doc["artifactType"] = self.artifact_type
        if self.data is not None:
            doc["data"] = b2a_base64(self.data, newline=False).decode("ascii")
        doc.update(members.copied(self.extra, "descriptor"))
        return doc
