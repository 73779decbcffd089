"""Fetching OCI and Docker images: from registries, layouts and archives.

While the layers arrive they are unpacked already (:mod:`rktpy.store.streamed`); the tree is given its name only when every digest
was right, the policy has accepted the image and its record is written. Cold-path module.
"""

from __future__ import annotations

import os
from contextlib import closing

from rktpy.errors import UsageError
from rktpy.fetch.reference import DockerReference, LayoutReference, OCIArchiveReference
from rktpy.fetch.signatures import find_evidence_in_layout
from rktpy.formats.conversion import oci_config_to_manifest
from rktpy.formats.oci.image_name import parse_image_name
from rktpy.formats.oci.media_types import OCI_MANIFEST
from rktpy.formats.oci.platform import Platform, parse_platform, platform_of_machine
from rktpy.log import debug
from rktpy.stage0 import images
from rktpy.stage0.fetching import warn_insecure
from rktpy.stage0.fetching_signatures import find_signatures
from rktpy.store.image_record import ImageRecord, Layer
from rktpy.store.images import united_evidence
from rktpy.store.lookup import sound_records
from rktpy.trust.decision import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.fetch.pulled import PulledImage
    from rktpy.fetch.reference import DockerArchiveReference
    from rktpy.fetch.sink import LayerObserver
    from rktpy.formats.aci.manifest import ImageManifest
    from rktpy.stage0.options import FetchOptions, Globals
    from rktpy.store.store import Store

    OCIReference = DockerReference | LayoutReference | OCIArchiveReference | DockerArchiveReference


def from_transport(g: Globals, store: Store, reference: OCIReference, options: FetchOptions) -> str:
    """Fetch the image for the wanted platform, have it judged, make it an image of the store and render it; its ID.

    The policy is asked before the first byte is fetched, since it can refuse by name alone, and again with the image's digest.
    """
    images.judge_name(g, reference.text)
    warn_insecure(g, tls=isinstance(reference, DockerReference))
    platform = wanted_platform(options.platform)
    if options.pull_policy == "update" and isinstance(reference, DockerReference) and not options.platform:
        unchanged = _unchanged(g, store, reference)
        if unchanged:
            debug("image", f"image for {reference.text} has not changed, not fetching.")
            _look_again(g, store, unchanged, reference)
            store.touch(unchanged)
            if options.render:
                store.ensure_tree(unchanged)
            return unchanged
    debug("image", f'remote fetching from URL "{reference.text}"')
    if not options.render:
        return add_pulled(g, store, _pull(g, store, reference, platform, options, None), reference)
    with store.stream_tree() as tree:
        pulled = _pull(g, store, reference, platform, options, tree)
        tree.wait()
        image_id = add_pulled(g, store, pulled, reference)
        tree.publish(image_id)
    return image_id


def wanted_platform(text: str) -> Platform:
    """``os/architecture[/variant]``, or the platform of this machine when empty. Raises UsageError."""
    return parse_platform(text) if text else platform_of_machine(os.uname().machine)


def _pull(
    g: Globals, store: Store, reference: OCIReference, platform: Platform, options: FetchOptions, observer: LayerObserver | None
) -> PulledImage:
    if isinstance(reference, DockerReference):
        from rktpy.fetch.progress_output import open_progress
        from rktpy.stage0.transport import open_registry

        with closing(open_progress(options.progress)) as progress, open_registry(g, reference) as registry:
            return registry.pull(store, platform, observer=observer, progress=progress)
    from rktpy.fetch.layouts import pull_docker_archive, pull_layout, pull_oci_archive

    if isinstance(reference, LayoutReference):
        return pull_layout(reference.path, reference.ref, platform, store, observer)
    if isinstance(reference, OCIArchiveReference):
        return pull_oci_archive(reference.path, reference.ref, platform, store, observer)
    return pull_docker_archive(reference.path, reference.ref, store, observer)


def _unchanged(g: Globals, store: Store, reference: DockerReference) -> str | None:
    """The stored image when the registry says that the reference still means it."""
    record = store.find_by_reference(reference.text)
    if record is None:
        return None
    from rktpy.stage0.transport import open_registry

    with open_registry(g, reference) as registry:
        digest = registry.head()
    return record.id if digest in (record.index_digest, record.id.replace("-", ":", 1)) else None


def _look_again(g: Globals, store: Store, image_id: str, reference: OCIReference) -> None:
    """Judge a stored image anew, by its signatures and by those that there are now. Raises TrustError."""
    record = store.record(image_id)
    evidence = find_signatures(g, store, reference, image_id.replace("-", ":", 1))
    if any(one not in record.evidence for one in evidence):
        record = store.add_image(record.replace(evidence=evidence), store.manifest_bytes(image_id))
    images.require(g, images.decide_stored(g, store, record, reference.text, insecure=g.insecure.image))


def add_pulled(
    g: Globals, store: Store, pulled: PulledImage, reference: OCIReference, archive: OCIArchiveReference | None = None
) -> str:
    """Look for the signatures of what was pulled, have it judged and write its record; the image ID.

    ``archive`` is where the image lies if that is not where ``reference`` names (``image load``). All signatures that it holds
    are then kept. A rule that accepts ``reference`` without any signature speaks of what its registry delivers and not of a
    file, so the archive itself must be accepted too.
    """
    if archive is None:
        evidence = find_signatures(g, store, reference, pulled.manifest_digest)
    else:
        evidence = tuple([one.to_dict() for one in find_evidence_in_layout(archive, pulled.manifest_digest, store)])
    known = [record.evidence for record in sound_records(store.layout, [pulled.image_id])]
    image = Image(
        pulled.image_id,
        "oci",
        reference.text,
        pulled.manifest_digest,
        pulled.manifest.media_type or OCI_MANIFEST,
        len(pulled.manifest_bytes),
        pulled.index_digest or "",
    )
    at_hand = united_evidence(known[0] if known else (), evidence)
    decision = images.decide_image(g, store, image, at_hand, insecure=g.insecure.image)
    images.require(g, decision)
    if archive is not None and archive != reference and not decision.evidence:
        itself = image.replace(name=archive.text)
        images.require(g, images.decide_image(g, store, itself, at_hand, insecure=g.insecure.image))
    manifest = runnable_view(pulled, reference)
    blobs = [pulled.manifest_digest, pulled.config_digest, *[layer.digest for layer in pulled.layers]]
    if pulled.index_digest:
        blobs.append(pulled.index_digest)
    record = ImageRecord(
        id=pulled.image_id,
        format="oci",
        name=manifest.name,
        labels=manifest.labels,
        size=pulled.size,
        blobs=tuple(dict.fromkeys(blobs)),
        layers=tuple([Layer(one.digest, one.diff_id, one.media_type, one.size) for one in pulled.layers]),
        references=(reference.text,),
        evidence=evidence,
        index_digest=pulled.index_digest,
        latest=isinstance(reference, DockerReference) and reference.tag == "latest",
    )
    store.add_image(record, manifest.to_bytes())
    return record.id


def runnable_view(pulled: PulledImage, reference: OCIReference) -> ImageManifest:
    """The appc manifest that stage0 runs from, named as the image is named where it came from."""
    registry, repository, tag = _names(pulled, reference)
    return oci_config_to_manifest(
        pulled.config,
        name=f"{registry}/{repository}" if registry else repository,
        tag=tag,
        manifest_digest=pulled.manifest_digest,
        image_id=pulled.config_digest,
        original_name=reference.text.partition(":")[2].removeprefix("//"),
        registry=registry,
        repository=repository,
    )


def _names(pulled: PulledImage, reference: OCIReference) -> tuple[str, str, str]:
    """Registry, repository and tag. A layout's reference name may be a whole image name, or a tag of the directory's name."""
    if isinstance(reference, DockerReference):
        return reference.host, reference.repository, reference.tag
    ref = reference.ref if not reference.ref.startswith("@") else ""
    if "/" in ref or (ref and not isinstance(reference, LayoutReference | OCIArchiveReference)):
        try:
            name = parse_image_name(ref)
            return name.host, name.repository, name.tag
        except UsageError:
            pass
    base = os.path.basename(reference.path).removesuffix(".tar").lower()
    return "", base or "image", ref
