"""Images from the archives of ``docker save``, ``podman save`` and skopeo.

Such an archive has no manifest. The layers in it are uncompressed tars, whose digests are the diff IDs of the configuration; they
are stored as they are under a manifest made up from them, the same one that skopeo makes up.
"""

from __future__ import annotations

from rktpy.errors import ArchiveError, FormatError
from rktpy.fetch.archive_file import ArchiveFile
from rktpy.fetch.blob_copy import copy_blob, digest_stream
from rktpy.fetch.pulled import PulledImage, match_layers
from rktpy.fetch.reference import DockerArchiveReference
from rktpy.fetch.sink import LayerObserver, NoObserver, Sink
from rktpy.formats.decompress import compression_of
from rktpy.formats.oci.config import ImageConfig
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.oci.docker_archive import SavedImage, choose_saved_image, manifest_of_saved_image, parse_saved_images
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD
from rktpy.formats.oci.parse import MAX_DOCUMENT
from rktpy.record import Record

# containers/image labels uncompressed layers gzip too; readers go by the bytes, and the manifest's digest depends on it.
_MEDIA_TYPES = {"none": DOCKER_LAYER_GZIP, "gzip": DOCKER_LAYER_GZIP, "zstd": DOCKER_LAYER_ZSTD}


class _Layer(Record):
    member: str
    media_type: str
    digest: str
    size: int


def pull_docker_archive(path: str, ref: str, sink: Sink, observer: LayerObserver | None = None) -> PulledImage:
    """Copy an image out of a docker-archive.

    ``ref`` is as in :func:`rktpy.formats.oci.docker_archive.choose_saved_image`; ``observer`` is told of the layers. Raises
    :class:`NotFoundError`, :class:`AmbiguousError`, :class:`FormatError`, :class:`ArchiveError`, :class:`DigestMismatch`,
    :class:`FetchError`.
    """
    with ArchiveFile(path, "docker-archive", sink) as archive:
        what = f"{archive.name}: manifest.json"
        images = parse_saved_images(archive.read_document("manifest.json", MAX_DOCUMENT), what)
        image = choose_saved_image(images, ref, archive.name)
        return _pull(archive, image, sink, observer or NoObserver(), DockerArchiveReference(path, ref).text)


def _pull(archive: ArchiveFile, image: SavedImage, sink: Sink, observer: LayerObserver, text: str) -> PulledImage:
    config_bytes = archive.read_document(image.config, MAX_DOCUMENT)
    config = ImageConfig.from_bytes(config_bytes, f"{archive.name}: {image.config}")
    if len(image.layers) != len(config.rootfs_diff_ids):
        problem = f"there are {len(image.layers)} layers but the configuration has {len(config.rootfs_diff_ids)} diff IDs"
        raise FormatError(f"{archive.name}: manifest.json", "Layers", problem)
    found = tuple(
        _examine(archive, member, diff_id) for member, diff_id in zip(image.layers, config.rootfs_diff_ids, strict=True)
    )
    config_digest = sha256_digest(config_bytes)
    manifest_bytes = manifest_of_saved_image(
        config_digest, len(config_bytes), tuple((layer.media_type, layer.digest, layer.size) for layer in found)
    )
    manifest = Manifest.from_bytes(manifest_bytes, f"manifest of {archive.name}")
    layers = match_layers(manifest, config, archive.name)
    observer.layers_known(config.rootfs_diff_ids, manifest.layers)
    copied: set[str] = set()
    for layer in found:
        if layer.digest not in copied:
            copied.add(layer.digest)
            _copy(archive, layer, sink, observer)
    sink.put_blob(config_bytes, config_digest)
    return PulledImage(
        manifest_digest=sink.put_blob(manifest_bytes, sha256_digest(manifest_bytes)),
        manifest_bytes=manifest_bytes,
        manifest=manifest,
        config=config,
        config_digest=config_digest,
        index_digest=None,
        layers=layers,
        reference_text=text,
    )


def _examine(archive: ArchiveFile, member: str, diff_id: str) -> _Layer:
    blob = archive.open_member(member)
    compression = compression_of(blob.read(6))
    media_type = _MEDIA_TYPES.get(compression)
    if media_type is None:
        raise ArchiveError(
            f"{archive.name}: layer {ascii(member)[1:-1]} is compressed with {compression}, which is not supported"
        )
    digest = diff_id if compression == "none" else digest_stream(archive.open_member(member).read)
    return _Layer(member, media_type, digest, blob.size)


def _copy(archive: ArchiveFile, layer: _Layer, sink: Sink, observer: LayerObserver) -> None:
    copy_blob(lambda: archive.open_member(layer.member), layer.digest, layer.size, sink, archive.name, observer)
