"""The store of images: the one class through which the rest of the program uses it.

Its layout on disk and the order of its locks are drawn in ``paths``. Constructing a :class:`Store` touches nothing; reading never
creates anything, so a store that is missing is an empty one and a read-only one can be read.

Hot-path module: opening, looking up, tree paths. Everything else is imported by the method that needs it.
"""

from __future__ import annotations

from posix import utime

from rktpy.errors import StoreError
from rktpy.store import locks, lookup
from rktpy.store.image_record import ImageRecord
from rktpy.store.paths import Layout, create_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Self

    from rktpy.formats.aci.manifest import ImageManifest
    from rktpy.formats.aci.types import NameValue
    from rktpy.store.check import Problem
    from rktpy.store.image_gc import Collected
    from rktpy.store.import_aci import ImportedACI
    from rktpy.store.limits import Limits
    from rktpy.store.listing import ImageFacts
    from rktpy.store.partial import Partial
    from rktpy.store.remotes import Remote
    from rktpy.store.streamed import StreamedTree
    from rktpy.store.verify import Verified


class Store:
    """The images below ``<data_dir>/cas``.

    With ``create`` false a store that is missing is not made: operations that write raise :class:`StoreError`. Every method may
    raise StoreError when the disk is full, damaged or read-only; other errors are named where they occur.
    """

    def __init__(self, data_dir: str, *, create: bool = True) -> None:
        self.data_dir = data_dir
        self.layout = Layout(data_dir)
        self._create = create
        self._ready = False
        self._lease: locks.Lock | None = None

    def close(self) -> None:
        """Let go of the lease on blobs that arrived (see :mod:`rktpy.store.blobs`). The store stays usable."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _writable(self) -> Layout:
        if not self._ready:
            if self._create:
                create_directories(self.layout)
            self._ready = True
        return self.layout

    def _fetching(self) -> Layout:
        """Like :meth:`_writable`, and from now on nobody removes blobs that belong to no image."""
        layout = self._writable()
        if self._lease is None:
            self._lease = locks.acquire(layout.blobs_lock, exclusive=False)
        return layout

    # Looking up

    def image_ids(self) -> list[str]:
        """The IDs of all images, sorted."""
        return lookup.image_ids(self.layout)

    def record(self, image_id: str) -> ImageRecord:
        """An image's record. Raises NotFoundError."""
        return lookup.read_record(self.layout, image_id)

    def manifest(self, image_id: str) -> ImageManifest:
        """An image's runnable view. Raises NotFoundError, FormatError."""
        from rktpy.formats.aci.manifest import ImageManifest

        return ImageManifest.from_bytes(self.manifest_bytes(image_id))

    def manifest_bytes(self, image_id: str) -> bytes:
        """The bytes of an image's runnable view. Raises NotFoundError."""
        try:
            return lookup.read_file(self.layout.manifest(image_id))
        except FileNotFoundError:
            # Tells a missing image from a damaged store.
            lookup.read_record(self.layout, image_id)
            raise StoreError(f"the manifest of image {image_id} is missing (see image check)") from None
        except OSError as error:
            raise StoreError(f"cannot read the manifest of image {image_id}") from error

    def resolve_id(self, prefix: str) -> str:
        """The whole ID that begins so (``sha512-``, ``sha256-`` or bare hex, at least two digits).

        Raises NotFoundError, AmbiguousError.
        """
        return lookup.resolve_id(self.layout, prefix)

    def find_by_name(self, name: str, labels: tuple[NameValue, ...] = ()) -> ImageRecord | None:
        """The image rkt would take for a name and labels: without a version the latest ones first, then the last import."""
        return lookup.find_by_name(self.layout, name, labels)

    def find_by_reference(self, text: str) -> ImageRecord | None:
        """The image that was last fetched by this reference."""
        return lookup.find_by_reference(self.layout, text)

    def touch(self, image_id: str) -> None:
        """Note that the image is used now. Does nothing where the store cannot be written."""
        try:
            utime(self.layout.image(image_id))
        except OSError:
            pass

    def last_used(self, image_id: str) -> int:
        """When the image was last used or imported, in nanoseconds since the epoch. Raises NotFoundError."""
        from rktpy.store.listing import last_used

        return last_used(self.layout, image_id)

    def list_images(self) -> list[ImageFacts]:
        """What ``image list`` shows, by import time; images with a damaged record are left out."""
        from rktpy.store.listing import list_images

        return list_images(self.layout)

    # Blobs (structurally a fetch Sink)

    def blob_path(self, digest: str) -> str:
        """Where a blob is, or would be. Raises UsageError for what is no digest."""
        return self.layout.blob(digest)

    def blob_size(self, digest: str) -> int | None:
        """Size of a blob in bytes, None if it is not there.

        A blob that is there stays until an image is added or the store closed.
        """
        from rktpy.store import blobs

        size = blobs.blob_size(self.layout, digest)
        if size is not None and self._lease is None:
            try:
                self._fetching()
            except StoreError:
                return size
            size = blobs.blob_size(self.layout, digest)
        return size

    def read_blob(self, digest: str, limit: int = 4 << 20) -> bytes:
        """A small blob, checked. Raises NotFoundError, DigestMismatch, or StoreError above ``limit`` bytes."""
        from rktpy.store import blobs

        return blobs.read_blob(self.layout, digest, limit)

    def put_blob(self, data: bytes, digest: str | None = None) -> str:
        """Store bytes durably; returns their digest (sha256 unless one is given). Raises DigestMismatch."""
        from rktpy.store import blobs

        return blobs.put_blob(self._fetching(), data, digest)

    def partial(self, key: str) -> Partial:
        """The download called ``key`` (a digest or URL), as a context manager that waits for its lock."""
        from rktpy.store.partial import Partial

        return Partial(self._fetching(), key)

    def import_aci(
        self, path: str, *, what: str = "", expected_id: str | None = None, limits: Limits | None = None
    ) -> ImportedACI:
        """Store the tar of an ACI file; it is an image only after :meth:`add_image`.

        See :func:`rktpy.store.import_aci.import_aci`.
        """
        from rktpy.store.import_aci import import_aci

        return import_aci(self._fetching(), path, what=what, expected_id=expected_id, limits=limits)

    def add_image(self, record: ImageRecord, manifest: bytes) -> ImageRecord:
        """Make an image of blobs that are there, or merge into the image that is there. See :func:`rktpy.store.images.add`."""
        from rktpy.store import images

        added = images.add(self._fetching(), record, manifest)
        self.close()
        return added

    # Remotes

    def remote(self, url: str) -> Remote | None:
        """What is known of a download URL."""
        from rktpy.store.remotes import read_remote

        return read_remote(self.layout, url)

    def set_remote(self, remote: Remote) -> None:
        """Remember a download URL."""
        from rktpy.store.remotes import write_remote

        write_remote(self._writable(), remote)

    # Trees

    def tree_id(self, image_ids: Collection[str]) -> str:
        """The ID of the tree rendered from these images, in this order."""
        from rktpy.store.tree_ready import tree_id

        return tree_id(image_ids)

    def tree_path(self, tree_id: str) -> str:
        """A tree's directory (its files are in ``rootfs`` below it), whether it is there or not."""
        return self.layout.tree(tree_id)

    def tree_ready(self, tree_id: str) -> bool:
        """Whether a tree is rendered and whole."""
        from rktpy.store.tree_ready import tree_ready

        return tree_ready(self.layout, tree_id)

    def ensure_tree(self, image_id: str) -> str:
        """Render an image's tree if it is not there; returns the tree's ID. See :func:`rktpy.store.trees.ensure`."""
        from rktpy.store import trees

        return trees.ensure(self._writable(), image_id)

    def stream_tree(self) -> StreamedTree:
        """A tree to be rendered while its layers arrive. See :mod:`rktpy.store.streamed`."""
        from rktpy.store.streamed import StreamedTree

        return StreamedTree(self._writable())

    def verify_tree(self, tree_id: str) -> None:
        """Compare a tree with the images that it was rendered from. Raises NotFoundError, DigestMismatch."""
        from rktpy.store import verify

        verify.verify_tree(self._writable(), tree_id)

    def remove_tree(self, tree_id: str) -> None:
        """Remove a tree, if it is there. The caller knows that no pod uses it."""
        from rktpy.store import trees

        trees.remove(self._writable(), tree_id)

    # Keeping house

    def prepare_lock(self, exclusive: bool) -> locks.Lock:
        """Held shared while trees are being tied to a new pod, exclusively by :meth:`gc`. A context manager."""
        return locks.acquire(self._writable().prepare_lock, exclusive=exclusive)

    def remove_image(self, image_id: str, trees_in_use: Collection[str] = (), trees_needed: Collection[str] = ()) -> None:
        """Remove an image and what only it needs. See :func:`rktpy.store.images.remove`."""
        from rktpy.store import images

        self.close()
        images.remove(self._writable(), image_id, trees_in_use, trees_needed)

    def gc(self, grace_ns: int, in_use: Callable[[], tuple[Collection[str], Collection[str]]]) -> Collected:
        """Remove what is not needed. See :func:`rktpy.store.image_gc.collect`."""
        from rktpy.store import image_gc

        self.close()
        return image_gc.collect(self._writable(), grace_ns, in_use)

    def check(self, *, repair: bool = False, deep: bool = False, trees_in_use: Collection[str] = ()) -> list[Problem]:
        """Examine the whole store. See :func:`rktpy.store.check.check`."""
        from rktpy.store.check import check

        return check(self._writable() if repair else self.layout, repair=repair, deep=deep, trees_in_use=trees_in_use)

    def verify(self, image_id: str, *, rebuild: bool = True) -> Verified:
        """Check an image's blobs and rendered tree. See :func:`rktpy.store.verify.verify_image`."""
        from rktpy.store import verify

        return verify.verify_image(self._writable(), image_id, rebuild=rebuild)

    def export(self, image_id: str, path: str, *, overwrite: bool = False) -> None:
        """Write an image as one file: an ACI as it is stored, an OCI image as an oci-archive. See :mod:`rktpy.store.export`."""
        from rktpy.store.export import export_image

        export_image(self.layout, image_id, path, overwrite=overwrite)

    def extract(self, image_id: str, directory: str, *, rootfs_only: bool = False, overwrite: bool = False) -> None:
        """Unpack this image alone. See :mod:`rktpy.store.export`."""
        from rktpy.store.export import extract_image

        extract_image(self._writable(), image_id, directory, rootfs_only=rootfs_only, overwrite=overwrite)

    def render(self, image_id: str, directory: str, *, rootfs_only: bool = False, overwrite: bool = False) -> None:
        """Unpack this image with everything it depends on, as an app would see it. See :mod:`rktpy.store.export`."""
        from rktpy.store.export import render_image

        render_image(self._writable(), image_id, directory, rootfs_only=rootfs_only, overwrite=overwrite)
