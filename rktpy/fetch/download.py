"""One download into a partial file: resumed after interruptions and killed processes, size and digest checked as it streams.

Bytes of an earlier attempt are continued with Range. When a digest is known the digest decides whether the halves fit;
otherwise only a strong ETag or Last-Modified makes the server promise it, with If-Range (RFC 9110 sections 13.1.5 and 14).

Somebody may be unpacking a file with a known digest while it grows, so bytes of this process are never taken back: a server that
cannot continue sends all again, and what is there already is passed over. Only what an earlier process left may be thrown away.
"""

from __future__ import annotations

import hashlib
import os

from rktpy.errors import DigestMismatch, FetchError, HTTPError, StoreError
from rktpy.fetch.http import Client, Response
from rktpy.fetch.http_url import URL
from rktpy.fetch.retry import Retry
from rktpy.fetch.wire import Headers, Truncated
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from rktpy.fetch.http import Authorizer
    from rktpy.fetch.sink import Partial

_BUFFER = 1 << 20
_READ_BACK = 1 << 20


class Downloaded(Record):
    """Facts about a finished download.

    ``url`` is where the bytes came from after redirects; ``headers`` those of the last answer, None if no request was
    needed; ``not_modified`` tells that the server answered 304, so that nothing was written.
    """

    url: str
    size: int
    headers: Headers | None = None
    not_modified: bool = False


def download(
    client: Client,
    url: URL,
    partial: Partial,
    *,
    limit: int,
    digest: str | None = None,
    size: int | None = None,
    authorizer: Authorizer | None = None,
    headers: Iterable[tuple[str, str]] = (),
    arrived: Callable[[int, int | None], None] | None = None,
    shared: bool = False,
) -> Downloaded:
    """Complete ``partial`` from ``url``, without committing it.

    ``digest`` (``alg:hex``) and ``size`` in bytes are checked when given; never more than ``limit`` bytes are taken.
    ``shared`` tells that what is in the file came from this process and somebody may be reading it.
    ``arrived(n, total)`` is called whenever the file has grown to n bytes; total is None while unknown. Raises
    :class:`DigestMismatch` (the partial is then empty), :class:`FetchError`, and :class:`StoreError` when the bytes cannot
    be written.
    """
    transfer = _Transfer(url, partial, limit, digest, size, list(headers), arrived, shared)
    if digest is not None and size is not None and partial.size == size and transfer.matches():
        return Downloaded(url.shown, size)
    retry = client.retry(f"GET {url.shown}")
    while True:
        try:
            with client.open(url, headers=transfer.request_headers(), authorizer=authorizer) as response:
                if retry.after_status(response.status, response.headers):
                    continue
                done = transfer.receive(response, retry)
            if done is not None:
                return done
        except (OSError, Truncated) as error:
            client.check_stopped()
            retry.after_error(error)


class _Transfer:
    def __init__(
        self,
        url: URL,
        partial: Partial,
        limit: int,
        digest: str | None,
        size: int | None,
        headers: list[tuple[str, str]],
        arrived: Callable[[int, int | None], None] | None,
        shared: bool,
    ) -> None:
        self._url = url
        self._partial = partial
        self._limit = limit if size is None else size
        self._digest = digest
        self._size = size
        self._headers = headers
        # Only who asked whether something has changed may be told that nothing has: never with a digest to be checked.
        self._conditional = digest is None and any(name.lower() == "if-none-match" for name, _ in headers)
        self._arrived = arrived
        self._hasher: Any = None
        self._hashed = 0
        # Bytes that an earlier process left: unverified, and nobody has seen them yet.
        self._inherited = partial.size > 0 and not shared
        self._ranges = True
        self._objections = 0
        self._total = size
        self._most = partial.size
        if partial.size > self._limit:
            self._restart()

    def request_headers(self) -> list[tuple[str, str]]:
        """The caller's fields, and those that ask for the rest only."""
        offset = self._partial.size
        if offset == 0 or not self._ranges:
            return self._headers
        fields = [*self._headers, ("Range", f"bytes={offset}-")]
        if self._digest is not None:
            return fields
        validator = self._partial.validator() or {}
        condition = validator.get("etag") or validator.get("last_modified")
        if validator.get("url") != self._url.text or not isinstance(condition, str) or not condition:
            self._restart()
            return self._headers
        return [*fields, ("If-Range", condition)]

    def receive(self, response: Response, retry: Retry) -> Downloaded | None:
        """Take what the answer brings; None means: ask again."""
        status = response.status
        offset = self._partial.size
        if status == 304 and self._conditional:
            return Downloaded(response.url.shown, offset, response.headers, not_modified=True)
        if status == 416 and offset > 0:
            if _content_range(response.headers) == (None, offset) and self._complete():
                return Downloaded(response.url.shown, offset, response.headers)
            self._without_range(response)
            return None
        skip = 0
        if status == 206:
            start, total = _content_range(response.headers)
            if offset == 0 or not self._ranges or start != offset:
                self._without_range(response)
                return None
            self._check_total(total, response)
        elif status == 200:
            self._check_total(response.body.length, response)
            if offset > 0 and self._digest is not None:
                skip = offset
            elif offset > 0:
                self._restart()
            if self._digest is None:
                self._partial.set_validator(self._validator(response.headers))
        else:
            raise response.error()
        self._stream(response, retry, skip)
        if status == 206 and self._total is not None and self._partial.size < self._total:
            raise Truncated("the server sent only a part of what was asked for")
        if self._complete():
            return Downloaded(response.url.shown, self._partial.size, response.headers)
        return None

    def _stream(self, response: Response, retry: Retry, skip: int) -> None:
        partial = self._partial
        self._hash_prefix()
        hasher = self._hasher
        view = memoryview(bytearray(_BUFFER))
        available = partial.size
        while n := response.body.readinto(view):
            passed = min(n, skip)
            skip -= passed
            data = view[passed:n]
            if not data:
                continue
            available += len(data)
            if available > self._limit:
                self._fail(f"{response.url.shown}: more than the {self._limit} bytes expected")
            if hasher is not None:
                hasher.update(data)
                self._hashed = available
            # Neither of these is a failure of the network, so neither may be taken for one.
            try:
                partial.write(data)
            except OSError as error:
                raise StoreError("cannot keep the download") from error
            try:
                if self._arrived is not None:
                    self._arrived(available, self._total)
            except OSError as error:
                raise StoreError("cannot use the download while it arrives") from error
            if available > self._most:
                # Only new ground counts: a server that begins again each time and stops early must not hold us for ever.
                self._most = available
                retry.advanced()

    def _complete(self) -> bool:
        """Whether the file is whole and right. False: it was restarted because its resumed beginning did not fit."""
        if self._size is not None and self._partial.size != self._size:
            self._fail(f"{self._url.shown}: got {self._partial.size} bytes, expected {self._size}")
        if self._digest is None or self.matches():
            return True
        got = f"{self._digest.partition(':')[0]}:{self._hasher.hexdigest()}"
        if self._inherited:
            self._restart()
            return False
        self._fail(f"{self._url.shown}: digest {got}, expected {self._digest}")
        return False

    def matches(self) -> bool:
        """Whether the bytes so far have the expected digest."""
        self._hash_prefix()
        return self._hasher is None or self._hasher.hexdigest() == (self._digest or "").partition(":")[2]

    def _hash_prefix(self) -> None:
        """Bring the hash up to the bytes that are in the file already."""
        if self._digest is None or (self._hasher is not None and self._hashed == self._partial.size):
            return
        self._hasher = hashlib.new(self._digest.partition(":")[0])
        left = self._partial.size
        view = memoryview(bytearray(min(_READ_BACK, max(left, 1))))
        try:
            fd = os.open(self._partial.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                while left and (n := os.readv(fd, [view[: min(left, len(view))]])):
                    self._hasher.update(view[:n])
                    left -= n
            finally:
                os.close(fd)
        except OSError as error:
            raise StoreError("cannot read back an interrupted download") from error
        if left:
            raise StoreError(f"{self._partial.path}: shorter than it was")
        self._hashed = self._partial.size

    def _check_total(self, total: int | None, response: Response) -> None:
        if total is None:
            return
        self._total = total
        if self._size is not None and total != self._size:
            self._fail(f"{response.url.shown}: has {total} bytes, expected {self._size}")
        if total > self._limit:
            self._fail(f"{response.url.shown}: has {total} bytes, more than the {self._limit} allowed")

    def _validator(self, headers: Headers) -> dict[str, Any] | None:
        etag = headers.get("etag") or ""
        if etag.startswith('"'):
            return {"url": self._url.text, "etag": etag}
        modified = headers.get("last-modified") or ""
        if modified and _is_strong_date(modified, headers.get("date") or ""):
            return {"url": self._url.text, "last_modified": modified}
        return None

    def _without_range(self, response: Response) -> None:
        self._objections += 1
        if self._objections > 2:
            raise HTTPError(f"{response.url.shown}: contradicts itself about ranges", response.status)
        self._ranges = False
        if self._digest is None or self._inherited:
            self._restart()

    def _restart(self) -> None:
        self._partial.restart()
        self._partial.set_validator(None)
        self._hasher = None
        self._hashed = 0
        self._inherited = False

    def _fail(self, message: str) -> None:
        self._restart()
        if self._digest is None and self._size is None:
            raise FetchError(message)
        raise DigestMismatch(message)


def _content_range(headers: Headers) -> tuple[int | None, int | None]:
    """(first byte, total) of a Content-Range field; None for what it does not say or says badly."""
    unit, _, rest = (headers.get("content-range") or "").strip().partition(" ")
    span, _, total_text = rest.strip().partition("/")
    if unit.lower() != "bytes":
        return (None, None)
    total = int(total_text) if total_text.isascii() and total_text.isdecimal() and len(total_text) < 19 else None
    first = span.partition("-")[0]
    return (int(first) if first.isascii() and first.isdecimal() and len(first) < 19 else None, total)


def _is_strong_date(modified: str, date: str) -> bool:
    """RFC 9110 section 8.8.2.2: a date is strong when the file did not change in the second the answer was made."""
    from email.utils import parsedate_to_datetime

    try:
        return (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds() >= 1
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
