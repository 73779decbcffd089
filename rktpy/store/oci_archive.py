"""Writing stored OCI images as one file that other tools read: an image layout in a tar (``oci-archive``).

Source: OCI image-spec v1.1 ``image-layout.md``. Nothing is converted: manifest, config and layers are the blobs as they were
fetched, so an image keeps its digest. The bytes depend on what is written alone.
"""

from __future__ import annotations

from os import close, fstat, read
from typing import TYPE_CHECKING, Any

from rktpy.errors import StoreError
from rktpy.formats import jsondoc
from rktpy.formats.tar import TarEntry
from rktpy.formats.tar_write import TarWriter
from rktpy.store import blobs
from rktpy.store.images import evidence_blobs
from rktpy.store.paths import split_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rktpy.store.image_record import ImageRecord
    from rktpy.store.paths import Layout

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"


def write_oci_archive(layout: Layout, record: ImageRecord, write: Callable[[bytes], object]) -> None:
    """Write one image through ``write``. Raises NotFoundError, StoreError, DigestMismatch for a damaged manifest."""
    entry = image_entry(layout, record, _tag(record))
    # Signatures would be blobs to which nothing in the layout refers.
    stored = {entry["digest"], *record.blobs}.difference(evidence_blobs(record.evidence))
    write_layout(layout, [entry], stored, {}, write)


def image_entry(layout: Layout, record: ImageRecord, name: str) -> dict[str, Any]:
    """The entry of ``index.json`` for a stored OCI image; ``name``, if any, is its reference name there."""
    manifest_digest = record.id.replace("-", ":", 1)
    manifest = blobs.read_blob(layout, manifest_digest, 4 << 20)
    document = jsondoc.parse_object(manifest, f"manifest {manifest_digest}")
    descriptor: dict[str, Any] = {
        "mediaType": document.get("mediaType", MANIFEST_TYPE),
        "digest": manifest_digest,
        "size": len(manifest),
    }
    if name:
        descriptor["annotations"] = {REF_NAME: name}
    return descriptor


def write_layout(
    layout: Layout,
    entries: Iterable[dict[str, Any]],
    stored: Iterable[str],
    made: Mapping[str, bytes],
    write: Callable[[bytes], object],
) -> None:
    """Write a layout through ``write``.

    ``entries`` are those of its ``index.json``, ``stored`` the digests of blobs of the store, ``made`` further blobs by digest.
    Raises NotFoundError, StoreError.
    """
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(entries)}
    archive = TarWriter(write)
    _add_bytes(archive, b"oci-layout", LAYOUT_FILE)
    _add_bytes(archive, b"index.json", jsondoc.dump(index))
    archive.add(TarEntry(b"blobs/", "dir", 0o755))
    digests = sorted({*stored, *made})
    for algorithm in sorted({split_digest(digest)[0] for digest in digests}):
        archive.add(TarEntry(b"blobs/%s/" % algorithm.encode(), "dir", 0o755))
    for digest in digests:
        if digest in made:
            _add_bytes(archive, f"blobs/{digest.replace(':', '/', 1)}".encode(), made[digest])
        else:
            _add_blob(layout, archive, digest)
    archive.close()


def _tag(record: ImageRecord) -> str:
    for reference in record.references:
        last = reference.rpartition("/")[2]
        if "@" not in last and ":" in last:
            return last.rpartition(":")[2]
    return ""


def _add_bytes(archive: TarWriter, name: bytes, data: bytes) -> None:
    archive.add(TarEntry(name, size=len(data)), data)


def _add_blob(layout: Layout, archive: TarWriter, digest: str) -> None:
    algorithm, value = split_digest(digest)
    fd = blobs.open_blob(layout, digest)
    try:
        entry = TarEntry(f"blobs/{algorithm}/{value}".encode(), size=fstat(fd).st_size)
        try:
            archive.add(entry, lambda n: read(fd, n))
        except ValueError as error:
            raise StoreError(f"cannot read {digest}") from error
    finally:
        close(fd)
