"""What a transport needs from whoever keeps the bytes, and whom it tells about progress.

``fetch`` does not know the store: the store's blob methods have this shape, and stage0 brings the two together.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from rktpy.formats.oci.descriptor import Descriptor


class Partial(Protocol):
    """Bytes on their way into the sink, kept when the transfer is interrupted.

    Entering the context takes the exclusive lock of the key; leaving it without :meth:`commit` keeps the bytes for a resume.
    """

    @property
    def path(self) -> str:
        """The file that holds the bytes; readable while they arrive."""
        ...

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None: ...

    def write(self, data: bytes | memoryview, /) -> object:
        """Append ``data``."""
        ...

    def restart(self) -> None:
        """Throw the bytes away and begin again."""
        ...

    def validator(self) -> dict[str, Any] | None:
        """What was kept with :meth:`set_validator` (an ETag, say), for the decision whether a resume is safe."""
        ...

    def set_validator(self, value: dict[str, Any] | None, /) -> None:
        """Keep a JSON object beside the bytes."""
        ...

    def commit(self, digest: str, /) -> None:
        """Make the bytes a blob. The caller has verified that they have this digest."""
        ...

    def discard(self) -> None:
        """Throw the bytes away for good."""
        ...


class Sink(Protocol):
    """Where blobs go. A blob that is there is complete and was verified when it came."""

    def blob_size(self, digest: str, /) -> int | None:
        """Size in bytes of a blob, or None when it is not there."""
        ...

    def blob_path(self, digest: str, /) -> str:
        """Where the blob is or will be, for reading."""
        ...

    def read_blob(self, digest: str, limit: int = 4 << 20, /) -> bytes:
        """The bytes of a small blob, verified again."""
        ...

    def put_blob(self, data: bytes, digest: str | None = None, /) -> str:
        """Keep a small blob and return its digest (sha256 unless ``digest`` says otherwise)."""
        ...

    def partial(self, key: str, /) -> Partial:
        """The bytes under ``key``; transports use the digest that they are about to fetch."""
        ...


class LayerObserver(Protocol):
    """Told about layers while they arrive, so that rendering can start before the last byte is there.

    Calls for different layers may come from different threads; calls for one layer come in order: ``layer_started``, any number
    of ``layer_progress``, then ``layer_done`` or ``layer_failed``. A layer that is there already is started and done at once; one
    that occurs twice in an image is reported once.
    """

    def layers_known(self, diff_ids: tuple[str, ...], layers: tuple[Descriptor, ...], /) -> None:
        """The image's layers, bottom first, with the digests of their uncompressed tars."""
        ...

    def layer_started(self, digest: str, path: str, /) -> None:
        """Bytes of this layer are arriving in the file ``path``, or lie there complete."""
        ...

    def layer_progress(self, digest: str, available: int, /) -> None:
        """``available`` bytes of the layer can be read now. They are not verified before ``layer_done``."""
        ...

    def layer_done(self, digest: str, /) -> None:
        """The layer is complete, verified and kept."""
        ...

    def layer_failed(self, digest: str, error: BaseException, /) -> None:
        """The layer will not come."""
        ...


class NoObserver:
    """Nobody is watching."""

    def layers_known(self, diff_ids: tuple[str, ...], layers: tuple[Descriptor, ...], /) -> None:
        """See :class:`LayerObserver`."""

    def layer_started(self, digest: str, path: str, /) -> None:
        """See :class:`LayerObserver`."""

    def layer_progress(self, digest: str, available: int, /) -> None:
        """See :class:`LayerObserver`."""

    def layer_done(self, digest: str, /) -> None:
        """See :class:`LayerObserver`."""

    def layer_failed(self, digest: str, error: BaseException, /) -> None:
        """See :class:`LayerObserver`."""
