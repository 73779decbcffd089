"""Authentication to one repository of a registry: basic, or bearer tokens from a token server.

distribution ``docs/content/spec/auth/{token,oauth,scope}.md``; SPECS of both agree with what podman and docker send.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import quote

from rktpy.errors import FetchError, FormatError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.challenge import Challenge, parse_challenges
from rktpy.fetch.connection import basic_authorization
from rktpy.fetch.http_url import URL, parse_url
from rktpy.formats import jsondoc
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rktpy.fetch.http import Client
    from rktpy.fetch.wire import Headers

_CLIENT_ID = "rktpy"
# Token servers that leave expires_in out mean this (seconds), and it is the least that others may say.
_LIFETIME = 60
# More than any process lives, and a number that a float can hold.
_LONGEST = 1 << 31
# A token is given up a little before its end, so that it does not run out on the way.
_MARGIN = 5


class Credential(Record):
    """What a user has for a registry: name and password, or an identity token (OAuth2 refresh token), or a ready bearer token."""

    user: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credential(user={self.user!r}, …)"  # no secrets in tracebacks and logs


class _Token(Record):
    text: str
    expires: float


class RegistryAuth:
    """Credentials for the requests to one repository; an Authorizer for :class:`rktpy.fetch.http.Client`.

    ``base`` is the registry's URL: nothing is ever sent to another origin, except to the token server it names. ``scope`` is
    what to ask for if the registry does not say. ``credential`` is called at the first 401 only. Safe for several threads.
    """

    def __init__(self, client: Client, base: URL, scope: str, credential: Callable[[], Credential | None]) -> None:
        self._client = client
        self._origin = base.origin
        self._scope = scope
        self._find = credential
        self._lock = threading.RLock()
        self._credential: Credential | None = None
        self._asked = False
        self._basic = ""
        self._challenge: Challenge | None = None
        self._token: _Token | None = None
        self._sent = threading.local()

    def headers(self, method: str, url: URL, redirected: bool) -> list[tuple[str, str]]:
        """See :class:`rktpy.fetch.http.Authorizer`."""
        if url.origin != self._origin:
            return []
        with self._lock:
            if self._token is not None and self._challenge is not None and self._token.expires <= time.monotonic():
                self._token = self._fetch_token(self._challenge)
            value = f"Bearer {self._token.text}" if self._token else self._basic
            self._sent.value = value
            return [("Authorization", value)] if value else []

    def challenged(self, url: URL, answer: Headers) -> bool:
        """See :class:`rktpy.fetch.http.Authorizer`."""
        if url.origin != self._origin:
            return False
        offers = parse_challenges(answer.all("www-authenticate"))
        with self._lock:
            sent = getattr(self._sent, "value", "")
            now = f"Bearer {self._token.text}" if self._token else self._basic
            if now != sent:
                return True  # another thread has been faster
            for offer in offers:
                if offer.scheme == "bearer" and (self._token is None or offer != self._challenge):
                    self._challenge = offer
                    self._token = self._fetch_token(offer)
                    return True
                credential = self._get_credential() if offer.scheme == "basic" else None
                if credential is not None and credential.user and not self._basic:
                    self._basic = basic_authorization(credential.user, credential.password)
                    return True
            return False

    def _get_credential(self) -> Credential | None:
        if not self._asked:
            self._credential = self._find()
            self._asked = True
        return self._credential

    def _fetch_token(self, challenge: Challenge) -> _Token:
        credential = self._get_credential()
        if credential is not None and credential.registry_token:
            return _Token(credential.registry_token, float("inf"))
        realm = parse_url(challenge.get("realm"))
        fields: list[tuple[str, str]] = []
        if service := challenge.get("service"):
            fields.append(("service", service))
        # One challenge may name several scopes, separated by spaces.
        scopes = challenge.get("scope").split() or [self._scope]
        began = time.monotonic()
        if credential is not None and credential.identity_token:
            answer = self._post(realm, fields, scopes, credential.identity_token)
            if answer is not None:
                return _read_token(answer, began, realm)
        authorization: list[tuple[str, str]] = []
        if credential is not None and credential.user:
            fields.append(("account", credential.user))
            authorization.append(("Authorization", basic_authorization(credential.user, credential.password)))
        query = _form([*fields, *(("scope", scope) for scope in scopes)])
        url = realm.replace(query=f"{realm.query}&{query}" if realm.query else query)
        try:
            document = self._client.document(url, limits.TOKEN_BYTES, headers=authorization)
        except HTTPError as error:
            if error.code == 401 and credential is not None and authorization:
                raise HTTPError(f"{realm.shown} does not accept the credentials of {credential.user}", 401) from error
            raise
        return _read_token(document.data, began, realm)

    def _post(self, realm: URL, fields: list[tuple[str, str]], scopes: list[str], refresh_token: str) -> bytes | None:
        """The answer to an OAuth2 request; None when the server knows only GET."""
        form = [("grant_type", "refresh_token"), *fields, ("client_id", _CLIENT_ID), ("scope", " ".join(scopes))]
        form.append(("refresh_token", refresh_token))
        document = self._client.document(
            realm,
            limits.TOKEN_BYTES,
            method="POST",
            headers=[("Content-Type", "application/x-www-form-urlencoded")],
            body=_form(form).encode("ascii"),
            accept=(200, 404, 405),
        )
        return document.data if document.status == 200 else None


def _form(fields: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe=':,/')}" for name, value in fields)


def _read_token(data: bytes, began: float, realm: URL) -> _Token:
    what = f"token of {realm.shown}"
    doc: dict[str, Any] = jsondoc.parse_object(data, what)
    text = doc.get("token") or doc.get("access_token")
    if not isinstance(text, str) or not text:
        raise FormatError(what, "token", "is missing")
    if not text.isascii() or not text.isprintable():
        raise FetchError(f"{what}: holds characters that no token has")
    lifetime = doc.get("expires_in")
    seconds = lifetime if isinstance(lifetime, (int, float)) else 0
    return _Token(text, began + min(max(seconds, _LIFETIME), _LONGEST) - _MARGIN)
