"""The blobs of one image, several at a time, each into its own partial file.

The partial's lock makes a second process wait for the first, and then find the blob: one download. What is complete is
committed at once and stays when a later blob fails.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from rktpy.errors import DigestMismatch, FetchError, RktpyError
from rktpy.fetch import limits
from rktpy.fetch.download import download
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rktpy.fetch.http import Authorizer, Client
    from rktpy.fetch.http_url import URL
    from rktpy.fetch.progress import Progress
    from rktpy.fetch.sink import LayerObserver, Partial, Sink
    from rktpy.formats.oci.descriptor import Descriptor

    #: Where one blob can be had, best first.
    Sources = Callable[[Descriptor], Iterable["Source"]]

#: Layers on their way at once, as podman and docker.
PARALLEL = 3
# How often the observer hears of a layer, in bytes.
_STEP = 1 << 20
# How long to wait for threads that were told to stop, in seconds; they are daemons, so the process may end without them.
_STOP_SECONDS = 2.0


class Source(Record):
    """A URL that should give a blob, and how to ask there."""

    client: Client
    url: URL
    authorizer: Authorizer | None = None


class Layers:
    """Downloads layers in threads and reports to an observer and a progress display."""

    def __init__(
        self, sink: Sink, sources: Sources, stop: Callable[[], None], observer: LayerObserver, progress: Progress
    ) -> None:
        self._sink = sink
        self._sources = sources
        self._stop = stop
        self._observer = observer
        self._progress = progress
        self._stopping = threading.Event()

    def fetch(self, layers: Iterable[Descriptor]) -> None:
        """Bring all of them into the sink; returns when they are there. Raises the first error."""
        wanted = {layer.digest: layer for layer in layers}
        todo: SimpleQueue[Descriptor | None] = SimpleQueue()
        done: SimpleQueue[tuple[Descriptor, BaseException | None]] = SimpleQueue()
        for layer in wanted.values():
            todo.put(layer)
        threads = [
            threading.Thread(target=self._work, args=(todo, done), name=f"layer-{number}", daemon=True)
            for number in range(min(PARALLEL, len(wanted)))
        ]
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.start()
        missing = dict(wanted)
        try:
            for _ in wanted:
                layer, error = done.get()
                if error is not None:
                    raise error
                del missing[layer.digest]
        except BaseException as error:
            self._stopping.set()
            self._stop()
            for thread in threads:
                thread.join(_STOP_SECONDS)
            for digest in missing:
                self._observer.layer_failed(digest, error)
            raise
        for thread in threads:
            thread.join(_STOP_SECONDS)

    def _work(self, todo: SimpleQueue[Descriptor | None], done: SimpleQueue[tuple[Descriptor, BaseException | None]]) -> None:
        while (layer := todo.get()) is not None and not self._stopping.is_set():
            try:
                self._one(layer)
            except BaseException as error:  # handed to the thread that waits for us
                self._progress.end(layer.digest, "failed")
                done.put((layer, error))
                return
            done.put((layer, None))

    def _one(self, layer: Descriptor) -> None:
        if self._exists(layer):
            return
        with self._sink.partial(layer.digest) as partial:
            # Another process may have brought it while we waited for the lock.
            if self._exists(layer):
                partial.discard()
                return
            self._progress.begin(layer.digest, short(layer.digest), layer.size, partial.size)
            # Bytes of an earlier process are unverified, and may have to be thrown away again: nobody should unpack them yet.
            streaming = partial.size == 0
            reported = 0
            if streaming:
                self._observer.layer_started(layer.digest, partial.path)

            def arrived(available: int, _total: int | None) -> None:
                nonlocal reported
                if available - reported >= _STEP or available == layer.size:
                    reported = available
                    self._progress.advance(layer.digest, available, layer.size)
                    if streaming:
                        self._observer.layer_progress(layer.digest, available)

            # After bytes have been handed out, wrong ones cannot be taken back: no other source is tried then.
            fetch_blob(self._sources(layer), layer, partial, arrived, streaming, lambda: not (streaming and reported))
            partial.commit(layer.digest)
        if not streaming:
            self._observer.layer_started(layer.digest, self._sink.blob_path(layer.digest))
        self._observer.layer_done(layer.digest)
        self._progress.end(layer.digest, "done")

    def _exists(self, layer: Descriptor) -> bool:
        size = self._sink.blob_size(layer.digest)
        if size is None:
            return False
        if size != layer.size:
            raise DigestMismatch(f"{layer.digest}: the blob has {size} bytes, the manifest says {layer.size}")
        self._progress.begin(layer.digest, short(layer.digest), layer.size, layer.size)
        self._observer.layer_started(layer.digest, self._sink.blob_path(layer.digest))
        self._observer.layer_done(layer.digest)
        self._progress.end(layer.digest, "exists")
        return True


def fetch_blob(
    sources: Iterable[Source],
    blob: Descriptor,
    partial: Partial,
    arrived: Callable[[int, int | None], None] | None,
    shared: bool,
    replaceable: Callable[[], bool],
) -> None:
    """Complete ``partial`` with the blob from the first source that delivers it right. Raises what the first one did wrong.

    ``shared`` as in :func:`rktpy.fetch.download.download`. Wrong bytes end the search unless ``replaceable()``.
    """
    first: RktpyError | None = None
    for source in sources:
        try:
            download(
                source.client,
                source.url,
                partial,
                limit=limits.LAYER_BYTES,
                digest=blob.digest,
                size=blob.size,
                authorizer=source.authorizer,
                arrived=arrived,
                shared=shared,
            )
            return
        except (FetchError, DigestMismatch) as error:
            source.client.check_stopped()
            first = first or error
            if isinstance(error, DigestMismatch) and not replaceable():
                raise
    raise first or FetchError(f"{blob.digest}: nowhere to get it")


def short(digest: str) -> str:
    """A digest for people: 12 hex digits."""
    return digest.partition(":")[2][:12]
