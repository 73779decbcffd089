"""Stored images as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rktpy.errors import RktpyError
from rktpy.formats.api import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rktpy.formats.aci.types import NameValue
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.listing import ImageFacts
    from rktpy.store.store import Store

APPC_VERSION = "0.8.11"
_OCI_VERSION = "1.1.0"
_DOCKER_VERSION = "2"
_SECOND_NS = 1_000_000_000


def image_message(store: Store, facts: ImageFacts) -> Any:
    """The ``Image`` of a stored image. Raises RktpyError."""
    image_id = facts.id
    record = store.record(image_id)
    data = store.manifest_bytes(image_id)
    manifest = store.manifest(image_id)
    return messages.Image(
        base_format=_format(record),
        id=image_id,
        name=manifest.name,
        version=manifest.label("version") or "latest",
        import_timestamp=record.import_time // _SECOND_NS,
        manifest=data,
        size=facts.size,
        annotations=key_values(manifest.annotations),
        labels=key_values(manifest.labels),
    )


def format_of(store: Store, image_id: str) -> Any:
    """The ``ImageFormat`` of an image that a pod uses, which need not be in the store any more."""
    if image_id.startswith("sha256-"):
        try:
            return _format(store.record(image_id))
        except RktpyError:
            return _image_format("IMAGE_TYPE_OCI", _OCI_VERSION)
    return _image_format("IMAGE_TYPE_APPC", APPC_VERSION)


def key_values(pairs: Iterable[NameValue]) -> list[Any]:
    """Labels or annotations as ``KeyValue`` s."""
    return [messages.KeyValue(Key=pair.name, value=pair.value) for pair in pairs]


def _format(record: ImageRecord) -> Any:
    # rkt calls everything appc, because it converts when it fetches; here an image is kept as it came.
    if record.format == "aci":
        return _image_format("IMAGE_TYPE_APPC", APPC_VERSION)
    if any(layer.media_type.startswith("application/vnd.docker.") for layer in record.layers):
        return _image_format("IMAGE_TYPE_DOCKER", _DOCKER_VERSION)
    return _image_format("IMAGE_TYPE_OCI", _OCI_VERSION)


def _image_format(kind: str, version: str) -> Any:
    return messages.ImageFormat(type=messages.enum_value(kind), version=version)
