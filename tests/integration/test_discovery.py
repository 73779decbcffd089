"""Meta discovery against servers behind a proxy that plays the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import FetchError
from rktpy.fetch import limits
from rktpy.fetch.discovery import ACIEndpoint, discover_endpoints, discover_keys
from rktpy.fetch.host_auth import HostAuth
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.formats.aci.types import NameValue
from rktpy.formats.config import BasicAuth
from tests.support.http_server import Answer, Request, Server, make_certificate
from tests.support.proxy import Proxy

LABELS = (NameValue("version", "1.0"), NameValue("os", "linux"), NameValue("arch", "amd64"))
PAGE = b"""<!doctype html><html><head>
<meta content="example.test https://dl.example.test/{name}-{version}-{os}-{arch}.{ext}" name=ac-discovery>
<META NAME="ac-discovery-pubkeys" CONTENT="example.test https://dl.example.test/keys.gpg" />
</head></html>"""


class Network:
    """example.test with TLS on 443 and without on 80."""

    def __init__(self, secure: Server, plain: Server, proxy: Proxy) -> None:
        self.secure = secure
        self.plain = plain
        self.proxy = proxy

    def client(self, *, allow_http: bool = False, insecure_tls: bool = False) -> Client:
        options = HTTPOptions(attempts=2, read_seconds=5, allow_http=allow_http, insecure_tls=insecure_tls)
        return Client(options, environ=self.proxy.environ)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)
    pair = make_certificate(tmp_path, "example.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    secure, plain = Server(tls=pair), Server()
    with secure, plain, Proxy({"example.test:443": secure.port, "example.test:80": plain.port}) as proxy:
        yield Network(secure, plain, proxy)


def test_the_walk_ends_at_the_first_page_with_a_matching_tag(network: Network) -> None:
    other = b'<meta name="ac-discovery" content="example.test/other https://wrong.test/{name}.{ext}">'
    network.secure.serve("/team/app", Answer(404))
    network.secure.serve("/team", Answer(200, other))
    network.secure.serve("/", Answer(200, PAGE))
    found = discover_endpoints(network.client(), "example.test/team/app", LABELS)
    base = "https://dl.example.test/example.test/team/app-1.0-linux-amd64"
    assert found == (ACIEndpoint(f"{base}.aci", f"{base}.aci.asc"),)
    assert network.secure.paths() == [f"GET {path}?ac-discovery=1" for path in ("/team/app", "/team", "/")]


def test_keys(network: Network) -> None:
    network.secure.serve("/", Answer(200, PAGE))
    assert discover_keys(network.client(), "example.test/team") == ("https://dl.example.test/keys.gpg",)


def test_redirects_are_followed(network: Network) -> None:
    network.secure.serve("/app", Answer(302, headers={"Location": "/page.html"}))
    network.secure.serve("/page.html", Answer(200, PAGE))
    assert discover_endpoints(network.client(), "example.test/app", LABELS)


def test_plain_http_only_when_allowed(network: Network) -> None:
    network.plain.serve("/app", Answer(200, PAGE))
    with pytest.raises(FetchError, match=r"discovery of example\.test/app failed"):
        discover_endpoints(network.client(), "example.test/app", LABELS)
    assert network.plain.requests == []
    assert discover_endpoints(network.client(allow_http=True), "example.test/app", LABELS)
    assert network.secure.paths()[-1] == "GET /app?ac-discovery=1"


def test_a_foreign_certificate_is_refused_unless_tls_checks_are_off(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(make_certificate(tmp_path, "example.test", "other")[0]))
    network.secure.serve("/app", Answer(200, PAGE))
    with pytest.raises(FetchError, match="certificate is not accepted"):
        discover_endpoints(network.client(), "example.test/app", LABELS)
    assert network.secure.requests == []
    assert discover_endpoints(network.client(insecure_tls=True), "example.test/app", LABELS)


def test_credentials_of_auth_d(network: Network) -> None:
    def private(request: Request) -> Answer:
        return Answer(200, PAGE) if request.headers.get("authorization") == "Basic YW5uOnNlY3JldA==" else Answer(401)

    network.secure.routes["/app"] = private
    with pytest.raises(FetchError, match="401"):
        discover_endpoints(network.client(), "example.test/app", LABELS)
    auth = HostAuth({"example.test": BasicAuth("ann", "secret")})
    assert discover_endpoints(network.client(), "example.test/app", LABELS, auth)


def test_credentials_do_not_go_out_unencrypted(network: Network) -> None:
    network.plain.serve("/app", Answer(200, PAGE))
    auth = HostAuth({"example.test": BasicAuth("ann", "secret")})
    assert discover_endpoints(network.client(allow_http=True), "example.test/app", LABELS, auth)
    assert "authorization" not in network.plain.requests[-1].headers


def test_an_unreachable_host_is_named(network: Network) -> None:
    with pytest.raises(
        FetchError, match=r"discovery of nowhere.test/app failed: proxy 127.0.0.1:\d+ refuses to connect to nowhere"
    ):
        discover_endpoints(network.client(), "nowhere.test/app", LABELS)


def test_a_page_without_end_is_cut_off(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 1000)
    network.secure.serve("/app", Answer(200, PAGE * 100, chunked=True))
    with pytest.raises(FetchError, match="more than the 1000 bytes allowed"):
        discover_endpoints(network.client(), "example.test/app", LABELS)
