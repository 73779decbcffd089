"""Images from local files: OCI layout directories, their tars, and the archives of ``docker save``.

Each function copies the blobs of one image into a sink and gives back a :class:`PulledImage`. The input is hostile: documents are
limited in size, every blob is checked against its size and digest, and names in archives are only compared.
"""

from __future__ import annotations

from typing import Protocol

from rktpy.errors import FormatError, NotFoundError
from rktpy.fetch.archive_file import ArchiveFile
from rktpy.fetch.blob_copy import BlobReader, check_document, copy_blob
from rktpy.fetch.docker_archive import pull_docker_archive
from rktpy.fetch.layout_directory import LayoutDirectory
from rktpy.fetch.pulled import PulledImage, match_layers
from rktpy.fetch.reference import LayoutReference, OCIArchiveReference
from rktpy.fetch.sink import LayerObserver, NoObserver, Sink
from rktpy.formats.oci.config import ImageConfig
from rktpy.formats.oci.descriptor import Descriptor
from rktpy.formats.oci.index import ImageIndex, select_platform
from rktpy.formats.oci.layout import check_layout_file, choose_entry
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import is_foreign_layer
from rktpy.formats.oci.parse import MAX_DOCUMENT, parse_manifest_document
from rktpy.formats.oci.platform import Platform

__all__ = ["pull_docker_archive", "pull_layout", "pull_oci_archive"]

_MAX_NESTED = 4
_MAX_LAYOUT_FILE = 64 << 10


class _Layout(Protocol):
    """What a layout directory and an archive of one have in common."""

    name: str

    def read_document(self, name: str, limit: int) -> bytes: ...

    def open_blob(self, digest: str) -> BlobReader: ...


def pull_layout(path: str, ref: str, platform: Platform, sink: Sink, observer: LayerObserver | None = None) -> PulledImage:
    """Copy an image out of the OCI layout in the directory ``path``.

    ``ref`` is as in :func:`rktpy.formats.oci.layout.choose_entry`; ``observer`` is told of the layers. Raises
    :class:`NotFoundError`, :class:`AmbiguousError`, :class:`FormatError`, :class:`DigestMismatch`, :class:`FetchError`.
    """
    with LayoutDirectory(path) as layout:
        return _pull(layout, ref, platform, sink, observer or NoObserver(), LayoutReference(path, ref).text)


def pull_oci_archive(path: str, ref: str, platform: Platform, sink: Sink, observer: LayerObserver | None = None) -> PulledImage:
    """Copy an image out of a tar of an OCI layout. Arguments and errors as :func:`pull_layout`, and :class:`ArchiveError`."""
    with ArchiveFile(path, "oci-archive", sink) as archive:
        return _pull(archive, ref, platform, sink, observer or NoObserver(), OCIArchiveReference(path, ref).text)


def _pull(layout: _Layout, ref: str, platform: Platform, sink: Sink, observer: LayerObserver, text: str) -> PulledImage:
    check_layout_file(layout.read_document("oci-layout", _MAX_LAYOUT_FILE), f"{layout.name}: oci-layout")
    what = f"{layout.name}: index.json"
    top = parse_manifest_document(layout.read_document("index.json", MAX_DOCUMENT), None, what)
    if not isinstance(top, ImageIndex):
        raise FormatError(what, "manifests", "is missing")
    entry = choose_entry(top, ref, platform, layout.name)
    entry, manifest, index_digest = _resolve(layout, entry, platform, sink)
    manifest.require_image(f"{layout.name}: {entry.digest}")
    config_bytes = _document(layout, manifest.config)
    config = ImageConfig.from_bytes(config_bytes, f"{layout.name}: {manifest.config.digest}")
    layers = match_layers(manifest, config, f"{layout.name}: {entry.digest}")
    observer.layers_known(config.rootfs_diff_ids, manifest.layers)
    for layer in {layer.digest: layer for layer in reversed(manifest.layers)}.values():
        _copy_layer(layout, layer, sink, observer)
    sink.put_blob(config_bytes, manifest.config.digest)
    sink.put_blob(manifest.to_bytes(), entry.digest)
    return PulledImage(
        manifest_digest=entry.digest,
        manifest_bytes=manifest.to_bytes(),
        manifest=manifest,
        config=config,
        config_digest=manifest.config.digest,
        index_digest=index_digest,
        layers=layers,
        reference_text=text,
    )


def _resolve(layout: _Layout, entry: Descriptor, platform: Platform, sink: Sink) -> tuple[Descriptor, Manifest, str | None]:
    """Follow indexes down to a manifest; the outermost index is kept and its digest returned."""
    index_digest: str | None = None
    for _ in range(_MAX_NESTED):
        what = f"{layout.name}: {entry.digest}"
        data = _document(layout, entry)
        document = parse_manifest_document(data, entry.media_type, what)
        if isinstance(document, Manifest):
            return entry, document, index_digest
        sink.put_blob(data, entry.digest)
        index_digest = index_digest or entry.digest
        entry = select_platform(document, platform, what)
    raise FormatError(layout.name, "", f"indexes are nested more than {_MAX_NESTED} deep")


def _document(layout: _Layout, descriptor: Descriptor) -> bytes:
    """A manifest, index or configuration, checked."""
    what = f"{layout.name}: {descriptor.digest}"
    if descriptor.size > MAX_DOCUMENT:
        raise FormatError(what, "", f"is larger than {MAX_DOCUMENT} bytes")
    blob = layout.open_blob(descriptor.digest)
    try:
        data = b""
        while len(data) <= descriptor.size and (chunk := blob.read(descriptor.size + 1 - len(data))):
            data += chunk
    finally:
        blob.close()
    check_document(data, descriptor.digest, descriptor.size, layout.name)
    return data


def _copy_layer(layout: _Layout, layer: Descriptor, sink: Sink, observer: LayerObserver) -> None:
    try:
        copy_blob(lambda: layout.open_blob(layer.digest), layer.digest, layer.size, sink, layout.name, observer)
    except NotFoundError as error:
        if is_foreign_layer(layer.media_type):
            raise NotFoundError(f"{error} (it is a foreign layer, which is kept elsewhere)") from None
        raise
