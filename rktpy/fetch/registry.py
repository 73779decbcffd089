"""Images from registries (OCI distribution-spec 1.1, pull part; Docker registry API v2)."""

from __future__ import annotations

from rktpy.errors import DigestMismatch, FetchError, FormatError, RktpyError
from rktpy.fetch import limits
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.layers import Layers, Source
from rktpy.fetch.progress import Progress
from rktpy.fetch.pulled import PulledImage, match_layers
from rktpy.fetch.registry_session import Session, verify_bytes
from rktpy.fetch.sink import NoObserver
from rktpy.formats.oci.config import ImageConfig
from rktpy.formats.oci.digest import digest_of
from rktpy.formats.oci.index import ImageIndex, select_platform
from rktpy.formats.oci.manifest import Manifest
from rktpy.formats.oci.media_types import is_foreign_layer
from rktpy.formats.oci.parse import parse_manifest_document
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeVar

    from rktpy.config import Config
    from rktpy.fetch.http import Client
    from rktpy.fetch.mirrors import Endpoint
    from rktpy.fetch.reference import DockerReference
    from rktpy.fetch.registry_session import CredentialLookup
    from rktpy.fetch.sink import LayerObserver, Sink
    from rktpy.formats.oci.descriptor import Descriptor
    from rktpy.formats.oci.platform import Platform

    _T = TypeVar("_T")


def open_registry(
    client: Client, reference: DockerReference, config: Config | None, environ: Mapping[str, str] | None = None
) -> Registry:
    """The registry of ``reference`` with the mirrors of registries.conf, certs.d, and the credentials of ``config`` and others.

    Raises :class:`ConfigError` for files that cannot be read, and when registries.conf blocks the registry.
    """
    from rktpy.fetch.credentials import Credentials
    from rktpy.fetch.mirrors import endpoints_for, load_registries_conf

    endpoints = endpoints_for(reference, load_registries_conf(environ), environ)
    return Registry(client, reference, endpoints, Credentials(config, environ))


class Registry:
    """One reference and the places where it may be had, best first (:func:`rktpy.fetch.mirrors.endpoints_for`).

    ``client`` says what is insecurely allowed everywhere; ``credentials`` is called with (host, repository) when a registry
    asks who we are. A context manager: leaving it closes connections.
    """

    def __init__(
        self, client: Client, reference: DockerReference, endpoints: tuple[Endpoint, ...], credentials: CredentialLookup
    ) -> None:
        self._reference = reference
        self._sessions = [Session(client, endpoint, credentials) for endpoint in endpoints]
        # For the URLs of foreign layers: no credentials, and nothing insecure that only a registry may be.
        self._elsewhere = client.derive()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._elsewhere.close()
        for session in self._sessions:
            session.close()

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The places to ask, the one that answered last first."""
        return tuple(self._sessions)

    def head(self) -> str:
        """The digest of what the reference means now (of an index, if it is one); fetches nothing where that is possible."""
        if self._reference.digest:
            return self._reference.digest
        tag = self._reference.tag
        digest = self._first(lambda session: session.head_manifest(tag))
        return digest or digest_of(self._sessions[0].manifest(tag)[0], "sha256")

    def pull(
        self, sink: Sink, platform: Platform, *, observer: LayerObserver | None = None, progress: Progress | None = None
    ) -> PulledImage:
        """Fetch the image for ``platform`` with all its blobs.

        Raises :class:`FetchError`, :class:`DigestMismatch`, :class:`FormatError` for documents that break their rules,
        :class:`NotFoundError` when the index has no such platform.
        """
        observer = observer or NoObserver()
        reference = self._reference
        debug("image", f"fetching image from {reference.text}")
        if reference.digest:
            data, media_type = self._manifest(sink, reference.digest, None)
            digest = reference.digest
        else:
            data, media_type = self._first(lambda session: session.manifest(reference.tag))
            digest = digest_of(data, "sha256")
        document = parse_manifest_document(data, media_type, reference.text)
        index_digest: str | None = None
        if isinstance(document, ImageIndex):
            index_digest = sink.put_blob(data, digest)
            chosen = select_platform(document, platform, reference.text)
            debug("image", f"using manifest {chosen.digest} for {platform.text}")
            data, media_type = self._manifest(sink, chosen.digest, chosen)
            digest = chosen.digest
            what = f"{reference.text}, manifest {digest}"
            document = parse_manifest_document(data, media_type or chosen.media_type, what)
            if not isinstance(document, Manifest):
                raise FormatError(what, "", "an index inside an index is not supported")
        manifest = document
        manifest.require_image(reference.text)
        config = ImageConfig.from_bytes(self._config(sink, manifest.config), f"{reference.text}, configuration")
        layers = match_layers(manifest, config, reference.text)
        observer.layers_known(config.rootfs_diff_ids, manifest.layers)
        Layers(sink, self._sources, self._stop, observer, progress or Progress()).fetch(manifest.layers)
        sink.put_blob(data, digest)
        return PulledImage(digest, data, manifest, config, manifest.config.digest, index_digest, layers, reference.text)

    def manifest(self, digest: str) -> tuple[bytes, str | None]:
        """A manifest or index by its digest, checked, and the media type that the registry states. Raises :class:`FetchError`."""
        return self._first(lambda session: session.manifest(digest))

    def _first(self, ask: Callable[[Session], _T]) -> _T:
        """What the first endpoint that can answer says; it is then asked first for everything else. Raises the last error."""
        last: RktpyError | None = None
        for session in self._sessions:
            try:
                answer = ask(session)
            except (FetchError, DigestMismatch) as error:
                debug("image", f"{session.endpoint.host}: {error}")
                # The place that the user named comes last, after its mirrors: its error is the one to show.
                last = error
                continue
            self._sessions.remove(session)
            self._sessions.insert(0, session)
            return answer
        raise last or FetchError(f"{self._reference.text}: there is no place to fetch it from")

    def _manifest(self, sink: Sink, digest: str, entry: Descriptor | None) -> tuple[bytes, str | None]:
        """A manifest by its digest, from the sink if it is there, and its media type if anybody stated one."""
        stated = entry.media_type if entry else None
        size = sink.blob_size(digest)
        if size is not None and size <= limits.MANIFEST_BYTES:
            return sink.read_blob(digest, limits.MANIFEST_BYTES), stated
        data, media_type = self._first(lambda session: session.manifest(digest))
        if entry is not None and len(data) != entry.size:
            raise DigestMismatch(f"{self._reference.text}: manifest {digest} has {len(data)} bytes, the index says {entry.size}")
        return data, media_type

    def _config(self, sink: Sink, descriptor: Descriptor) -> bytes:
        if descriptor.size > limits.CONFIG_BYTES:
            text = f"has {descriptor.size} bytes, more than the {limits.CONFIG_BYTES} allowed"
            raise FormatError(self._reference.text, "config.size", text)
        if sink.blob_size(descriptor.digest) == descriptor.size:
            return sink.read_blob(descriptor.digest, limits.CONFIG_BYTES)
        if descriptor.data is not None:
            data = descriptor.data
            verify_bytes(data, descriptor.digest, f"{self._reference.text}, embedded configuration")
            sink.put_blob(data, descriptor.digest)
            return data
        with sink.partial(descriptor.digest) as partial:
            # Another process may have brought it while we waited for the lock.
            if sink.blob_size(descriptor.digest) == descriptor.size:
                data = sink.read_blob(descriptor.digest, limits.CONFIG_BYTES)
            else:
                data = self._first(lambda session: session.small_blob(descriptor, limits.CONFIG_BYTES))
                sink.put_blob(data, descriptor.digest)
            partial.discard()
        return data

    def _sources(self, blob: Descriptor) -> Iterator[Source]:
        for session in tuple(self._sessions):
            yield session.blob_source(blob.digest)
        if is_foreign_layer(blob.media_type):
            for text in blob.urls:
                yield Source(self._elsewhere, parse_url(text))

    def _stop(self) -> None:
        self._elsewhere.stop()
        for session in self._sessions:
            session.client.stop()
