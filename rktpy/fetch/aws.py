"""AWS Signature Version 4 for GET and HEAD requests to S3, the ``aws`` credentials of rkt's auth.d.

Source: AWS "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote, unquote

from rktpy.fetch.http_url import URL
from rktpy.formats.config import aws_region_of

_EMPTY = hashlib.sha256(b"").hexdigest()


def sign(method: str, url: URL, key_id: str, secret: str, region: str = "", *, now: float | None = None) -> list[tuple[str, str]]:
    """The header fields that authorize this request. ``now`` is in seconds since the epoch; an empty region is guessed."""
    region = region or aws_region_of(url.host)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    day = moment[:8]
    signed = {"host": url.authority, "x-amz-content-sha256": _EMPTY, "x-amz-date": moment}
    names = ";".join(signed)
    fields = "".join(f"{name}:{value}\n" for name, value in signed.items())
    path = quote(unquote(url.path), safe="/-_.~")
    request = "\n".join((method, path, _canonical_query(url.query), fields, names, _EMPTY))
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [("Authorization", credential), ("X-Amz-Content-Sha256", _EMPTY), ("X-Amz-Date", moment)]


def _canonical_query(query: str) -> str:
    pairs: list[tuple[str, str]] = []
    for item in query.split("&") if query else ():
        name, _, value = item.partition("=")
        pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
