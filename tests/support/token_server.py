"""A token server for docker-registry: signed JSON web tokens, as distribution's docs/content/spec/auth/jwt.md wants them."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.http_server import Answer, Request, Server, make_certificate

ISSUER, SERVICE = "test-issuer", "test-registry"


class TokenServer:
    """Gives tokens to whoever has one of ``logins`` (user: password) or, without any, to everybody.

    ``refresh_tokens`` are accepted by POST; without any POST is 404. ``lifetime`` is in seconds.
    """

    def __init__(
        self,
        directory: Path,
        logins: dict[str, str] | None = None,
        refresh_tokens: tuple[str, ...] = (),
        lifetime: int | None = 300,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._certificate, self._key = make_certificate(directory, "127.0.0.1", "token")
        key = serialization.load_pem_private_key(self._key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._private = key
        self._logins = logins or {}
        self._refresh_tokens = refresh_tokens
        self._lifetime = lifetime
        self.server = Server(self._answer)

    @property
    def registry_section(self) -> dict[str, str]:
        """The ``auth: token`` section for docker-registry."""
        return {
            "realm": f"{self.server.url}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self._certificate),
        }

    @property
    def requests(self) -> list[Request]:
        """What was asked so far."""
        return self.server.requests

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.server.__exit__(kind, error, trace)

    def _answer(self, request: Request) -> Answer:
        if request.method == "POST":
            form = parse_qs(request.body.decode())
            if not self._refresh_tokens:
                return Answer(404)
            if form["grant_type"] != ["refresh_token"] or form["refresh_token"][0] not in self._refresh_tokens:
                return Answer(401)
            return self._token(form["scope"][0].split(), "access_token")
        if self._logins:
            known = {
                "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() for user, password in self._logins.items()
            }
            if request.headers.get("authorization") not in known:
                return Answer(401)
        return self._token(parse_qs(request.query).get("scope", []), "token")

    def _token(self, scopes: list[str], member: str) -> Answer:
        access: list[dict[str, Any]] = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": "ann", "aud": SERVICE, "nbf": now - 60, "iat": now, "exp": now + 300, "jti": str(now)}
        chain = x509.load_pem_x509_certificate(self._certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(chain).decode()]}
        text = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps({**claims, 'access': access}).encode())}"
        r, s = decode_dss_signature(self._private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        token = f"{text}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        document: dict[str, Any] = {member: token}
        if self._lifetime is not None:
            document["expires_in"] = self._lifetime
        return Answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
