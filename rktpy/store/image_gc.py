"""Garbage collection of the store (``image gc``).

Source: rkt's ``image gc``: rendered trees that no pod uses go at once, images when they were not used for the grace period and no
running pod was made of them. Beyond it: what died half-made, downloads that nobody resumed, blobs that became part of no image.
"""

from __future__ import annotations

import time
from os import listdir
from typing import TYPE_CHECKING

from rktpy.errors import NotFoundError, RktpyError, StoreError
from rktpy.record import Record
from rktpy.store import images, listing, locks, lookup, remotes, trees
from rktpy.store.temporary import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rktpy.store.paths import Layout


class Collected(Record):
    """What a collection did: IDs of removed trees and images, digests of removed blobs, names of removed temporary files.

    ``failures`` are pairs (what was to be removed, error); they stop nothing else. ``written_out`` are trees that survive a
    restart of the machine from now on.
    """

    trees: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    blobs: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()
    written_out: tuple[str, ...] = ()
    failures: tuple[tuple[str, RktpyError], ...] = ()


def collect(layout: Layout, grace_ns: int, in_use: Callable[[], tuple[Collection[str], Collection[str]]]) -> Collected:
    """Remove what is not needed.

    ``in_use`` is called while the prepare lock is held exclusively, so that no pod comes into being meanwhile; it gives the
    IDs of the trees that any pod refers to and of the images of running pods. ``grace_ns``: how long an image, a download or
    a blob without image is kept after its last use. Raises StoreError when the store cannot be changed at all.
    """
    failures: list[tuple[str, RktpyError]] = []
    with locks.acquire(layout.prepare_lock, exclusive=True):
        used_trees, used_images = in_use()
        removed_trees: list[str] = []
        for tree_id in trees.tree_ids(layout):
            if tree_id not in used_trees:
                try:
                    trees.remove(layout, tree_id)
                    removed_trees.append(tree_id)
                except RktpyError as error:
                    failures.append((tree_id, error))
        before = time.time_ns() - grace_ns
        removed_images: list[str] = []
        for image_id in _unneeded(layout, before, used_trees, used_images):
            try:
                images.remove(layout, image_id, used_trees)
                removed_images.append(image_id)
            except NotFoundError:
                continue
            except RktpyError as error:
                failures.append((image_id, error))
    try:
        images.remove_stray_manifests(layout)
        remotes.forget_missing(layout, set(lookup.image_ids(layout)))
        blobs = images.remove_unreferenced(layout, images.stored_blobs(layout), before)
        swept = sweep(layout, before)
        _sweep_locks(layout)
    except OSError as error:
        raise StoreError("cannot collect garbage") from error
    settled = trees.settle(layout)
    return Collected(tuple(removed_trees), tuple(removed_images), tuple(blobs), tuple(swept), tuple(settled), tuple(failures))


def _unneeded(layout: Layout, before_ns: int, used_trees: Collection[str], used_images: Collection[str]) -> list[str]:
    """The images that may go: not used since ``before_ns``, and none that is needed by one that stays.

    The image of a used tree stays, since the tree may have to be rendered again; and so do the dependencies of what stays, which
    nobody uses by themselves.
    """
    ids = lookup.image_ids(layout)
    needed = {*used_images, *[trees.image_of(layout, tree_id) for tree_id in used_trees]}
    for image_id in ids:
        try:
            if image_id in needed or listing.last_used(layout, image_id) >= before_ns:
                needed.update([step.image_id for step in trees.steps_of(layout, image_id)])
        except RktpyError:
            # What is damaged or lacks a dependency needs nothing that could be told.
            needed.add(image_id)
    return [image_id for image_id in ids if image_id not in needed]


def _sweep_locks(layout: Layout) -> None:
    """Remove the lock files of trees and images that are not there (any more)."""
    there = {*trees.tree_ids(layout), *lookup.image_ids(layout), "records", "blobs"}
    for directory in (layout.tree_locks, layout.image_locks):
        locks.sweep(directory, [name for name in listdir(directory) if name not in there])
