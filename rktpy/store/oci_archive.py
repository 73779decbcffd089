"""Writing a stored OCI image as one file that other tools read: an image layout in a tar (``oci-archive``).

Source: OCI image-spec v1.1 ``image-layout.md``. Nothing is converted: manifest, config and layers are the blobs as they were
fetched, so the image keeps its digest. The bytes depend on the image alone.
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
    from collections.abc import Callable

    from rktpy.store.image_record import ImageRecord
    from rktpy.store.paths import Layout

LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"


def write_oci_archive(layout: Layout, record: ImageRecord, write: Callable[[bytes], object]) -> None:
    """Write the archive through ``write``. Raises NotFoundError, StoreError, DigestMismatch for a damaged manifest."""
    manifest_digest = record.id.replace("-", ":", 1)
    manifest = blobs.read_blob(layout, manifest_digest, 4 << 20)
    document = jsondoc.parse_object(manifest, f"manifest {manifest_digest}")
    descriptor: dict[str, Any] = {
        "mediaType": document.get("mediaType", MANIFEST_TYPE),
        "digest": manifest_digest,
        "size": len(manifest),
    }
    tag = _tag(record)
    if tag:
        descriptor["annotations"] = {REF_NAME: tag}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [descriptor]}
    archive = TarWriter(write)
    _add_bytes(archive, b"oci-layout", LAYOUT_FILE)
    _add_bytes(archive, b"index.json", jsondoc.dump(index))
    archive.add(TarEntry(b"blobs/", "dir", 0o755))
    # Signatures would be blobs to which nothing in the layout refers.
    digests = sorted({manifest_digest, *record.blobs}.difference(evidence_blobs(record.evidence)))
    for algorithm in sorted({split_digest(digest)[0] for digest in digests}):
        archive.add(TarEntry(b"blobs/%s/" % algorithm.encode(), "dir", 0o755))
    for digest in digests:
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
