"""Taking images out of the store: as one file, or as a directory.

Source: rkt's ``image export``, ``image extract`` and ``image render``. An ACI is exported byte for byte as its uncompressed
tar, so its ID stays; an OCI image as an oci-archive. *extract* unpacks an image alone, *render* what an app would see,
dependencies and all.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rktpy.errors import StoreError, UsageError
from rktpy.store import blobs, locks, lookup
from rktpy.store.dependencies import Step
from rktpy.store.temporary import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rktpy.store.image_record import ImageRecord
    from rktpy.store.paths import Layout


def export_image(layout: Layout, image_id: str, path: str, *, overwrite: bool) -> None:
    """Write an image to the file ``path``, mode 0644.

    Raises NotFoundError, UsageError when the file is there and may not be overwritten, StoreError; a file that could not be
    completed is removed, or with ``overwrite`` the one before it stays.
    """
    record = lookup.read_record(layout, image_id)
    write_file(path, "output ACI file", [layout.image_lock(image_id)], partial(_write, layout, record), overwrite=overwrite)


def write_file(
    path: str,
    what: str,
    image_locks: Iterable[str],
    content: Callable[[Callable[[bytes], object]], object],
    *,
    overwrite: bool,
) -> None:
    """Write a file that is there whole or not at all, mode 0644.

    ``content`` is called with the function that writes, while the locks of images at the paths ``image_locks`` are held; ``what``
    is what messages call the file. Raises as :func:`export_image`.
    """
    directory, _, name = os.path.abspath(path).rpartition("/")
    temporary = f"{directory}/.{name}.{os.urandom(6).hex()}"
    if not overwrite and os.path.lexists(path):
        raise UsageError(f"{what} exists (try --overwrite)")
    if overwrite and os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path} is there and is not a file")
    with ExitStack() as held:
        for lock in sorted(set(image_locks)):
            held.enter_context(locks.acquire(lock, exclusive=False))
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"unable to open {what} {path}") from error
        try:
            try:
                content(partial(write_all, fd))
            finally:
                os.close(fd)
            if overwrite:
                os.replace(temporary, path)
            else:
                # link() refuses to replace a file that has appeared meanwhile.
                os.link(temporary, path)
                os.unlink(temporary)
        except BaseException as error:
            os.unlink(temporary)
            if isinstance(error, FileExistsError):
                raise UsageError(f"{what} exists (try --overwrite)") from None
            if isinstance(error, OSError):
                raise StoreError(f"cannot write {path}") from error
            raise


def _write(layout: Layout, record: ImageRecord, write: Callable[[bytes], object]) -> None:
    if record.format == "oci":
        from rktpy.store.oci_archive import write_oci_archive

        write_oci_archive(layout, record, write)
        return
    fd = blobs.open_blob(layout, record.blobs[0])
    try:
        while data := os.read(fd, 1 << 20):
            write(data)
    finally:
        os.close(fd)


def extract_image(layout: Layout, image_id: str, directory: str, *, rootfs_only: bool, overwrite: bool) -> None:
    """Unpack an image without its dependencies and unfiltered: ``manifest`` and ``rootfs``, or only what is in the rootfs.

    Raises NotFoundError, UsageError when the directory is there and may not be overwritten, ArchiveError, StoreError.
    """
    _unpack(layout, image_id, directory, [Step(image_id, ())], rootfs_only, overwrite)


def render_image(layout: Layout, image_id: str, directory: str, *, rootfs_only: bool, overwrite: bool) -> None:
    """Unpack an image as an app would see it. Raises as :func:`extract_image`, and MissingDependency."""
    from rktpy.store.trees import steps_of

    _unpack(layout, image_id, directory, steps_of(layout, image_id), rootfs_only, overwrite)


def _unpack(layout: Layout, image_id: str, directory: str, steps: list[Step], rootfs_only: bool, overwrite: bool) -> None:
    from rktpy.linux.remove_tree import remove_tree
    from rktpy.store.rendering import render_steps

    target = os.path.abspath(directory)
    lookup.read_record(layout, image_id)
    manifest = lookup.read_file(layout.manifest(image_id))
    if os.path.lexists(target):
        if not overwrite:
            raise UsageError("output directory exists (try --overwrite)")
        if os.path.realpath(target) == "/":
            raise UsageError("this would delete your root filesystem. Refusing.")
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # Made where nobody else can get in while it is half there; what it replaces stays until it is whole.
        above, _, name = target.rpartition("/")
        private = f"{above}/.{name[:200]}.{os.urandom(6).hex()}"
        os.mkdir(private, 0o700)
        try:
            fresh = private + "/tree"
            if rootfs_only:
                render_steps(layout, steps, fresh)
            else:
                os.mkdir(fresh)
                os.chmod(fresh, 0o755)
                render_steps(layout, steps, fresh + "/rootfs")
                _write_manifest(fresh + "/manifest", manifest)
            _clear(target)
            os.rename(fresh, target)
        finally:
            remove_tree(private)
    except OSError as error:
        raise StoreError(f"cannot write output directory {directory}") from error


def _clear(target: str) -> None:
    from rktpy.linux.remove_tree import remove_tree

    if os.path.isdir(target) and not os.path.islink(target):
        remove_tree(target)
    elif os.path.lexists(target):
        os.unlink(target)


def _write_manifest(path: str, manifest: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(fd, manifest)
    finally:
        os.close(fd)
