"""Credentials per host for ACIs, signatures, keys and discovery: the ``auth`` documents of rkt's auth.d
(rkt 1.30 ``Documentation/configuration.md``)."""

from __future__ import annotations

from rktpy.fetch.connection import basic_authorization
from rktpy.formats.config import AWSAuth, BasicAuth, OAuth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rktpy.fetch.http_url import URL
    from rktpy.fetch.wire import Headers


class HostAuth:
    """An Authorizer that knows hosts (``host[:port]`` as in the Host header) and what each gets.

    As rkt, credentials go out over TLS only, and with the first request. A host that we were redirected to gets its own
    only when it asks (401): signed download URLs do not bear a second way to authenticate.
    """

    def __init__(self, credentials: Mapping[str, BasicAuth | OAuth | AWSAuth]) -> None:
        self._credentials = {host.lower(): credential for host, credential in credentials.items()}
        self._asked: set[tuple[str, str, int]] = set()

    def headers(self, method: str, url: URL, redirected: bool) -> list[tuple[str, str]]:
        """See :class:`rktpy.fetch.http.Authorizer`."""
        credential = self._credentials.get(url.authority)
        if credential is None or url.scheme != "https" or (redirected and url.origin not in self._asked):
            return []
        if isinstance(credential, BasicAuth):
            return [("Authorization", basic_authorization(credential.user, credential.password))]
        if isinstance(credential, OAuth):
            return [("Authorization", f"Bearer {credential.token}")]
        from rktpy.fetch.aws import sign

        return sign(method, url, credential.access_key_id, credential.secret_access_key, credential.region)

    def challenged(self, url: URL, answer: Headers) -> bool:
        """See :class:`rktpy.fetch.http.Authorizer`."""
        if url.origin in self._asked or url.authority not in self._credentials or url.scheme != "https":
            return False
        self._asked.add(url.origin)
        return True
