"""Asking a time-stamping authority for a time stamp over HTTP (RFC 3161 section 3.4)."""

from __future__ import annotations

import hashlib

from rktpy.errors import FetchError
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.http_url import parse_url
from rktpy.formats.trust import timestamp_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = 30.0


def stamp(url: str, message: bytes, environ: Mapping[str, str] | None = None) -> bytes:
    """The token of the authority at ``url`` for ``message``. Plain http is how authorities are reached; the token is signed.

    Whether the authority is one to be trusted is for verifiers to say. Raises :class:`FetchError` when it does not answer or
    answers about something else, :class:`rktpy.errors.FormatError` when it grants nothing.
    """
    digest = hashlib.sha256(message).digest()
    query = timestamp_token.request("sha256", digest)
    options = HTTPOptions(allow_http=True, connect_seconds=_SECONDS, read_seconds=_SECONDS)
    headers = (("Content-Type", "application/timestamp-query"),)
    with Client(options, environ=environ) as client:
        document = client.document(parse_url(url), timestamp_token.MAX_SIZE, method="POST", headers=headers, body=query)
    token = timestamp_token.token_of_response(document.data, f"answer of {url[:200]}")
    said = timestamp_token.parse(token)
    if (said.imprint_hash, said.imprint) != ("sha256", digest):
        raise FetchError(f"{url[:200]!r}: the time stamp is about something else than was asked for")
    return token
