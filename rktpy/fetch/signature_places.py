"""The two kinds of places where signatures lie beside images: a repository of a registry, and an OCI layout."""

from __future__ import annotations

from functools import partial

from rktpy.errors import FormatError, HTTPError, NotFoundError, RktpyError
from rktpy.fetch import limits
from rktpy.fetch.blob_copy import check_document
from rktpy.fetch.referrers import list_referrers
from rktpy.formats.oci.artifacts import fallback_tag
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.layout import REF_NAME, check_layout_file
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import MANIFEST_TYPES
from rktpy.formats.oci.parse import parse_manifest_document
from rktpy.formats.trust.evidence import MAX_SIZE
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from rktpy.fetch.blob_copy import BlobReader
    from rktpy.fetch.registry_session import Session
    from rktpy.formats.oci.descriptor import Descriptor

    class Layout(Protocol):
        """What a layout directory and an archive of one have in common."""

        name: str

        def read_document(self, name: str, limit: int) -> bytes:
            """A small file at the top."""
            ...

        def open_blob(self, digest: str) -> BlobReader:
            """A blob."""
            ...


_LAYOUT_FILE = 64 << 10
# How cosign's own save marks the entries of a layout.
_KIND = "kind"
_COSIGN_KINDS = ("dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts")
# Entries of index.json that may be cosign's.
_TAGGED = 16


class RegistryPlace:
    """A repository at one endpoint of a registry."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.name = session.name

    def tagged(self, tag: str) -> Iterable[tuple[str, Callable[[], Manifest]]]:
        """See :class:`rktpy.fetch.signatures.Place`."""
        try:
            data, media_type = self._session.manifest(tag)
        except HTTPError as error:
            if error.code == 404:
                return []
            raise
        source = f"{self.name}:{tag}"
        return [(source, partial(_as_manifest, data, media_type, source))]

    def referrers(self, digest: str, artifact_type: str) -> Iterable[Descriptor]:
        """See :class:`rktpy.fetch.signatures.Place`."""
        return list_referrers(self._session, digest, artifact_type)

    def manifest(self, entry: Descriptor) -> Manifest:
        """See :class:`rktpy.fetch.signatures.Place`."""
        parse_digest(entry.digest, self.name, "manifests.digest")
        what = f"{self.name}@{entry.digest}"
        if entry.size > limits.MANIFEST_BYTES:
            raise FormatError(what, "size", f"has {entry.size} bytes, more than the {limits.MANIFEST_BYTES} allowed")
        data, media_type = self._session.manifest(entry.digest)
        if len(data) != entry.size:
            raise FormatError(what, "size", f"has {len(data)} bytes, the list of referrers says {entry.size}")
        return _as_manifest(data, media_type or entry.media_type, what)

    def blob(self, descriptor: Descriptor) -> bytes:
        """See :class:`rktpy.fetch.signatures.Place`."""
        if descriptor.data is not None:
            check_document(descriptor.data, descriptor.digest, descriptor.size, self.name)
            return descriptor.data
        return self._session.small_blob(descriptor, MAX_SIZE)


class LayoutPlace:
    """An opened OCI layout, directory or archive."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.name = layout.name
        check_layout_file(layout.read_document("oci-layout", _LAYOUT_FILE), f"{layout.name}: oci-layout")
        what = f"{layout.name}: index.json"
        top = parse_manifest_document(layout.read_document("index.json", limits.MANIFEST_BYTES), None, what)
        if not isinstance(top, ImageIndex):
            raise FormatError(what, "manifests", "is missing")
        self._entries = top.manifests

    def tagged(self, tag: str) -> Iterable[tuple[str, Callable[[], Manifest]]]:
        """See :class:`rktpy.fetch.signatures.Place`. What cosign save wrote has no tag, and belongs to the one image."""
        kind = _COSIGN_KINDS[tag.endswith(".att")]
        entries = [entry for entry in self._entries if _tag(entry) == tag or entry.annotations.get(_KIND) == kind]
        return [(f"{self.name}@{entry.digest}", partial(self.manifest, entry)) for entry in entries[:_TAGGED]]

    def referrers(self, digest: str, artifact_type: str) -> Iterable[Descriptor]:
        """See :class:`rktpy.fetch.signatures.Place`.

        They are what the fallback tag lists, and the entries that state their type, or neither a name nor a platform.
        """
        found: list[Descriptor] = []
        for entry in self._entries:
            if _tag(entry) == fallback_tag(digest):
                try:
                    found += self._listed(entry)
                except RktpyError as error:
                    debug("image", f"{self.name}@{entry.digest}: is no index of referrers: {error}")
            elif _may_refer(entry) and entry.digest != digest:
                found.append(entry)
        return found[: limits.REFERRERS]

    def _listed(self, entry: Descriptor) -> tuple[Descriptor, ...]:
        data = self._read(entry, limits.MANIFEST_BYTES)
        index = parse_manifest_document(data, entry.media_type, f"{self.name}@{entry.digest}")
        if not isinstance(index, ImageIndex):
            raise NotFoundError("it is a manifest")
        return index.manifests

    def manifest(self, entry: Descriptor) -> Manifest:
        """See :class:`rktpy.fetch.signatures.Place`."""
        data = self._read(entry, limits.MANIFEST_BYTES)
        return _as_manifest(data, entry.media_type, f"{self.name}@{entry.digest}")

    def blob(self, descriptor: Descriptor) -> bytes:
        """See :class:`rktpy.fetch.signatures.Place`."""
        if descriptor.data is not None:
            check_document(descriptor.data, descriptor.digest, descriptor.size, self.name)
            return descriptor.data
        return self._read(descriptor, MAX_SIZE)

    def _read(self, descriptor: Descriptor, limit: int) -> bytes:
        parse_digest(descriptor.digest, self.name, "digest")
        if descriptor.size > limit:
            raise FormatError(
                f"{self.name}@{descriptor.digest}", "size", f"has {descriptor.size} bytes, more than {limit} allowed"
            )
        blob = self._layout.open_blob(descriptor.digest)
        try:
            data = b""
            while len(data) <= descriptor.size and (chunk := blob.read(descriptor.size + 1 - len(data))):
                data += chunk
        finally:
            blob.close()
        check_document(data, descriptor.digest, descriptor.size, self.name)
        return data


def _may_refer(entry: Descriptor) -> bool:
    """Whether an entry may be a manifest with a subject."""
    if entry.media_type and entry.media_type not in MANIFEST_TYPES:
        return False
    return bool(entry.artifact_type) or (not _tag(entry) and entry.platform is None)


def _tag(entry: Descriptor) -> str:
    """The tag of an entry: its reference name, or the tag of one that is a whole image name."""
    return entry.annotations.get(REF_NAME, "").rpartition("/")[2].rpartition(":")[2]


def _as_manifest(data: bytes, media_type: str | None, what: str) -> Manifest:
    document = parse_manifest_document(data, media_type, what)
    if not isinstance(document, Manifest):
        raise FormatError(what, "", "is an index where a manifest is due")
    return document
