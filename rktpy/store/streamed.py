"""A tree that is rendered while its layers still arrive.

The transport tells a :class:`StreamedTree` about the layers (it has the shape of fetch's LayerObserver); a thread unpacks
them in order, waiting for bytes where it has to. What it reads is not verified yet, so everything goes into a temporary
directory. The tree is given its name by :meth:`publish`, after the transport has found every digest right and the image is
one of the store's.
"""

from __future__ import annotations

from functools import partial
from os import mkdir
from threading import Condition, Thread
from typing import TYPE_CHECKING

from rktpy.errors import StoreError
from rktpy.store import locks, trees
from rktpy.store.pipeline import Cancellable, GrowingFile, LayerSource, Readable
from rktpy.store.tree_ready import tree_id, tree_ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from rktpy.formats.oci.descriptor import Descriptor
    from rktpy.store.paths import Layout
    from rktpy.store.temporary import Temporary


class StreamedTree:
    """Renders one OCI image from layers that are on their way.

    A context manager; leaving it without :meth:`publish` drops all.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._changed = Condition()
        self._files: dict[str, GrowingFile] = {}
        self._lost: BaseException | None = None
        self._fresh: Temporary | None = None
        self._thread: Thread | None = None
        self._error: BaseException | None = None
        self._tree_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._give_up(StoreError("rendering was given up"))
        if self._thread is not None:
            self._thread.join()
        for file in self._files.values():
            file.close()
        if self._fresh is not None:
            self._fresh.close()
            self._fresh = None

    # The shape of rktpy.fetch.sink.LayerObserver

    def layers_known(self, diff_ids: tuple[str, ...], layers: tuple[Descriptor, ...]) -> None:
        """Begin to render, bottom layer first."""
        sources = [
            LayerSource(partial(_LateReader, self, layer.digest), layer.digest, diff_id, layer.media_type, layer.size)
            for layer, diff_id in zip(layers, diff_ids, strict=True)
        ]
        self._fresh = trees.begin(self._layout)
        self._thread = Thread(target=self._render, args=(sources, self._fresh.path), name="render", daemon=True)
        self._thread.start()

    def layer_started(self, digest: str, path: str) -> None:
        """A layer's bytes are, or will be, in the file ``path``."""
        file = GrowingFile(path)
        with self._changed:
            self._files[digest] = file
            self._changed.notify_all()

    def layer_progress(self, digest: str, available: int) -> None:
        """So many bytes can be read."""
        self._files[digest].advance(available)

    def layer_done(self, digest: str) -> None:
        """The layer is complete and verified."""
        self._files[digest].done()

    def layer_failed(self, digest: str, error: BaseException) -> None:
        """The layer will not come."""
        if digest in self._files:
            self._files[digest].fail(error)
        self._give_up(error)

    # What the fetching side does afterwards

    def wait(self) -> None:
        """Wait until everything is unpacked. Raises what unpacking raises: ArchiveError, DigestMismatch, StoreError."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def publish(self, image_id: str) -> str:
        """Name the tree, which is that of ``image_id`` (stored by now); its ID. Raises as :meth:`wait`."""
        self.wait()
        wanted = tree_id([image_id])
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            return trees.ensure(self._layout, image_id)
        with fresh, locks.acquire(self._layout.tree_lock(wanted), exclusive=True):
            if not tree_ready(self._layout, wanted):
                trees.complete(self._layout, fresh, image_id, self._tree_bytes)
                trees.put_in_place(self._layout, wanted, fresh)
        return wanted

    def open_started(self, digest: str, cancelled: Callable[[], bool]) -> Readable:
        """The bytes of a layer, once it has started. Raises what kept it from coming."""
        with self._changed:
            while digest not in self._files:
                if self._lost is not None:
                    raise self._lost
                if cancelled():
                    raise StoreError("rendering was given up")
                self._changed.wait()
            return self._files[digest].open()

    def wake(self) -> None:
        """Make waiting readers look whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _give_up(self, error: BaseException) -> None:
        with self._changed:
            if self._lost is None:
                self._lost = error
            files = list(self._files.values())
            self._changed.notify_all()
        for file in files:
            file.fail(error)

    def _render(self, sources: list[LayerSource], path: str) -> None:
        from rktpy.store.render import render_oci

        try:
            mkdir(path + "/rootfs", 0o755)
            self._tree_bytes = render_oci(sources, path + "/rootfs").tree_bytes
        except OSError as error:
            self._error = StoreError("cannot render the image")
            self._error.__cause__ = error
        except BaseException as error:
            self._error = error


class _LateReader(Cancellable):
    """A layer that may not have started: opened by the first read, so that opening never keeps another layer waiting."""

    def __init__(self, tree: StreamedTree, digest: str) -> None:
        self._tree = tree
        self._digest = digest
        self._reader: Readable | None = None
        self._cancelled = False

    def read(self, n: int, /) -> bytes:
        if self._reader is None:
            self._reader = self._tree.open_started(self._digest, lambda: self._cancelled)
        return self._reader.read(n)

    def cancel(self) -> None:
        self._cancelled = True
        if isinstance(self._reader, Cancellable):
            self._reader.cancel()
        self._tree.wake()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
