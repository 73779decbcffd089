"""What the store knows of one image: the small JSON file ``cas/images/<image id>``.

The record is the truth; the index and the listings are made from it. Times are nanoseconds since the epoch, sizes bytes.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, StoreError, UsageError
from rktpy.formats import jsondoc
from rktpy.formats.aci.types import NameValue
from rktpy.record import Record
from rktpy.store.paths import is_image_id, split_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RECORD_VERSION = 1


class Layer(Record):
    """One layer of an OCI image: digest as stored, digest of the uncompressed tar, media type, size as stored in bytes."""

    digest: str
    diff_id: str
    media_type: str
    size: int


class ImageRecord(Record):
    """One stored image.

    ``format`` is ``aci`` or ``oci``. ``latest``: it came without a version having been asked for. ``blobs`` are all digests that
    the image needs (ACI: the tar; OCI: manifest, config, layers). ``references`` are the texts it was fetched by, ``evidence``
    what the trust policy needs to decide again offline (opaque JSON objects).
    """

    id: str
    format: str
    name: str
    labels: tuple[NameValue, ...] = ()
    import_time: int = 0
    size: int = 0
    latest: bool = False
    blobs: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    references: tuple[str, ...] = ()
    evidence: tuple[dict[str, Any], ...] = ()
    index_digest: str | None = None

    def label(self, name: str) -> str | None:
        """The value of a label, or None."""
        for label in self.labels:
            if label.name == name:
                return label.value
        return None

    def has_labels(self, labels: tuple[NameValue, ...]) -> bool:
        """Whether the image carries every one of ``labels``."""
        return all(self.label(wanted.name) == wanted.value for wanted in labels)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "recordVersion": RECORD_VERSION,
            "id": self.id,
            "format": self.format,
            "name": self.name,
            "labels": [{"name": label.name, "value": label.value} for label in self.labels],
            "importTime": self.import_time,
            "size": self.size,
            "latest": self.latest,
            "blobs": list(self.blobs),
            "layers": [
                {"digest": layer.digest, "diffID": layer.diff_id, "mediaType": layer.media_type, "size": layer.size}
                for layer in self.layers
            ],
            "references": list(self.references),
            "evidence": list(self.evidence),
            "indexDigest": self.index_digest,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any], what: str = "image record") -> ImageRecord:
        """The record of a JSON form. Raises FormatError, or StoreError for a version that we do not know."""
        version = _member(document, "recordVersion", int, what)
        if version != RECORD_VERSION:
            raise StoreError(f"{what}: version {version} is not known (this is version {RECORD_VERSION})")
        image_id = _member(document, "id", str, what)
        if not is_image_id(image_id):
            raise FormatError(what, "id", f"{image_id!r} is not an image ID")
        form = _member(document, "format", str, what)
        if form not in ("aci", "oci"):
            raise FormatError(what, "format", f"{form!r} is neither aci nor oci")
        index_digest = document.get("indexDigest")
        if index_digest is not None:
            _digest(index_digest, "indexDigest", what)
        return cls(
            image_id,
            form,
            _member(document, "name", str, what),
            _list(document, "labels", what, _label),
            _member(document, "importTime", int, what),
            _member(document, "size", int, what),
            _member(document, "latest", bool, what),
            _list(document, "blobs", what, _digest),
            _list(document, "layers", what, _layer),
            _list(document, "references", what, _text),
            _list(document, "evidence", what, _object),
            index_digest,
        )

    @classmethod
    def from_bytes(cls, data: bytes, what: str = "image record") -> ImageRecord:
        """The record of its file's bytes. Raises FormatError or StoreError."""
        return cls.from_dict(jsondoc.parse_object(data, what), what)

    def to_bytes(self) -> bytes:
        """The file's bytes: one line."""
        return jsondoc.dump(self.to_dict()) + b"\n"


def _member(document: dict[str, Any], name: str, kind: type, what: str) -> Any:
    value = document.get(name)
    # type() rather than isinstance(): true is no number.
    if type(value) is not kind:
        raise FormatError(what, name, f"must be of type {kind.__name__}")
    return value


def _list(document: dict[str, Any], name: str, what: str, read: Callable[[Any, str, str], Any]) -> tuple[Any, ...]:
    values = _member(document, name, list, what)
    return tuple([read(value, f"{name}[{at}]", what) for at, value in enumerate(values)])


def _text(value: Any, path: str, what: str) -> str:
    if type(value) is not str:
        raise FormatError(what, path, "must be a string")
    return value


def _object(value: Any, path: str, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise FormatError(what, path, "must be an object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _digest(value: Any, path: str, what: str) -> str:
    digest = _text(value, path, what)
    try:
        split_digest(digest)
    except UsageError as error:
        raise FormatError(what, path, str(error)) from None
    return digest


def _label(value: Any, path: str, what: str) -> NameValue:
    members = _object(value, path, what)
    return NameValue(_text(members.get("name"), path + ".name", what), _text(members.get("value"), path + ".value", what))


def _layer(value: Any, path: str, what: str) -> Layer:
    members = _object(value, path, what)
    size = members.get("size")
    if type(size) is not int:
        raise FormatError(what, path + ".size", "must be a number")
    return Layer(
        _digest(members.get("digest"), path + ".digest", what),
        _digest(members.get("diffID"), path + ".diffID", what),
        _text(members.get("mediaType"), path + ".mediaType", what),
        size,
    )
