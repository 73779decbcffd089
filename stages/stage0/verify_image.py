"""Judging an image in a registry that somebody else is about to pull: ``rktpy verify-image``.

The trust policy is asked as at a fetch, about the name and the digest that the caller has resolved. What is fetched is the
manifest and the signatures; they are kept in a temporary store for as long as that takes.

Cold-path module.
"""

from __future__ import annotations

import tempfile

from rktpy.errors import FormatError, TrustRejected, UsageError
from rktpy.fetch.reference import DockerReference, parse_reference
from rktpy.formats.oci.digest import parse_digest
from rktpy.formats.oci.index import ImageIndex
from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from rktpy.formats.oci.parse import parse_manifest_document
from rktpy.stage0 import images
from rktpy.store.store import Store
from rktpy.trust.decision import ACCEPTED, Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.oci.descriptor import Descriptor
    from rktpy.stage0.options import Globals
    from rktpy.trust.decision import Decision

#: Most manifests of an index that are judged one by one.
MAX_MANIFESTS = 64


def verify_image(g: Globals, name: str, digest: str, descriptor: Descriptor | None) -> list[Decision]:
    """The decisions about the image ``name`` with the manifest or index ``digest``, all of which must be acceptances.

    An index is accepted when it is signed itself. Otherwise each of its manifests must be: who pulls may choose any of them.
    ``descriptor`` is the caller's, and must agree with what the registry has. Raises UsageError, FetchError, TrustError,
    ConfigError and FormatError.
    """
    reference = parse_reference(f"docker://{name}")
    if not isinstance(reference, DockerReference):
        raise UsageError(f"{name!r} is not the name of an image in a registry")
    try:
        parse_digest(digest, "digest", "")
    except FormatError as error:
        raise UsageError(f"--digest: {error.problem}") from None
    if reference.digest and reference.digest != digest:
        raise TrustRejected(f"the name {name} is about another image than the digest {digest}")
    if descriptor is not None and descriptor.digest != digest:
        raise TrustRejected(f"the descriptor is about {descriptor.digest}, not about {digest}")
    images.judge_name(g, reference.text)
    with tempfile.TemporaryDirectory(prefix="rktpy-verify-") as directory, Store(directory) as store:
        if not _signatures_count(g, reference):
            image = Image(digest.replace(":", "-", 1), "oci", reference.text, digest)
            return [images.decide_image(g, store, image, (), insecure=g.insecure.image)]
        return _Judging(g, store, reference).judge(digest, descriptor)


def _signatures_count(g: Globals, reference: DockerReference) -> bool:
    path = images.policy_path(g)
    if g.insecure.image or not path:
        return False
    from rktpy.stage0.policy_decisions import evidence_wanted

    return bool(evidence_wanted(path, "oci", reference.text))


class _Judging:
    def __init__(self, g: Globals, store: Store, reference: DockerReference) -> None:
        self._g = g
        self._store = store
        self._reference = reference

    def judge(self, digest: str, descriptor: Descriptor | None) -> list[Decision]:
        from rktpy.stage0.transport import open_registry

        with open_registry(self._g, self._reference) as registry:
            data, stated = registry.manifest(digest)
            if descriptor is not None and descriptor.size != len(data):
                raise TrustRejected(f"manifest {digest} has {len(data)} bytes, the descriptor says {descriptor.size}")
            document = parse_manifest_document(data, descriptor.media_type if descriptor else stated, f"manifest {digest}")
            is_index = isinstance(document, ImageIndex)
            media_type = document.media_type or (OCI_INDEX if is_index else OCI_MANIFEST)
            first = self._decide(digest, media_type, len(data))
            if first.verdict == ACCEPTED or not isinstance(document, ImageIndex):
                return [first]
            # What can run on no platform is no image: builders put attestations there.
            entries = [entry for entry in document.manifests if entry.platform is None or entry.platform.os != "unknown"]
            if not entries or len(entries) > MAX_MANIFESTS:
                return [first]
            made: list[Decision] = []
            for entry in entries:
                data, _stated = registry.manifest(entry.digest)
                inner = parse_manifest_document(data, entry.media_type, f"manifest {entry.digest}")
                if isinstance(inner, ImageIndex):
                    return [first]
                made.append(self._decide(entry.digest, inner.media_type or OCI_MANIFEST, len(data)))
                if made[-1].verdict != ACCEPTED:
                    # Where none is signed, the index was to be: why that is not accepted is the thing to tell.
                    return made if len(made) > 1 else [first]
        return made

    def _decide(self, digest: str, media_type: str, size: int) -> Decision:
        from rktpy.stage0.fetching_signatures import find_signatures

        evidence = find_signatures(self._g, self._store, self._reference, digest)
        image = Image(digest.replace(":", "-", 1), "oci", self._reference.text, digest, media_type, size)
        return images.decide_image(self._g, self._store, image, evidence, insecure=False)
