"""One endpoint of a registry: its base URL, its credentials, and the requests of the pull part of the API."""

from __future__ import annotations

import threading

from rktpy.errors import DigestMismatch, FormatError
from rktpy.fetch import limits
from rktpy.fetch.http import Client
from rktpy.fetch.http_url import URL, parse_url
from rktpy.fetch.layers import Source
from rktpy.fetch.registry_auth import Credential, RegistryAuth
from rktpy.fetch.wire import shown
from rktpy.formats.oci.digest import digest_of, parse_digest
from rktpy.formats.oci.media_types import ACCEPT
from rktpy.log import debug, note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rktpy.fetch.mirrors import Endpoint
    from rktpy.fetch.wire import Headers
    from rktpy.formats.oci.descriptor import Descriptor

    #: (host[:port], repository) -> what the user has for it.
    CredentialLookup = Callable[[str, str], Credential | None]

_ACCEPT = [("Accept", ", ".join(ACCEPT))]


class Session:
    """Requests for one repository at one endpoint. ``client`` says what is allowed everywhere, the endpoint what is here.

    ``actions`` is what a token is asked for when the registry does not say: ``pull`` or ``pull,push``.
    """

    def __init__(self, client: Client, endpoint: Endpoint, credentials: CredentialLookup, *, actions: str = "pull") -> None:
        options = client.options
        self.endpoint = endpoint
        self.client = client.derive(
            options.replace(
                insecure_tls=options.insecure_tls or endpoint.insecure,
                allow_http=options.allow_http or endpoint.insecure,
                ca_files=options.ca_files + endpoint.ca_files,
                client_certificate=endpoint.client_certificate or options.client_certificate,
            )
        )
        self._credentials = credentials
        self._actions = actions
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._base: URL | None = None
        self._auth: RegistryAuth | None = None

    @property
    def name(self) -> str:
        """The repository as messages call it."""
        return f"docker://{self.endpoint.host}/{self.endpoint.repository}"

    def close(self) -> None:
        """Close connections."""
        self.client.close()

    def head_manifest(self, reference: str) -> str:
        """The digest that the registry announces for a tag; empty when it announces none."""
        url, auth = self.place("manifests", reference)
        document = self.client.document(url, 0, method="HEAD", headers=_ACCEPT, authorizer=auth)
        digest = document.headers.get("docker-content-digest") or ""
        return _checked_digest(digest, url) if digest else ""

    def manifest(self, reference: str) -> tuple[bytes, str | None]:
        """Bytes and media type of the manifest for a tag or digest.

        The bytes are checked against a digest, and against the one that the registry announces.
        """
        url, auth = self.place("manifests", reference)
        debug("image", f"fetching manifest from {url.shown}")
        document = self.client.document(url, limits.MANIFEST_BYTES, headers=_ACCEPT, authorizer=auth)
        if ":" in reference:
            verify_bytes(document.data, reference, url.shown)
        self._show_warnings(document.headers)
        announced = document.headers.get("docker-content-digest")
        if announced:
            verify_bytes(document.data, _checked_digest(announced, url), url.shown)
        return document.data, document.headers.get("content-type")

    def small_blob(self, blob: Descriptor, limit: int) -> bytes:
        """A blob that is a document, checked against its descriptor."""
        url, auth = self.place("blobs", blob.digest)
        data = self.client.document(url, min(limit, blob.size), authorizer=auth).data
        if len(data) != blob.size:
            raise DigestMismatch(f"{url.shown}: got {len(data)} bytes, expected {blob.size}")
        verify_bytes(data, blob.digest, url.shown)
        return data

    def blob_source(self, digest: str) -> Source:
        """Where a blob is."""
        url, auth = self.place("blobs", digest)
        return Source(self.client, url, auth)

    def _show_warnings(self, headers: Headers) -> None:
        """distribution-spec "Warnings": show them to the user, once, and do nothing about them."""
        for value in headers.all("warning"):
            code, _, rest = value.partition(" ")
            text = rest.partition('"')[2].rpartition('"')[0]
            if code == "299" and text and text not in self._warned:
                self._warned.add(text)
                note("image", f"{self.endpoint.host} warns: " + shown(text))

    def place(self, kind: str, reference: str) -> tuple[URL, RegistryAuth]:
        """The URL of something of the repository (``kind`` is ``manifests``, ``blobs``, …), and its authorizer."""
        with self._lock:
            if self._base is None or self._auth is None:
                endpoint = self.endpoint
                base = self._base = self._find_base()
                self._auth = RegistryAuth(
                    self.client,
                    base,
                    f"repository:{endpoint.repository}:{self._actions}",
                    lambda: self._credentials(endpoint.host, endpoint.repository),
                )
            return self._base.replace(path=f"/v2/{self.endpoint.repository}/{kind}/{reference}"), self._auth

    def _find_base(self) -> URL:
        """https, unless plain http is allowed and the registry does not speak TLS."""
        base = parse_url(f"https://{self.endpoint.api_host}/")
        if self.client.options.allow_http and not self.client.speaks_tls(base):
            debug("image", f"{self.endpoint.api_host} does not speak TLS, using plain http")
            return parse_url(f"http://{self.endpoint.api_host}/")
        return base


def verify_bytes(data: bytes, digest: str, what: str) -> None:
    """Raises :class:`DigestMismatch`, naming ``what``, unless ``data`` has this digest."""
    got = digest_of(data, digest.partition(":")[0])
    if got != digest:
        raise DigestMismatch(f"{what}: digest {got}, expected {digest}")


def _checked_digest(text: str, url: URL) -> str:
    try:
        parse_digest(text, url.shown, "Docker-Content-Digest")
    except FormatError:
        raise DigestMismatch(f"{url.shown}: Docker-Content-Digest is not a digest we can check: {text[:100]!r}") from None
    return text
