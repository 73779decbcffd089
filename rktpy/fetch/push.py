"""Pushing an image to a registry: its blobs, then its manifest, all byte for byte as they are (OCI distribution-spec 1.1).

Only the registry that was named is pushed to, never a mirror of it.
"""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from rktpy.fetch.layers import PARALLEL
from rktpy.fetch.progress import Progress
from rktpy.fetch.registry_session import Session
from rktpy.fetch.upload import Upload, check_announced
from rktpy.formats.oci.digest import digest_of
from rktpy.formats.oci.media_types import ACCEPT, is_foreign_layer
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rktpy.config import Config
    from rktpy.fetch.http import Client
    from rktpy.fetch.reference import DockerReference
    from rktpy.fetch.wire import Headers
    from rktpy.formats.oci.descriptor import Descriptor
    from rktpy.formats.oci.manifest import Manifest


def open_push(
    client: Client, reference: DockerReference, config: Config | None, environ: Mapping[str, str] | None = None
) -> Session:
    """The repository of ``reference``, to push to, with certs.d and the credentials of ``config`` and others.

    Raises :class:`ConfigError` for files that cannot be read, and when registries.conf blocks the registry. Close it.
    """
    from rktpy.fetch.credentials import Credentials
    from rktpy.fetch.mirrors import load_registries_conf, push_endpoint

    endpoint = push_endpoint(reference, load_registries_conf(environ), environ)
    return Session(client, endpoint, Credentials(config, environ), actions="pull,push")


def push_image(
    session: Session,
    manifest: Manifest,
    path: Callable[[str], str],
    tag: str,
    *,
    digest: str,
    mounts: Sequence[str] = (),
    progress: Progress | None = None,
) -> None:
    """Push the blobs of an image and its manifest.

    ``path(digest)`` is the file of a blob, ``tag`` a tag or empty for a push by ``digest`` alone (the manifest's), ``mounts``
    names repositories of the registry that may have the blobs. Layers that say where else they are to be had are left there.
    Raises :class:`FetchError`, :class:`DigestMismatch`, :class:`StoreError`.
    """
    blobs: dict[str, Descriptor] = {}
    for blob in (*manifest.layers, manifest.config):
        if is_foreign_layer(blob.media_type) and blob.urls:
            debug("image", f"not pushing the foreign layer {blob.digest}")
        else:
            blobs[blob.digest] = blob
    session.place("blobs", "uploads/")  # once, before there are threads
    with ThreadPoolExecutor(PARALLEL) as pool:
        jobs = [
            pool.submit(Upload(session, one.digest, one.size, path(one.digest), mounts=mounts, progress=progress).run)
            for one in blobs.values()
        ]
        try:
            for job in wait(jobs, return_when=FIRST_EXCEPTION).done:
                job.result()
        except BaseException:
            # Also when somebody presses Ctrl-C: leaving the pool waits for its threads.
            pool.shutdown(wait=False, cancel_futures=True)
            session.client.stop()
            raise
    put_manifest(session, tag or digest, manifest.to_bytes(), manifest.media_type)


def manifest_exists(session: Session, digest: str) -> bool:
    """Whether the repository has the manifest. Raises :class:`FetchError`."""
    url, auth = session.place("manifests", digest)
    fields = [("Accept", ", ".join(ACCEPT))]
    answer = session.client.document(url, 0, method="HEAD", headers=fields, authorizer=auth, accept=(200, 404))
    return answer.status == 200


def put_manifest(session: Session, reference: str, data: bytes, media_type: str) -> Headers:
    """Store a manifest or index under a tag or digest; the headers of the answer. Raises :class:`FetchError`."""
    url, auth = session.place("manifests", reference)
    debug("image", f"pushing manifest to {url.shown}")
    fields = [("Content-Type", media_type)]
    answer = session.client.document(
        url, 1 << 20, method="PUT", headers=fields, body=data, authorizer=auth, accept=(200, 201, 202)
    )
    check_announced(answer.headers, digest_of(data, "sha256"), url.shown)
    return answer.headers
