"""Rendering images into a directory: OCI layers over each other, or an ACI over its dependencies.

The directory must be empty and private to the caller, who gives it its final place when all went well. When anything goes wrong
it is emptied again, so bytes that were not proved by their digest are never left behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from rktpy.errors import ArchiveError, DigestMismatch, InputError, StoreError
from rktpy.formats.tar import TarReader
from rktpy.linux.remove_tree import remove_contents
from rktpy.record import Record
from rktpy.store.limits import Limits, limits_in_force
from rktpy.store.pipeline import LayerSource, PlainStream, Readable, retain_memory
from rktpy.store.tree_size import measure
from rktpy.store.unpack import Unpacker, UnpackOptions
from rktpy.store.whitelist import AciSelection, Whitelists


class AciSource(Record):
    """One image to be laid down: ``open()`` gives its archive, compressed or not.

    ``whitelists`` are its own and those of all images above it.
    """

    image_id: str
    open: Callable[[], Readable]
    whitelists: tuple[tuple[str, ...], ...] = ()


class RenderStats(Record):
    """What was unpacked: ``entries`` of archives, ``bytes`` of files, ``archive_bytes`` of plain tars.

    ``attributes_left_out`` counts extended attributes that could not be or must not be set. ``tree_bytes`` is the size of the
    tree, see :mod:`rktpy.store.tree_size`.
    """

    entries: int
    bytes: int
    archive_bytes: int
    attributes_left_out: int
    tree_bytes: int


DEFAULT_OPTIONS = UnpackOptions()


def render_oci(
    layers: Sequence[LayerSource], dest: str, limits: Limits | None = None, options: UnpackOptions = DEFAULT_OPTIONS
) -> RenderStats:
    """Unpack ``layers``, bottom first, into the empty directory ``dest`` as one tree.

    Layers may still be arriving (:class:`~rktpy.store.pipeline.GrowingFile`). Each is checked against its diff ID. Raises
    DigestMismatch, ArchiveError, StoreError, and what the sources raise.
    """
    limits = limits or limits_in_force()
    with _Destination(dest, limits, options) as (unpacker, stack):
        size = 0
        following: PlainStream | None = None
        for position, layer in enumerate(layers):
            what = f"layer {layer.digest}"
            stream = following or _oci_stream(stack, layer, limits)
            # The next one is decompressed ahead, as far as its queue is long, while this one is written.
            following = _oci_stream(stack, layers[position + 1], limits) if position + 1 < len(layers) else None
            unpacker.apply(TarReader(stream.read, what), what, first=position == 0)
            actual = stream.finish()
            if actual != layer.diff_id:
                raise DigestMismatch(f"{what}: the diff ID is {actual}, not {layer.diff_id}")
            size = _total(size, stream, limits)
            stream.close()
        unpacker.finish()
        return _stats(unpacker, size, dest)


def render_aci(
    images: Sequence[AciSource], dest: str, limits: Limits | None = None, options: UnpackOptions = DEFAULT_OPTIONS
) -> RenderStats:
    """Unpack the root file systems of ``images``, bottom first, into the empty directory ``dest``.

    Each archive is checked against its image ID. Raises DigestMismatch, ArchiveError, StoreError, and what the sources raise.
    """
    limits = limits or limits_in_force()
    with _Destination(dest, limits, options) as (unpacker, stack):
        size = 0
        for position, image in enumerate(images):
            what = f"image {image.image_id}"
            whitelists = Whitelists(image.whitelists)
            selection = AciSelection(whitelists)
            if whitelists:
                with PlainStream(image.open(), "sha512", what, limits) as preview:
                    selection.prepare(TarReader(preview.read, what))
            stream = stack.enter_context(PlainStream(image.open(), "sha512", what, limits))
            unpacker.apply(TarReader(stream.read, what), what, select=selection, first=position == 0)
            actual = stream.finish().replace(":", "-")
            # rkt's own IDs are cut to half of the digits.
            if len(image.image_id) < 71 or not actual.startswith(image.image_id):
                raise DigestMismatch(f"{what}: its ID is {actual}")
            size = _total(size, stream, limits)
            stream.close()
        unpacker.finish()
        return _stats(unpacker, size, dest)


def _stats(unpacker: Unpacker, archive_bytes: int, dest: str) -> RenderStats:
    tree_bytes = unpacker.tree_bytes
    if tree_bytes is None:
        try:
            tree_bytes = measure(dest)
        except OSError as error:
            raise StoreError(f"cannot read the tree {dest}") from error
    return RenderStats(unpacker.entries, unpacker.bytes, archive_bytes, unpacker.attributes_left_out, tree_bytes)


def _oci_stream(stack: ExitStack, layer: LayerSource, limits: Limits) -> PlainStream:
    algorithm = layer.diff_id.partition(":")[0]
    if algorithm not in ("sha256", "sha512"):
        raise InputError(f"layer {layer.digest}: unknown digest algorithm in diff ID {layer.diff_id}")
    return stack.enter_context(PlainStream(layer.open(), algorithm, f"layer {layer.digest}", limits))


def _total(size: int, stream: PlainStream, limits: Limits) -> int:
    size += stream.size
    if size > limits.max_unpacked_bytes:
        raise ArchiveError(f"the image is larger than {limits.max_unpacked_bytes} bytes when decompressed")
    return size


class _Destination:
    """The directory that is rendered into; emptied when the block fails."""

    def __init__(self, path: str, limits: Limits, options: UnpackOptions) -> None:
        self._path = path
        self._limits = limits
        self._options = options
        self._stack = ExitStack()

    def __enter__(self) -> tuple[Unpacker, ExitStack]:
        retain_memory()
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.listdir(self._fd):
                    raise StoreError(f"{self._path} is not empty")
                self._unpacker = Unpacker(self._fd, self._limits, self._options)
            except BaseException:
                os.close(self._fd)
                raise
        except OSError as error:
            hint = ", which needs root" if os.geteuid() else ""
            raise StoreError(f"cannot render into {self._path}{hint}") from error
        return self._unpacker, self._stack

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            self._stack.close()
            self._unpacker.close()
            if kind is not None:
                try:
                    remove_contents(self._fd, self._path)
                except OSError as error:
                    raise StoreError(f"cannot remove what was rendered in {self._path}") from error
        finally:
            os.close(self._fd)
