"""Examining the whole store, and repairing it (``image check [--repair]``).

Two kinds of findings. What is *broken* no interrupted command leaves: damage to the disk, a file that someone changed or removed.
A *leftover* is what a killed command may leave: it harms nothing, and garbage collection removes it. A *note* is about an image
that is stored as it should be and yet cannot be run.

Other commands may work on the store meanwhile; what has vanished by the time it is looked at again is no finding.

Repair never invents anything. A cache (index, runnable view of an ACI, rendered tree) is dropped or made again; an image that
lacks a blob is dropped, so that it can be fetched again, and the finding says which.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from rktpy.errors import DigestMismatch, NotFoundError, RktpyError, StoreError
from rktpy.record import Record
from rktpy.store import blobs, images, locks, lookup, temporary, trees
from rktpy.store.paths import RECORD_MODE, create_directories, is_image_id, is_tree_id
from rktpy.store.tree_ready import marker, tree_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from rktpy.store.image_record import ImageRecord
    from rktpy.store.paths import Layout


class Problem(Record):
    """One finding.

    ``severity`` is ``broken``, ``leftover`` or ``note``, ``subject`` names the thing, ``repaired`` whether it has been
    put right.
    """

    severity: str
    subject: str
    detail: str
    repaired: bool = False


class _Finding(Record):
    severity: str
    subject: str
    detail: str
    repair: Callable[[], None] | None = None


def check(layout: Layout, *, repair: bool, deep: bool, trees_in_use: Collection[str] = ()) -> list[Problem]:
    """Everything that is not as it should be; an empty list for a sound store.

    With ``deep`` every blob is read and hashed, and every rendered tree compared with its images. With ``repair`` findings
    are put right where that is possible; ``trees_in_use`` (by pods) are never touched, and may outlive their images. Raises
    StoreError when the store cannot be examined.
    """
    problems: list[Problem] = []
    for part in (_directories, _index, _records, _manifests, _blobs, _trees, _dependencies, _temporary):
        for finding in part(layout, deep, trees_in_use):
            repaired = False
            detail = finding.detail
            if repair and finding.repair is not None:
                try:
                    finding.repair()
                    repaired = True
                except (RktpyError, OSError) as error:
                    detail = f"{detail} (repair failed: {error})"
            problems.append(Problem(finding.severity, finding.subject, detail, repaired))
    return problems


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError("cannot open store") from error


def _directories(layout: Layout, _deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    if os.path.exists(layout.cas):
        # The last one is missing when their maker was killed; the next one goes on.
        severity = "broken" if os.path.exists(layout.tree_locks) else "leftover"
        for path, _mode in layout.directories():
            if not os.path.isdir(path):
                yield _Finding(severity, path, "directory is missing", partial(create_directories, layout, anew=True))


def _index(layout: Layout, _deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    from rktpy.store import index

    try:
        lock = locks.acquire(layout.records_lock, exclusive=True)
    except StoreError:
        # Read-only: nobody changes records either.
        lock = locks.Lock(-1, "")
    with lock:
        detail = index.what_is_wrong(layout)
    if detail:
        yield _Finding("broken", "index", detail, partial(index.drop, layout))


def _records(layout: Layout, deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    for name in _listed(layout.images):
        path = f"{layout.images}/{name}"
        if not is_image_id(name):
            yield _Finding("broken", f"images/{name}", "is not an image record", partial(os.unlink, path))
            continue
        try:
            record = lookup.read_record(layout, name)
        except RktpyError as error:
            if not os.path.exists(path):
                continue
            detail = str(error.__cause__ or error)
            yield _Finding("broken", name, f"damaged record: {detail}", partial(_drop_image, layout, name))
            continue
        yield from _blobs_of(layout, record, deep)


def _blobs_of(layout: Layout, record: ImageRecord, deep: bool) -> Iterator[_Finding]:
    sizes = {layer.digest: layer.size for layer in record.layers}
    if record.format == "aci":
        sizes = dict.fromkeys(record.blobs, record.size)
    for digest in record.blobs:
        size = blobs.blob_size(layout, digest)
        detail = ""
        if size is None:
            detail = f"blob {digest} is missing"
        elif size != sizes.get(digest, size):
            detail = f"blob {digest} has {size} bytes instead of {sizes[digest]}"
        elif deep and _damaged(layout, digest):
            detail = f"blob {digest} is damaged"
        if detail and os.path.exists(layout.image(record.id)):
            yield _Finding("broken", record.id, detail, partial(_drop_image, layout, record.id, digest))


def _damaged(layout: Layout, digest: str) -> bool:
    try:
        return blobs.hash_blob(layout, digest)[0] != digest
    except NotFoundError:
        return False
    except StoreError:
        # The disk cannot read it.
        return True


def _drop_image(layout: Layout, image_id: str, bad_blob: str = "") -> None:
    """Remove a record, its runnable view and a bad blob. Rendered trees stay: pods may use them."""
    with locks.acquire(layout.image_lock(image_id), exclusive=True), locks.acquire(layout.records_lock, exclusive=True):
        paths = [layout.image(image_id), layout.manifest(image_id)]
        if bad_blob:
            paths.append(layout.blob(bad_blob))
        for path in paths:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass


def _manifests(layout: Layout, _deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    from rktpy.store.dependencies import read_manifest

    ids = lookup.image_ids(layout)
    for name in _listed(layout.manifests):
        if name not in ids:
            yield _Finding(
                "leftover", f"imageManifest/{name}", "belongs to no image", partial(images.remove_stray_manifests, layout)
            )
    for record in lookup.sound_records(layout, ids):
        try:
            name = read_manifest(layout, record.id).name
            detail = "" if name == record.name else f"the manifest names the image {name}, the record {record.name}"
        except RktpyError as error:
            detail = f"damaged manifest: {error}"
        if detail and os.path.exists(layout.image(record.id)):
            yield _Finding("broken", record.id, detail, partial(_manifest_again, layout, record))


def _manifest_again(layout: Layout, record: ImageRecord) -> None:
    if record.format == "aci":
        from rktpy.store.import_aci import stored_manifest

        manifest = stored_manifest(layout, record.blobs[0])
        with locks.acquire(layout.records_lock, exclusive=True):
            temporary.write_durably(layout, layout.manifest(record.id), manifest, RECORD_MODE)
    else:
        _drop_image(layout, record.id)


def _blobs(layout: Layout, deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    known = set(images.stored_blobs(layout))
    for algorithm in ("sha256", "sha512"):
        for name in _listed(f"{layout.blobs}/{algorithm}"):
            if f"{algorithm}:{name}" not in known:
                path = f"{layout.blobs}/{algorithm}/{name}"
                yield _Finding("broken", f"blobs/{algorithm}/{name}", "is not a blob", partial(os.unlink, path))
    needed = {digest for record in lookup.sound_records(layout, lookup.image_ids(layout)) for digest in record.blobs}
    for digest in sorted(known - needed):
        if deep and _damaged(layout, digest):
            path = layout.blob(digest)
            yield _Finding("broken", digest, "is damaged", partial(os.unlink, path))
        else:
            yield _Finding("leftover", digest, "belongs to no image")


def _trees(layout: Layout, deep: bool, in_use: Collection[str]) -> Iterator[_Finding]:
    ids = set(lookup.image_ids(layout))
    for name in _listed(layout.trees):
        if not is_tree_id(name):
            yield _Finding("broken", f"tree/{name}", "is not a rendered tree")
            continue
        severity, detail = _tree(layout, name, ids, deep, used=name in in_use)
        if detail and os.path.exists(layout.tree(name)):
            yield _Finding(severity, name, detail, None if name in in_use else partial(trees.remove, layout, name))


def _tree(layout: Layout, name: str, ids: Collection[str], deep: bool, *, used: bool) -> tuple[str, str]:
    if marker(layout, name) is None:
        return "broken", "tree without marker"
    if not tree_ready(layout, name):
        return "leftover", "tree of an earlier boot that was not written out"
    if not os.path.isdir(layout.tree(name) + "/rootfs"):
        return "broken", "tree without rootfs"
    orphan = trees.image_of(layout, name) not in ids
    if orphan and not used:
        return "leftover", "tree of an image that is not in the store"
    # Of a tree that pods keep beyond its image there may be nothing left that it could be compared with.
    if deep and not (orphan and not os.path.exists(layout.tree(name) + "/hash")):
        from rktpy.store.verify import verify_tree

        try:
            verify_tree(layout, name)
        except DigestMismatch as error:
            return "broken", str(error)
        except RktpyError as error:
            # Its blobs are damaged, which has been said, or the store is read-only.
            return "note", f"tree cannot be verified: {error}"
    return "", ""


def _dependencies(layout: Layout, _deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    """Dependencies that are missing or lead in a circle.

    Neither can be repaired here: one has to be fetched, the other never works.
    """
    from rktpy.store import dependencies

    edges: list[tuple[str, str]] = []
    for record in lookup.sound_records(layout, lookup.image_ids(layout)):
        if record.format != "aci":
            continue
        try:
            wanted = dependencies.read_manifest(layout, record.id).dependencies
        except RktpyError:
            continue
        for dependency in wanted:
            try:
                edges.append((record.id, dependencies.find(layout, dependency, record.id)))
            except RktpyError as error:
                yield _Finding("note", record.id, str(error))
    for circle in _circles(edges):
        yield _Finding("note", circle[0], f"image dependencies form a cycle: {', '.join(circle)}")


def _circles(edges: list[tuple[str, str]]) -> list[list[str]]:
    """The images that depend on each other in a circle, circle by circle."""
    if not edges:
        return []
    import networkx

    parts = [sorted(part) for part in networkx.strongly_connected_components(networkx.DiGraph(edges))]
    return sorted([part for part in parts if len(part) > 1 or (part[0], part[0]) in edges])


def _temporary(layout: Layout, _deep: bool, _in_use: Collection[str]) -> Iterator[_Finding]:
    def sweep() -> None:
        temporary.sweep(layout, 0)

    for name in temporary.abandoned(layout):
        yield _Finding("leftover", f"tmp/{name}", "abandoned", sweep)
