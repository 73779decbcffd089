"""Looking for the signatures and attestations of an image where the image lies: in a registry, a layout or its archive.

Found are layers of cosign's tags, sigstore bundles and Notary Project signatures among the referrers. What is found is kept in
the sink as blobs and described by :class:`Evidence`; whether it proves anything is for others to say. So nothing here trusts
anything: each piece is limited in size, checked against its digest, and passed over when it is not what it should be, because one
broken signature must not hide the good one beside it.
"""

from __future__ import annotations

from rktpy.errors import FetchError, FormatError, InputError, NotFoundError
from rktpy.fetch import limits
from rktpy.fetch.http import Stopped
from rktpy.formats.oci.artifacts import (
    ATTESTATIONS,
    COSIGN_LAYERS,
    NOTATION_ENVELOPES,
    NOTATION_TYPE,
    SIGNATURES,
    SIMPLE_SIGNATURE,
    artifact_type_of,
    cosign_tag,
    is_bundle_type,
)
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.trust.evidence import BUNDLE, COSIGN, MAX_COUNT, MAX_SIZE, NOTATION, SIMPLE_SIGNING, Evidence
from rktpy.log import debug, note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Protocol

    from rktpy.fetch.reference import LayoutReference, OCIArchiveReference
    from rktpy.fetch.registry import Registry
    from rktpy.fetch.signature_places import Layout
    from rktpy.fetch.sink import Sink
    from rktpy.formats.oci.descriptor import Descriptor

    class Place(Protocol):
        """Where one image's signatures may lie. All methods raise FetchError and InputError."""

        name: str

        def tagged(self, tag: str) -> Iterable[tuple[str, Callable[[], Manifest]]]:
            """The manifests of a tag of cosign's: what to call each, and how to read it."""
            ...

        def referrers(self, digest: str, artifact_type: str) -> Iterable[Descriptor]:
            """What may have the digest as its subject; ``artifact_type``, when not empty, is the only type wanted."""
            ...

        def manifest(self, entry: Descriptor) -> Manifest:
            """The manifest of a referrer, checked against its digest."""
            ...

        def blob(self, descriptor: Descriptor) -> bytes:
            """A blob, checked against digest and size."""
            ...


#: What registries can hold (simple signing has its own place, the lookaside), and layouts.
FAMILIES = (COSIGN, BUNDLE, NOTATION)
LAYOUT_FAMILIES = (*FAMILIES, SIMPLE_SIGNING)
_ROLES = {BUNDLE: "bundle", NOTATION: "envelope", SIMPLE_SIGNING: "signature"}


def find_evidence(registry: Registry, digest: str, sink: Sink, families: Collection[str] = FAMILIES) -> tuple[Evidence, ...]:
    """The signatures in a registry of the manifest ``digest``, of the ``families`` asked for; their blobs are put into ``sink``.

    Every place of the registry is asked, mirrors too, until one has some of a family: a mirror may hold the image alone. At most
    :data:`~rktpy.formats.trust.evidence.MAX_COUNT` of each family are taken. Raises :class:`FetchError` when no place could
    answer.
    """
    from rktpy.fetch.signature_places import RegistryPlace

    wanted = [family for family in FAMILIES if family in families]
    found: list[Evidence] = []
    error: FetchError | None = None
    answered = False
    for session in registry.sessions:
        if not wanted:
            break
        collector = Collector(RegistryPlace(session), digest, sink)
        try:
            collector.collect(wanted)
            answered = True
        except Stopped:
            raise
        except FetchError as problem:
            debug("image", f"{session.name}: {problem}")
            error = problem
        found += collector.found
        wanted = [family for family in wanted if not collector.count(family)]
    if error is not None and not answered and not found:
        raise error
    return tuple(found)


def find_evidence_in_layout(
    reference: LayoutReference | OCIArchiveReference, digest: str, sink: Sink, families: Collection[str] = LAYOUT_FAMILIES
) -> tuple[Evidence, ...]:
    """The signatures of the manifest ``digest`` in an OCI layout or an archive of one, as :func:`find_evidence`.

    They are found as referrers (entries of ``index.json`` whose manifest has the image as its subject, or the index under the
    fallback tag), under the names of cosign's tags, and as cosign's own ``save`` marks them.
    """
    from rktpy.fetch.archive_file import ArchiveFile
    from rktpy.fetch.layout_directory import LayoutDirectory
    from rktpy.fetch.reference import OCIArchiveReference

    if isinstance(reference, OCIArchiveReference):
        with ArchiveFile(reference.path, "oci-archive", sink) as archive:
            return find_evidence_in(archive, digest, sink, families)
    with LayoutDirectory(reference.path) as directory:
        return find_evidence_in(directory, digest, sink, families)


def find_evidence_in(
    layout: Layout, digest: str, sink: Sink, families: Collection[str] = LAYOUT_FAMILIES
) -> tuple[Evidence, ...]:
    """:func:`find_evidence_in_layout` for a layout that is open already."""
    from rktpy.fetch.signature_places import LayoutPlace

    collector = Collector(LayoutPlace(layout), digest, sink)
    collector.collect([family for family in LAYOUT_FAMILIES if family in families])
    return tuple(collector.found)


class Collector:
    """Gathers the evidence for one manifest at one place. ``found`` is what there is so far."""

    def __init__(self, place: Place, digest: str, sink: Sink) -> None:
        self._place = place
        self._digest = digest
        self._sink = sink
        self._bytes = 0
        self._passed_over = 0
        self.found: list[Evidence] = []

    def count(self, family: str) -> int:
        """How many of a family were found."""
        return len([one for one in self.found if one.family == family])

    def collect(self, families: Collection[str]) -> None:
        """Look for the families named. Raises :class:`FetchError` when the place cannot be asked."""
        try:
            if COSIGN in families:
                self._cosign()
            wanted = [family for family in _ROLES if family in families]
            if wanted:
                self._referrers(wanted)
        finally:
            if self._passed_over:
                many = "1 signature" if self._passed_over == 1 else f"{self._passed_over} signatures"
                note("image", f"{many} at {self._place.name} passed over (--debug tells why)")

    def _cosign(self) -> None:
        for suffix in (SIGNATURES, ATTESTATIONS):
            tag = cosign_tag(self._digest, suffix)
            if not tag:
                continue
            try:
                manifests = self._place.tagged(tag)
            except InputError as error:
                self._pass_over(f"{self._place.name}:{tag}", error)
                continue
            for source, read in manifests:
                try:
                    layers = read().layers
                except Stopped:
                    raise
                except (FetchError, InputError, NotFoundError) as error:
                    self._pass_over(source, error)
                    continue
                self._layers(source, layers)

    def _layers(self, source: str, layers: tuple[Descriptor, ...]) -> None:
        for number, layer in enumerate(layers):
            where = f"{source}, layer {number}"
            if layer.media_type not in COSIGN_LAYERS:
                self._pass_over(where, f"{layer.media_type!r} is no signature of cosign's")
            elif not self._room(COSIGN, where):
                break
            else:
                self._take(COSIGN, where, layer, "payload", layer.annotations)

    def _referrers(self, families: list[str]) -> None:
        only = NOTATION_TYPE if families == [NOTATION] else ""
        lookups = 0
        seen: set[str] = set()
        try:
            entries = self._place.referrers(self._digest, only)
        except InputError as error:
            self._pass_over(f"referrers at {self._place.name}", error)
            return
        for entry in entries:
            # An entry without a type, and one of the old form, tells what it is only in its manifest.
            family = _family(entry.artifact_type) if entry.artifact_type else ""
            if (entry.artifact_type and family not in families) or entry.digest in seen:
                continue
            seen.add(entry.digest)
            where = f"{self._place.name}@{entry.digest}"
            if family and not self._room(family, where):
                continue
            lookups += 1
            if lookups > limits.REFERRER_MANIFESTS:
                note(
                    "image", f"{self._place.name}: has more than {limits.REFERRER_MANIFESTS} referrers, the rest is not looked at"
                )
                break
            try:
                self._referrer(entry, where, families)
            except Stopped:
                raise
            except (FetchError, InputError, NotFoundError) as error:
                self._pass_over(where, error)

    def _referrer(self, entry: Descriptor, where: str, families: list[str]) -> None:
        manifest = self._place.manifest(entry)
        family = _family(artifact_type_of(manifest))
        if family not in families:
            return
        if manifest.subject is None or manifest.subject.digest != self._digest:
            raise FormatError(where, "subject", "is another image")
        if len(manifest.layers) != 1:
            raise FormatError(where, "layers", f"must be one, not {len(manifest.layers)}")
        layer = manifest.layers[0]
        if not _is_content(family, layer.media_type):
            raise FormatError(where, "layers[0].mediaType", f"{layer.media_type!r} is not that of a {family}")
        if self._room(family, where):
            self._take(family, where, layer, _ROLES[family], manifest.annotations)

    def _room(self, family: str, where: str) -> bool:
        """Whether another one of the family may be taken."""
        if self.count(family) < MAX_COUNT:
            return True
        self._pass_over(where, f"there are more than {MAX_COUNT} of the family {family}")
        return False

    def _take(self, family: str, where: str, layer: Descriptor, role: str, annotations: dict[str, str]) -> None:
        """Bring one blob into the sink and note it down, or pass it over."""
        try:
            if layer.size > MAX_SIZE:
                raise FormatError(where, "size", f"has {layer.size} bytes, more than the {MAX_SIZE} allowed")
            if self._bytes + layer.size > limits.EVIDENCE_BYTES:
                raise FormatError(where, "size", f"is too much: all signatures together may have {limits.EVIDENCE_BYTES} bytes")
            if sum(len(key) + len(value) for key, value in annotations.items()) > limits.ANNOTATION_BYTES:
                raise FormatError(where, "annotations", f"are longer than {limits.ANNOTATION_BYTES} characters")
            self._bytes += layer.size
            if self._sink.blob_size(layer.digest) != layer.size:
                self._sink.put_blob(self._place.blob(layer), layer.digest)
        except Stopped:
            raise
        except (FetchError, InputError, NotFoundError) as error:
            self._pass_over(where, error)
            return
        pairs = tuple(sorted(annotations.items()))
        evidence = Evidence(family, where, layer.media_type, ((role, layer.digest),), pairs)
        if not any(one.replace(source=where) == evidence for one in self.found):
            self.found.append(evidence)

    def _pass_over(self, where: str, problem: object) -> None:
        self._passed_over += 1
        text = str(problem)
        debug("image", f"passing over a signature: {text if text.startswith(where) else f'{where}: {text}'}")


def _family(artifact_type: str) -> str:
    """The family of signatures that referrers of this type are; empty for all else."""
    if is_bundle_type(artifact_type):
        return BUNDLE
    return {NOTATION_TYPE: NOTATION, SIMPLE_SIGNATURE: SIMPLE_SIGNING}.get(artifact_type, "")


def _is_content(family: str, media_type: str) -> bool:
    """Whether the layer of a referrer of this family may have the media type."""
    if family == BUNDLE:
        return is_bundle_type(media_type)
    return family == SIMPLE_SIGNING or media_type in NOTATION_ENVELOPES
