"""Media types of OCI and Docker image documents and layers (OCI image-spec 1.1 media-types.md; Docker manifest v2 schema 2).

Hot-path module: imports nothing.
"""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT_MANIFEST = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)

ACCEPT = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
"""What to ask a registry for; schema 1 is left out so that registries convert or refuse."""

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"

LAYER_COMPRESSION = {
    _OCI_LAYER: "none",
    _OCI_LAYER + "+gzip": "gzip",
    _OCI_LAYER + "+zstd": "zstd",
    _OCI_FOREIGN: "none",
    _OCI_FOREIGN + "+gzip": "gzip",
    _OCI_FOREIGN + "+zstd": "zstd",
    _DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    _DOCKER_LAYER + "+zstd": "zstd",
    _DOCKER_FOREIGN: "none",
    _DOCKER_FOREIGN + ".gzip": "gzip",
    _DOCKER_FOREIGN + ".zstd": "zstd",
}
"""Every layer type that can be unpacked, with the compression that its name promises (mislabelled layers exist)."""


def is_foreign_layer(media_type: str) -> bool:
    """Whether registries may refuse to hold this layer, so that it is found under the descriptor's URLs."""
    return media_type.startswith((_OCI_FOREIGN, _DOCKER_FOREIGN))


def without_parameters(content_type: str) -> str:
    """The type of an HTTP ``Content-Type`` header in lower case, without ``; charset=…``."""
    return content_type.partition(";")[0].strip().lower()
