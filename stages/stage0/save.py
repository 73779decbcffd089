"""Writing stored images to one file with their signatures, for machines without a network. Cold-path module.

OCI images go into an OCI archive; its ``index.json`` has them under their names, their cosign signatures under cosign's tags, and
all other signatures as referrers, which are listed under the fallback tag too (rktpy-archive(5)). An ACI is a file already: it is
written as it is stored, with its signature beside it. The bytes depend on images, names and signatures alone.
"""

from __future__ import annotations

import os

from rktpy.errors import InputError, UsageError
from rktpy.fetch.reference import DockerReference, parse_reference
from rktpy.formats.oci.artifacts import EMPTY_CONFIG, EMPTY_DIGEST, cosign_tag, fallback_tag
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.oci.layout import REF_NAME
from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from rktpy.formats.trust import attachments
from rktpy.formats.trust.evidence import COSIGN
from rktpy.stage0.images import resolve_image
from rktpy.stage0.signatures import detached_signature, manifest_of, stored_evidence, subject_of
from rktpy.store.export import write_file
from rktpy.store.oci_archive import image_entry, write_layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rktpy.formats.trust.evidence import Evidence
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.store import Store

_WHAT = "output file"


def save(store: Store, texts: list[str], path: str, *, signatures: bool, overwrite: bool) -> None:
    """Write the images that ``texts`` name to the file ``path``.

    Raises NotFoundError, UsageError when the file is there and may not be replaced, InputError for images that do not fit into
    one file, StoreError.
    """
    chosen = [(text, store.record(resolve_image(store, text))) for text in texts]
    if any(record.format != "oci" for _text, record in chosen):
        if len(chosen) > 1:
            raise InputError("an ACI is a file of its own and cannot be saved together with other images")
        _save_aci(store, chosen[0][1], path, signatures=signatures, overwrite=overwrite)
        return
    archive = _Archive(store)
    for name, record in sorted({(_name(text, record), record.id): record for text, record in chosen}.items()):
        archive.add(name[0], record, signatures=signatures)
    locks = [store.layout.image_lock(record.id) for _text, record in chosen]
    write_file(path, _WHAT, locks, archive.write, overwrite=overwrite)


def _save_aci(store: Store, record: ImageRecord, path: str, *, signatures: bool, overwrite: bool) -> None:
    if not path.endswith(".aci"):
        raise UsageError(f"the name of the file for an ACI must end in .aci: {path}")
    signature = detached_signature(store, record) if signatures else None
    if signature is not None and not overwrite and os.path.lexists(path + ".asc"):
        raise UsageError(f"{_WHAT} {path}.asc exists (try --overwrite)")
    store.export(record.id, path, overwrite=overwrite)
    if signature is not None:
        write_file(path + ".asc", _WHAT, (), lambda write: write(signature), overwrite=overwrite)


def _name(text: str, record: ImageRecord) -> str:
    """What the archive calls an image: the name it was asked for by, or else the last one that it was fetched by."""
    for candidate in (text, *record.references[::-1]):
        reference = parse_reference(candidate)
        if isinstance(reference, DockerReference):
            return reference.text.removeprefix("docker://")
    for candidate in record.references[::-1]:
        last = candidate.rpartition("/")[2].rpartition(":")
        if last[1] and not last[2].startswith("@"):
            return last[2]
    return ""


class _Archive:
    """What goes into an archive: entries of its index, blobs of the store, and blobs that are made for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: list[dict[str, Any]] = []
        self._attached: dict[str, dict[str, Any]] = {}
        self._names: set[str] = set()
        self._stored: set[str] = set()
        self._made: dict[str, bytes] = {}

    def write(self, write: Any) -> None:
        """Write the archive through ``write``."""
        entries = [*self._entries, *self._attached.values()]
        write_layout(self._store.layout, entries, self._stored, self._made, write)

    def add(self, name: str, record: ImageRecord, *, signatures: bool) -> None:
        """Add one image."""
        if name in self._names:
            raise InputError(f"two images would be called {name!r} in the archive; save them by the names they were fetched by")
        self._names.add(name)
        evidence = stored_evidence(record)
        entry = image_entry(self._store.layout, record, name)
        self._entries.append(entry)
        self._stored.add(entry["digest"])
        manifest = manifest_of(self._store, record)
        self._stored.update([manifest.config.digest, *[layer.digest for layer in manifest.layers]])
        if signatures and evidence:
            self._attach(subject_of(manifest, record), sorted(evidence, key=_order))

    def _attach(self, subject: dict[str, Any], evidence: list[Evidence]) -> None:
        digest: str = subject["digest"]
        for one in evidence:
            self._stored.update([blob for _role, blob in one.blobs])
        for suffix in ("sig", "att"):
            group = [one for one in evidence if one.family == COSIGN and attachments.cosign_suffix(one) == suffix]
            layers = [attachments.cosign_layer(one, self._size(one)) for one in group]
            tag = cosign_tag(digest, suffix)
            made = attachments.cosign_manifest(layers) if layers and tag else None
            if made is not None:
                self._made[sha256_digest(made[1])] = made[1]
                self._tag(tag, OCI_MANIFEST, made[0])
        referrers = [attachments.referrer_of(one, subject, self._size(one)) for one in evidence if attachments.is_referrer(one)]
        for referrer in referrers:
            self._made[referrer.digest] = referrer.data
            self._attached[referrer.digest] = referrer.entry
        if referrers:
            self._made[EMPTY_DIGEST] = EMPTY_CONFIG
            index = attachments.fallback_index([referrer.entry for referrer in referrers])
            if index is not None:
                self._tag(fallback_tag(digest), OCI_INDEX, index)

    def _tag(self, tag: str, media_type: str, data: bytes) -> None:
        digest = sha256_digest(data)
        self._made[digest] = data
        entry = {"mediaType": media_type, "digest": digest, "size": len(data), "annotations": {REF_NAME: tag}}
        self._attached[f"{tag} {digest}"] = entry

    def _size(self, evidence: Evidence) -> int:
        digest = evidence.blobs[0][1]
        size = self._store.blob_size(digest)
        if size is None:
            raise InputError(f"the signature {digest} is not in the store (see image check)")
        return size


def _order(evidence: Evidence) -> tuple[object, ...]:
    return evidence.family, evidence.blobs, evidence.annotations
