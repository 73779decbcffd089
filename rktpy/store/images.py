"""Adding and removing images: the changes to ``cas/images`` and to what hangs on it.

An image is there from the moment its record is; so the record is written last and removed first. What a killed process leaves
(a runnable view or blobs without a record) is seen by nobody and removed by the next garbage collection.
"""

from __future__ import annotations

import time
from os import listdir, stat, unlink
from typing import TYPE_CHECKING, Any

from rktpy.errors import DigestMismatch, ImageGone, InputError, NotFoundError, StoreError
from rktpy.formats.aci.manifest import ImageManifest
from rktpy.formats.aci.types import NameValue
from rktpy.store import locks
from rktpy.store.blobs import blob_size
from rktpy.store.lookup import image_ids, read_record, sound_records
from rktpy.store.paths import RECORD_MODE, is_hex
from rktpy.store.temporary import sync_directory, write_durably

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from rktpy.store.image_record import ImageRecord
    from rktpy.store.paths import Layout


#: How many signatures of one image are kept. Each fetch may find other ones, and whoever may push makes as many as he likes.
MAX_EVIDENCE = 512


def add(layout: Layout, record: ImageRecord, manifest: bytes) -> ImageRecord:
    """Write an image's runnable view and record, or merge into the record that is there; returns what was written.

    References and evidence are united, the import time is the new one's (now, if it is 0). A reference leads to the image that
    was fetched by it last, so it is taken from any other image; so is ``latest`` among images that differ in version only.
    Raises FormatError for a manifest that is none, StoreError when a blob is missing or the disk is full.
    """
    ImageManifest.from_bytes(manifest)
    labels = tuple([NameValue(label.name, label.value) for label in record.labels])
    record = record.replace(labels=labels, import_time=record.import_time or time.time_ns())
    with locks.acquire(layout.records_lock, exclusive=True):
        for digest in (*record.blobs, *evidence_blobs(record.evidence)):
            try:
                stat(layout.blob(digest))
            except FileNotFoundError:
                raise StoreError(f"image {record.id}: blob {digest} is not in the store") from None
            except OSError as error:
                raise StoreError(f"cannot examine {digest}") from error
        try:
            old = read_record(layout, record.id)
        except (NotFoundError, StoreError):
            # Not there, or damaged: what we were given is whole, so it replaces the damaged one.
            old = None
        if old is not None:
            record = record.replace(
                latest=record.latest or old.latest,
                references=_united(old.references, record.references),
                evidence=_there(layout, united_evidence(old.evidence, record.evidence)),
                index_digest=record.index_digest or old.index_digest,
            )
        record = record.replace(blobs=tuple(dict.fromkeys([*record.blobs, *evidence_blobs(record.evidence)])))
        write_durably(layout, layout.manifest(record.id), manifest, RECORD_MODE)
        write_durably(layout, layout.image(record.id), record.to_bytes(), RECORD_MODE)
        _give_way(layout, record)
    return record


def _united(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    return old + tuple([item for item in new if item not in old])


def united_evidence(old: tuple[dict[str, Any], ...], new: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """What is kept of an image's signatures: those found now, then those found before that fit in.

    Of the same signature what was found now counts alone: it may have been revoked since.
    """
    envelopes = [_envelope(one) for one in new]
    older = [one for one in old if one not in new and (not _envelope(one) or _envelope(one) not in envelopes)]
    return (new + tuple(older))[:MAX_EVIDENCE]


def _envelope(evidence: dict[str, Any]) -> str:
    """The digest of the signature itself where answers about its revocation are kept beside it."""
    blobs: Any = evidence.get("blobs")
    if not isinstance(blobs, dict):
        return ""
    envelope: Any = blobs.get("envelope")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return envelope if isinstance(envelope, str) else ""


def evidence_blobs(evidence: tuple[dict[str, Any], ...]) -> list[str]:
    """The digests of the blobs that signatures are kept in (:class:`rktpy.formats.trust.evidence.Evidence`)."""
    found: list[str] = []
    for one in evidence:
        blobs: object = one.get("blobs")
        if isinstance(blobs, dict):
            found += [digest for digest in blobs.values() if isinstance(digest, str)]  # pyright: ignore[reportUnknownVariableType]
    return found


def _there(layout: Layout, evidence: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Those signatures whose blobs are in the store: one found earlier may be damaged, and is no reason to refuse the image."""
    return tuple([one for one in evidence if all(blob_size(layout, digest) is not None for digest in evidence_blobs((one,)))])


def _give_way(layout: Layout, winner: ImageRecord) -> None:
    for other in sound_records(layout, [image_id for image_id in image_ids(layout) if image_id != winner.id]):
        references = tuple([text for text in other.references if text not in winner.references])
        latest = other.latest and not (winner.latest and _kin(other, winner))
        if references != other.references or latest != other.latest:
            path = layout.image(other.id)
            used = stat(path).st_mtime_ns
            changed = other.replace(references=references, latest=latest)
            write_durably(layout, path, changed.to_bytes(), RECORD_MODE, mtime_ns=used)


def _kin(one: ImageRecord, other: ImageRecord) -> bool:
    def beside_version(record: ImageRecord) -> list[tuple[str, str]]:
        return sorted([(label.name, label.value) for label in record.labels if label.name != "version"])

    return one.name == other.name and beside_version(one) == beside_version(other)


def remove(layout: Layout, image_id: str, trees_in_use: Collection[str], trees_needed: Collection[str] = ()) -> None:
    """Remove an image, the trees rendered for it that no pod uses, and the blobs that no other image needs.

    ``trees_in_use``: IDs of the trees that pods use, which stay until the next collection after those pods. ``trees_needed``: of
    those, the trees without which a pod cannot run or be run; they are made to last without the image. A damaged record can be
    removed too. Raises NotFoundError, StoreError, and what rendering raises for a needed tree that a restart of the machine has
    made doubtful.
    """
    from rktpy.store import remotes, trees

    _make_last(layout, image_id, trees_needed)
    for tree_id in trees.trees_of(layout, image_id):
        if tree_id not in trees_in_use:
            trees.remove(layout, tree_id)
    try:
        with (
            locks.acquire(layout.image_lock(image_id), exclusive=True) as image_lock,
            locks.acquire(layout.records_lock, exclusive=True),
        ):
            blobs = [digest for record in sound_records(layout, [image_id]) for digest in record.blobs]
            try:
                unlink(layout.image(image_id))
            except FileNotFoundError:
                raise ImageGone(f"image {image_id} is not in the store") from None
            finally:
                image_lock.forget_file()
            sync_directory(layout.images)
            for path in (layout.manifest(image_id), layout.facts(image_id)):
                try:
                    unlink(path)
                except FileNotFoundError:
                    pass
        remotes.forget_image(layout, image_id)
        remove_unreferenced(layout, blobs)
    except OSError as error:
        raise StoreError(f"cannot remove image {image_id}") from error


def _make_last(layout: Layout, image_id: str, trees_needed: Collection[str]) -> None:
    """Write out those of the trees ``trees_needed`` that could not be rendered again without the image."""
    from rktpy.store import trees
    from rktpy.store.tree_ready import SYNCED, marker, tree_ready

    pending: list[str] = []
    for tree_id in trees_needed:
        top = trees.image_of(layout, tree_id)
        # An ACI may be a dependency of any other.
        concerned = top == image_id or (top.startswith("sha512-") and image_id.startswith("sha512-"))
        if not concerned or marker(layout, tree_id) in (None, SYNCED):
            continue
        if not tree_ready(layout, tree_id):
            try:
                read_record(layout, top)
            except (NotFoundError, StoreError):
                continue  # lost already
            try:
                trees.ensure(layout, top)
            except (NotFoundError, InputError, DigestMismatch):
                # A blob or a dependency was lost, or there are others now: nothing that this removal changes.
                continue
        pending.append(tree_id)
    if pending:
        trees.settle(layout, pending)


def referenced_blobs(layout: Layout) -> set[str] | None:
    """The digests that some image needs; None when a damaged record makes that unknowable. Hold the records lock."""
    ids = image_ids(layout)
    records = sound_records(layout, ids)
    if len(records) < len(ids):
        return None
    return {digest for record in records for digest in record.blobs}


def stored_blobs(layout: Layout) -> Iterable[str]:
    """The digests of all blob files; files with other names are not blobs."""
    for algorithm, length in (("sha256", 64), ("sha512", 128)):
        try:
            names = listdir(f"{layout.blobs}/{algorithm}")
        except FileNotFoundError:
            continue
        for name in sorted(names):
            if len(name) == length and is_hex(name):
                yield f"{algorithm}:{name}"


def unreferenced_blobs(layout: Layout, among: Iterable[str]) -> list[str]:
    """Those of the digests ``among`` that no image needs. Hold the records lock."""
    needed = referenced_blobs(layout)
    return [] if needed is None else [digest for digest in among if digest not in needed]


def remove_unreferenced(layout: Layout, among: Iterable[str], before_ns: int | None = None) -> list[str]:
    """Remove those of the blobs ``among`` that no image needs, and return their digests.

    ``before_ns``: only those that arrived before that time. Does nothing while anyone fetches, for his blobs belong to no
    image yet; nor while a record is damaged, for the blobs that it named may be all that is left of its image. Raises
    OSError.
    """
    removed: list[str] = []
    with locks.acquire(layout.records_lock, exclusive=True):
        lease = locks.try_acquire(layout.blobs_lock, exclusive=True)
        if lease is None:
            return removed
        with lease:
            for digest in unreferenced_blobs(layout, among):
                path = layout.blob(digest)
                try:
                    if before_ns is None or stat(path).st_mtime_ns < before_ns:
                        unlink(path)
                        removed.append(digest)
                except FileNotFoundError:
                    continue
    return removed


def remove_stray_manifests(layout: Layout) -> None:
    """Remove runnable views, and notes about signatures, that belong to no image. Raises OSError."""
    with locks.acquire(layout.records_lock, exclusive=True):
        ids = set(image_ids(layout))
        for name in listdir(layout.manifests):
            if name not in ids:
                unlink(f"{layout.manifests}/{name}")
        for path in fact_files(layout):
            if path.rpartition("/facts-")[2] not in ids:
                unlink(path)


def fact_files(layout: Layout) -> list[str]:
    """The paths of the notes about signatures."""
    directory = f"{layout.cas}/db"
    return [f"{directory}/{name}" for name in listdir(directory) if name.startswith("facts-")]
