"""Pushing stored images and their signatures to registries. Cold-path module."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from rktpy.errors import InputError, NotFoundError, UsageError
from rktpy.fetch.attach import attach
from rktpy.fetch.progress_output import open_progress
from rktpy.fetch.push import manifest_exists, open_push, push_image
from rktpy.fetch.reference import DockerReference, parse_reference
from rktpy.formats.trust.evidence import SIMPLE_SIGNING
from rktpy.log import note
from rktpy.stage0.signatures import digest_of_image, manifest_of, read_evidence, stored_evidence, subject_of
from rktpy.stage0.transport import configuration, open_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rktpy.fetch.registry_session import Session
    from rktpy.formats.trust.evidence import Evidence
    from rktpy.stage0.options import Globals
    from rktpy.store.image_record import ImageRecord
    from rktpy.store.store import Store


def push(g: Globals, store: Store, image_id: str, target: str, *, signatures: bool, progress: str) -> str:
    """Push a stored OCI image to ``target`` (``docker://host/repository[:tag]``); the name and digest under which it is there.

    ``signatures`` are pushed too, those kept beside the image; ``progress`` is as in
    :class:`~rktpy.stage0.options.FetchOptions`. Raises UsageError, InputError for an ACI, FetchError, StoreError.
    """
    reference = registry_reference(target)
    record = store.record(image_id)
    require_oci(record, "cannot be pushed to a registry; write it to a file with image export and serve that over https")
    digest = digest_of_image(record)
    if reference.digest and reference.digest != digest:
        raise UsageError(f"{target}: names another digest than that of the image, {digest}")
    if g.insecure.tls:
        note("image", "warning: TLS verification has been disabled")
    manifest = manifest_of(store, record)
    with (
        closing(open_progress(progress)) as shown,
        closing(open_push(open_client(g), reference, configuration(g))) as session,
    ):
        push_image(
            session, manifest, store.blob_path, reference.tag, digest=digest, mounts=_mounts(record, reference), progress=shown
        )
        if signatures:
            for place in _attach(session, store, record, stored_evidence(record)):
                note("image", place)
    return f"docker://{reference.name}@{digest}"


def push_signatures(g: Globals, store: Store, image_id: str, target: str, found: Iterable[Evidence]) -> list[str]:
    """Push signatures of an image to a repository that has the image; what came of it. Raises as :func:`push`."""
    reference = registry_reference(target)
    record = store.record(image_id)
    with closing(open_push(open_client(g), reference, configuration(g))) as session:
        if not manifest_exists(session, digest_of_image(record)):
            raise NotFoundError(f"{session.name} does not have the image {digest_of_image(record)}: push it first (image push)")
        return _attach(session, store, record, found)


def registry_reference(target: str) -> DockerReference:
    """What ``target`` names in a registry. Raises UsageError for all else."""
    reference = parse_reference(target)
    if not isinstance(reference, DockerReference):
        raise UsageError(f"cannot push to {target!r}: a place in a registry is written docker://HOST/NAME[:TAG]")
    return reference


def require_oci(record: ImageRecord, problem: str) -> None:
    """Raise InputError with ``problem`` for an ACI."""
    if record.format != "oci":
        raise InputError(f"image {record.name} ({record.id[:19]}) is an ACI, which {problem}")


def _attach(session: Session, store: Store, record: ImageRecord, found: Iterable[Evidence]) -> list[str]:
    found = list(found)
    simple = len([one for one in found if one.family == SIMPLE_SIGNING])
    if simple:
        note("image", f"not pushing {simple} simple signatures: their place is a lookaside, not the registry (image sign)")
    manifest = manifest_of(store, record)
    places = attach(session, subject_of(manifest, record), found, partial(read_evidence, store))
    return [f"signatures pushed to {place}" for place in places]


def _mounts(record: ImageRecord, reference: DockerReference) -> list[str]:
    """The repositories of the same registry that the image was fetched from: its blobs need not be sent again."""
    found: list[str] = []
    for text in record.references:
        other = parse_reference(text)
        if isinstance(other, DockerReference) and other.host == reference.host and other.repository != reference.repository:
            found.append(other.repository)
    return list(dict.fromkeys(found))
