"""Proving that what the store holds of an image is what was fetched (``image verify``).

Blobs are proven by their digests. A rendered tree is proven by its content hash; the first time, the hash that it must have is
found by rendering a second time from the proven blobs, later it is the one kept in the tree's file ``hash``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rktpy.errors import DigestMismatch, NotFoundError, StoreError, innermost
from rktpy.record import Record
from rktpy.store import blobs, dependencies, locks, lookup, trees
from rktpy.store.temporary import write_durably
from rktpy.store.tree_ready import tree_id, tree_ready
from rktpy.store.treehash import differences, hash_tree

if TYPE_CHECKING:
    from rktpy.store.paths import Layout

SHOWN = 5
"""How many differences of a tree are named."""


class Verified(Record):
    """What a verification found.

    ``outcome`` is ``verified``, ``not rendered`` (the blobs are good, there is no tree), ``rebuilt`` (the tree was wrong and
    has been rendered anew) or ``damaged`` (it was wrong, and rebuilding was not asked for). ``problem`` says what was wrong
    with it.
    """

    image_id: str
    tree_id: str
    outcome: str
    problem: str = ""


def verify_blobs(layout: Layout, image_id: str) -> None:
    """Read and hash every blob of an image. Raises NotFoundError for a missing, DigestMismatch for a damaged one."""
    for digest in lookup.read_record(layout, image_id).blobs:
        actual, _ = blobs.hash_blob(layout, digest)
        if actual != digest:
            raise DigestMismatch(f"{digest} of image {image_id} is damaged in the store")


def verify_image(layout: Layout, image_id: str, *, rebuild: bool) -> Verified:
    """Check an image's blobs, those of its dependencies, and its rendered tree.

    Raises NotFoundError, DigestMismatch when a blob is damaged (then only fetching it again helps), StoreError.
    """
    steps = trees.steps_of(layout, image_id)
    for step_id in {step.image_id for step in steps}:
        verify_blobs(layout, step_id)
    wanted = tree_id([step.image_id for step in steps])
    if not tree_ready(layout, wanted):
        return Verified(image_id, wanted, "not rendered")
    problem = _compare(layout, wanted, steps, image_id, rebuild=rebuild)
    if not problem:
        return Verified(image_id, wanted, "verified")
    return Verified(image_id, wanted, "rebuilt" if rebuild else "damaged", problem)


def verify_tree(layout: Layout, wanted: str) -> None:
    """Check one tree. Raises NotFoundError when it is not rendered, DigestMismatch when it is not what it should be."""
    if not tree_ready(layout, wanted):
        raise NotFoundError(f"tree {wanted} is not rendered")
    image_id = trees.image_of(layout, wanted)
    if _kept(layout, wanted):
        steps: list[dependencies.Step] = []
    else:
        steps = trees.steps_of(layout, image_id)
        if tree_id([step.image_id for step in steps]) != wanted:
            raise StoreError(f"tree {wanted} cannot be verified: the dependencies of image {image_id} have changed")
    problem = _compare(layout, wanted, steps, image_id, rebuild=False)
    if problem:
        raise DigestMismatch(f"tree {wanted}: {problem}")


def _kept(layout: Layout, wanted: str) -> str:
    try:
        return lookup.read_file(layout.tree(wanted) + "/hash").decode("ascii", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"cannot examine tree {wanted}") from error


def _compare(layout: Layout, wanted: str, steps: list[dependencies.Step], image_id: str, *, rebuild: bool) -> str:
    """What is wrong with a tree, empty if nothing is; with ``rebuild`` it is put right."""
    path = layout.tree(wanted)
    with locks.acquire(layout.tree_lock(wanted), exclusive=True):
        expected = _kept(layout, wanted)
        try:
            actual = hash_tree(path + "/rootfs")
        except StoreError as error:
            actual = innermost(error)
        if expected and actual == expected:
            return ""
        if expected and not rebuild:
            return f"wrong tree hash: {actual}, expected: {expected}"
        with trees.render_aside(layout, steps, image_id) as fresh:
            true = hash_tree(fresh.path + "/rootfs")
            if actual == true:
                write_durably(layout, path + "/hash", true.encode(), trees.FILE_MODE)
                return ""
            problem = f"wrong tree hash: {actual}, expected: {true}{_named(path, fresh.path)}"
            if rebuild:
                trees.put_in_place(layout, wanted, fresh)
                write_durably(layout, path + "/hash", true.encode(), trees.FILE_MODE)
        return problem


def _named(path: str, fresh: str) -> str:
    try:
        found = differences(path + "/rootfs", fresh + "/rootfs", SHOWN + 1)
    except StoreError:
        return ""
    more = ", …" if len(found) > SHOWN else ""
    return f" ({', '.join(found[:SHOWN])}{more})"
