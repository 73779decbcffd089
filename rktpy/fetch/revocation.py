"""Asking OCSP responders and fetching revocation lists (RFC 6960 appendix A, RFC 5280 section 4.2.1.13), within a time limit.

The answers are signed; plain http is how they are served.
"""

from __future__ import annotations

import threading

from rktpy.errors import FetchError
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.http_url import parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_OCSP_REQUEST = "application/ocsp-request"


def ask(url: str, body: bytes, seconds: float, limit: int, environ: Mapping[str, str] | None = None) -> bytes:
    """The answer to an OCSP request, or what lies at ``url`` when ``body`` is empty.

    ``seconds`` is the time for everything together, ``limit`` the largest answer in bytes. Raises :class:`FetchError`.
    """
    options = HTTPOptions(allow_http=True, connect_seconds=seconds, read_seconds=seconds, attempts=1)
    with Client(options, environ=environ) as client:
        # A server that sends one byte at a time keeps to every limit but that of the whole.
        timer = threading.Timer(seconds, client.stop)
        timer.daemon = True
        timer.start()
        try:
            if body:
                document = client.document(
                    parse_url(url), limit, method="POST", headers=(("Content-Type", _OCSP_REQUEST),), body=body
                )
            else:
                document = client.document(parse_url(url), limit)
        except OSError as error:
            raise FetchError(f"{url[:200]!r}: no answer") from error
        finally:
            timer.cancel()
    return document.data
