"""What every image transport gives back: one image for one platform, its blobs complete and verified in the sink."""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats.oci.config import ImageConfig
from rktpy.formats.oci.manifest import Manifest
from rktpy.record import Record


class PulledLayer(Record):
    """One layer: the digest and size in bytes of the blob as it came, and the digest of the tar inside."""

    digest: str
    diff_id: str
    media_type: str
    size: int


class PulledImage(Record):
    """A fetched OCI or Docker image. ``reference_text`` is the reference it was asked for, in full.

    ``index_digest`` names the index that the platform was chosen from, if there was one (kept in the sink as well).
    """

    manifest_digest: str
    manifest_bytes: bytes
    manifest: Manifest
    config: ImageConfig
    config_digest: str
    index_digest: str | None
    layers: tuple[PulledLayer, ...]
    reference_text: str

    @property
    def image_id(self) -> str:
        """The image ID: the digest of the platform's manifest, with a dash (``sha256-…``)."""
        return self.manifest_digest.replace(":", "-", 1)

    @property
    def size(self) -> int:
        """Bytes of manifest, configuration and layers, each blob once."""
        blobs = {layer.digest: layer.size for layer in self.layers}
        blobs[self.config_digest] = self.manifest.config.size
        return len(self.manifest_bytes) + sum(blobs.values())


def match_layers(manifest: Manifest, config: ImageConfig, what: str) -> tuple[PulledLayer, ...]:
    """Pair the layers of a manifest with the diff IDs of its configuration.

    Raises :class:`FormatError`, naming ``what``, when their numbers differ or the manifest is no image.
    """
    manifest.require_image(what)
    if len(manifest.layers) != len(config.rootfs_diff_ids):
        problem = f"the manifest has {len(manifest.layers)} layers but the configuration {len(config.rootfs_diff_ids)} diff IDs"
        raise FormatError(what, "layers", problem)
    return tuple(
        PulledLayer(layer.digest, diff_id, layer.media_type, layer.size)
        for layer, diff_id in zip(manifest.layers, config.rootfs_diff_ids, strict=True)
    )
