"""Tell manifests and indexes apart, without being fooled.

CVE-2021-41190: a document that two readers take for different kinds lets a signature for one cover the other. So a document that
carries members of both kinds, or a ``mediaType`` that disagrees with its content or with what the transport said, is refused.
OCI image-spec 1.1 manifest.md and image-index.md; Docker image manifest v2 schema 1 and 2. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci import members
from rktpy.formats.oci.index import KNOWN as INDEX_MEMBERS
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.manifest import KNOWN as MANIFEST_MEMBERS
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import (
    DOCKER_SCHEMA1,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_ARTIFACT_MANIFEST,
    without_parameters,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DOCUMENT = 4 << 20
"""Largest manifest, index or configuration in bytes (distribution-spec 1.1 asks registries for 4 MiB)."""

_SCHEMA1 = "docker schema 1 images are not supported; pull and push the image with a current client to convert it"
_UNTYPED = ("", "application/json", "application/octet-stream", "text/plain")
_DECISIVE = tuple(dict.fromkeys((*INDEX_MEMBERS, *MANIFEST_MEMBERS, "fsLayers", "history")))


def parse_manifest_document(data: bytes, media_type: str | None, what: str) -> ImageIndex | Manifest:
    """Read a manifest, image index or Docker manifest list.

    ``media_type`` is what the HTTP ``Content-Type`` or the descriptor said (parameters are dropped; None, empty and generic
    types say nothing); ``what`` names the document in errors. Raises :class:`FormatError`.
    """
    doc = jsondoc.parse_object(data, what)
    kind = _kind(doc, media_type, what)
    if kind in INDEX_TYPES:
        return ImageIndex.from_dict(doc, what, announced=kind, raw=bytes(data))
    return Manifest.from_dict(doc, what, announced=kind, raw=bytes(data))


def _kind(doc: dict[str, Any], media_type: str | None, what: str) -> str:
    """The document's media type; empty for a manifest that nobody labelled."""
    members.refuse_lookalikes(doc, _DECISIVE, what)
    said = without_parameters(media_type or "")
    if said in _UNTYPED:
        said = ""
    stated = members.text(doc, "mediaType", what, "")
    version = doc.get("schemaVersion")
    if said in DOCKER_SCHEMA1 or stated in DOCKER_SCHEMA1 or (type(version) is int and version == 1) or "fsLayers" in doc:
        raise FormatError(what, "", _SCHEMA1)
    if OCI_ARTIFACT_MANIFEST in (said, stated):
        raise FormatError(what, "mediaType", "not an image that can be run: it is an OCI artifact manifest")
    if type(version) is not int or version != 2:
        raise FormatError(what, "schemaVersion", "is missing" if version is None else "must be 2")
    if said and stated and said != stated:
        raise FormatError(what, "mediaType", f"says {stated!r} but it was announced as {said!r}")
    kind = stated or said
    has_index = "manifests" in doc
    has_manifest = "layers" in doc or "config" in doc
    if has_index and has_manifest:
        raise FormatError(what, "", "is ambiguous: it has the members of an index and of a manifest")
    if "history" in doc:
        raise FormatError(what, "history", "belongs to docker schema 1 and has no place here")
    if kind and kind not in INDEX_TYPES and kind not in MANIFEST_TYPES:
        raise FormatError(what, "mediaType", f"{kind!r} is neither an image manifest nor an image index")
    if kind in INDEX_TYPES and not has_index:
        raise FormatError(what, "manifests", f"is missing, although the document is labelled {kind!r}")
    if kind in MANIFEST_TYPES and has_index:
        raise FormatError(what, "manifests", f"has no place in a document labelled {kind!r}")
    if not kind and has_index:
        return INDEX_TYPES[0]
    return kind
