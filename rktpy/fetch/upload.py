"""Bringing one blob to a registry (OCI distribution-spec 1.1, "Pushing Blobs").

A blob that is there is not sent; one that lies in another repository of the same registry is mounted. Otherwise it is sent as a
whole, and when that does not succeed (the connection breaks, the registry takes no body so large) in chunks, from where the
registry says that it stopped.
"""

from __future__ import annotations

from urllib.parse import quote

from rktpy.errors import DigestMismatch, FetchError, HTTPError
from rktpy.fetch.layers import short
from rktpy.fetch.progress import Progress
from rktpy.fetch.request_body import FileBody
from rktpy.fetch.wire import Truncated
from rktpy.log import debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rktpy.fetch.http import Response
    from rktpy.fetch.http_url import URL
    from rktpy.fetch.registry_session import Session
    from rktpy.fetch.wire import Headers

#: Bytes of one chunk, unless the registry wants more at once or takes less.
CHUNK = 16 << 20
_SMALLEST_CHUNK = 64 << 10
_STORED = (200, 201, 204)
_BYTES = ("Content-Type", "application/octet-stream")


def blob_exists(session: Session, digest: str) -> bool:
    """Whether the repository has the blob. Raises :class:`FetchError`."""
    url, auth = session.place("blobs", digest)
    return session.client.document(url, 0, method="HEAD", authorizer=auth, accept=(200, 404)).status == 200


def upload_bytes(session: Session, data: bytes, digest: str) -> None:
    """Make a small blob of ``data``, whose digest is given, unless it is there. Raises :class:`FetchError`."""
    if blob_exists(session, digest):
        return
    url, auth = session.place("blobs", "uploads/")
    begun = session.client.document(url, 0, method="POST", authorizer=auth, accept=(202,))
    target = _with_digest(_location(url, begun.headers), digest)
    session.client.document(target, 1 << 20, method="PUT", headers=[_BYTES], body=data, authorizer=auth, accept=_STORED)


class Upload:
    """One blob, ``size`` bytes in the file ``path``. ``mounts`` are repositories of the same registry that may have it."""

    def __init__(
        self, session: Session, digest: str, size: int, path: str, *, mounts: Sequence[str] = (), progress: Progress | None = None
    ) -> None:
        self._session = session
        self._client = session.client
        self._url, self._auth = session.place("blobs", "uploads/")
        self._digest = digest
        self._size = size
        self._path = path
        self._mounts = list(mounts)
        self._progress = progress or Progress()
        self._retry = self._client.retry(f"uploading {digest} to {session.name}")
        self._location: URL | None = None
        self._offset = 0
        self._most = 0
        self._chunk = CHUNK
        self._least = 0
        self._chunked = False
        self._unsure = False
        self._begun = False

    def run(self) -> str:
        """Bring the blob there: ``exists``, ``mounted`` or ``done``. Raises :class:`FetchError`, :class:`StoreError`."""
        outcome = "failed"
        self._progress.begin(self._digest, short(self._digest), self._size)
        try:
            outcome = "exists" if blob_exists(self._session, self._digest) else self._transfer()
        finally:
            self._progress.end(self._digest, "exists" if outcome == "mounted" else outcome)
        return outcome

    def _transfer(self) -> str:
        while True:
            try:
                if self._unsure:
                    self._ask()
                if self._location is None:
                    # An answer may have been lost after the registry had all it wanted.
                    if self._begun and blob_exists(self._session, self._digest):
                        return "done"
                    self._begun = True
                    if self._begin():
                        return "mounted"
                if self._send():
                    return "done"
            except (OSError, Truncated) as error:
                self._client.check_stopped()
                self._retry.after_error(error)
                self._chunked = self._unsure = self._location is not None

    def _begin(self) -> bool:
        """Begin an upload; True when the blob was mounted instead."""
        self._offset = 0
        self._unsure = False
        while True:
            url = self._url
            if self._mounts:
                url = url.replace(query=f"mount={quote(self._digest, safe='')}&from={quote(self._mounts[0], safe='')}")
            with self._client.open(url, method="POST", authorizer=self._auth) as response:
                if self._retry.after_status(response.status, response.headers):
                    continue
                if self._mounts:
                    debug("image", f"mounting {self._digest} from {self._mounts[0]}: HTTP {response.status}")
                    self._mounts.pop(0)
                    if response.status == 201:
                        return True
                    if response.status != 202:
                        continue  # not allowed to read there, say: without it, then
                if response.status != 202:
                    raise response.error()
                self._location = _location(self._url, response.headers)
                least = response.headers.get("oci-chunk-min-length") or ""
                self._least = int(least) if least.isascii() and least.isdecimal() and len(least) < 12 else 0
                return False

    def _ask(self) -> None:
        """How much has arrived? Without a clear answer the upload begins anew."""
        assert self._location is not None
        with self._client.open(self._location, authorizer=self._auth) as response:
            if self._retry.after_status(response.status, response.headers):
                raise Truncated("the registry could not tell how much has arrived")
            arrived = _arrived(response.headers)
            if response.status == 204 and arrived is not None and arrived <= self._size:
                self._offset = arrived
                self._location = _location(self._location, response.headers, self._location)
            else:
                self._location = None
        self._unsure = False
        debug("image", f"{self._digest}: going on after {self._offset} bytes")

    def _send(self) -> bool:
        """Send what is missing; False when something has to be asked or begun again first."""
        if not self._chunked:
            return self._finish(FileBody(self._path, 0, self._size, self._sent))
        while self._offset < self._size:
            if not self._send_chunk():
                return False
        return self._finish(None)

    def _finish(self, body: FileBody | None) -> bool:
        """The request that ends the upload, with all bytes or with none."""
        assert self._location is not None
        target = _with_digest(self._location, self._digest)
        with self._client.open(
            target, method="PUT", headers=[_BYTES], body=b"" if body is None else body, authorizer=self._auth
        ) as response:
            if response.status in _STORED:
                check_announced(response.headers, self._digest, target.shown)
                return True
            if body is not None and response.status == 413:
                self._chunked = self._unsure = True
                return False
            return self._failed(response)

    def _send_chunk(self) -> bool:
        assert self._location is not None
        length = min(max(self._chunk, self._least), self._size - self._offset)
        last = self._offset + length - 1
        body = FileBody(self._path, self._offset, length, self._sent)
        fields = [_BYTES, ("Content-Range", f"{self._offset}-{last}")]
        with self._client.open(self._location, method="PATCH", headers=fields, body=body, authorizer=self._auth) as response:
            if response.status == 413 and self._chunk > max(_SMALLEST_CHUNK, self._least):
                self._chunk //= 4
                self._unsure = True
                return False
            if response.status != 202:
                return self._failed(response)
            arrived = _arrived(response.headers)
            self._offset = last + 1 if arrived is None or not self._offset < arrived <= last + 1 else arrived
            self._location = _location(self._location, response.headers, self._location)
        if self._offset > self._most:
            self._most = self._offset
            self._retry.advanced()
        return True

    def _failed(self, response: Response) -> bool:
        """After an answer that was not hoped for: ask how far we are, or begin again, or give up."""
        if self._retry.after_status(response.status, response.headers):
            self._unsure = self._chunked = True
            return False
        if response.status in (404, 416):
            error = response.error()
            try:
                self._retry.after_error(Truncated("the upload was lost"))
            except FetchError:
                raise error from None
            self._unsure = self._chunked = response.status == 416
            if response.status == 404:
                self._location = None
            return False
        raise response.error()

    def _sent(self, done: int) -> None:
        self._progress.advance(self._digest, self._offset + done, self._size)


def check_announced(headers: Headers, digest: str, what: str) -> None:
    """What a registry stored must be what it was sent. Raises :class:`DigestMismatch`."""
    announced = headers.get("docker-content-digest")
    if announced and announced.partition(":")[0] == digest.partition(":")[0] and announced != digest:
        raise DigestMismatch(f"{what}: the registry has stored {announced[:80]}, not {digest}")


def _with_digest(location: URL, digest: str) -> URL:
    query = f"digest={quote(digest, safe='')}"
    return location.replace(query=f"{location.query}&{query}" if location.query else query)


def _location(url: URL, headers: Headers, default: URL | None = None) -> URL:
    value = headers.get("location")
    if value:
        return url.join(value)
    if default is not None:
        return default
    raise HTTPError(f"{url.shown}: the registry does not say where to upload to", 202)


def _arrived(headers: Headers) -> int | None:
    """How many bytes a Range field says are there; ``0-0`` stands for none (distribution says so of an empty upload)."""
    first, dash, last = (headers.get("range") or "").removeprefix("bytes=").partition("-")
    if first != "0" or not dash or not (last.isascii() and last.isdecimal() and len(last) < 19):
        return None
    return 0 if last == "0" else int(last) + 1
