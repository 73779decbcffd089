"""The HTTP client against servers that redirect, refuse, delay and lie."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import FetchError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.host_auth import HostAuth
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.retry import ConnectionFailed
from rktpy.fetch.wire import ProtocolError
from rktpy.formats.config import BasicAuth, OAuth
from tests.support.http_server import Answer, Request, Server, make_certificate
from tests.support.proxy import Proxy

OPTIONS = HTTPOptions(allow_http=True, read_seconds=5, connect_seconds=5)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pair = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    with Server(tls=pair) as running:
        yield running


def get(server: Server, path: str = "/x", limit: int = 1000, options: HTTPOptions = OPTIONS) -> bytes:
    return Client(options, environ={}).document(parse_url(server.url + path), limit).data


def test_one_connection_serves_many_requests(server: Server) -> None:
    server.serve("/x", Answer(200, b"hello"))
    client = Client(OPTIONS, environ={})
    for _ in range(5):
        assert client.document(parse_url(server.url + "/x"), 100).data == b"hello"
    assert {request.connection for request in server.requests} == {1}


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(server: Server) -> None:
    server.routes["/x"] = lambda _r: Answer(200, b"hello", raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    client = Client(OPTIONS.replace(attempts=1), environ={})
    for _ in range(3):
        assert client.document(parse_url(server.url + "/x"), 100).data == b"hello"
        time.sleep(0.02)
    assert len({request.connection for request in server.requests}) == 3


def test_identity_is_asked_for_and_another_coding_refused(server: Server) -> None:
    server.serve("/x", Answer(200, b"hello", {"Content-Encoding": "gzip"}))
    with pytest.raises(FetchError, match="unrequested content encoding 'gzip'"):
        get(server)
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert server.requests[0].headers["user-agent"].startswith("rktpy/")


@pytest.mark.parametrize("chunked", [False, True])
def test_documents_have_a_limit(server: Server, chunked: bool) -> None:
    server.serve("/x", Answer(200, b"x" * 1001, chunked=chunked))
    with pytest.raises(FetchError, match=r"1001 bytes, more than the 1000 allowed|more than the 1000 bytes allowed"):
        get(server)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_server_errors_are_tried_again(server: Server, status: int) -> None:
    server.sequence("/x", Answer(status), Answer(status), Answer(200, b"at last"))
    assert get(server) == b"at last"


def test_and_given_up_in_the_end(server: Server) -> None:
    server.serve("/x", Answer(503))
    with pytest.raises(HTTPError, match="HTTP 503"):
        get(server)
    assert len(server.requests) == OPTIONS.attempts


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
def test_client_errors_are_not_tried_again(server: Server, status: int) -> None:
    server.serve("/x", Answer(status))
    with pytest.raises(HTTPError) as raised:
        get(server)
    assert raised.value.code == status
    assert len(server.requests) == 1


def test_retry_after_is_obeyed(server: Server) -> None:
    server.sequence("/x", Answer(429, headers={"Retry-After": "1"}), Answer(200, b"at last"))
    began = time.monotonic()
    assert get(server) == b"at last"
    assert 0.9 < time.monotonic() - began < 5


def test_an_hour_of_retry_after_is_an_error_at_once(server: Server) -> None:
    server.serve("/x", Answer(429, headers={"Retry-After": "3600"}))
    with pytest.raises(HTTPError, match="HTTP 429"):
        get(server)
    assert len(server.requests) == 1


def test_truncated_documents_are_fetched_again(server: Server) -> None:
    server.sequence(
        "/x", Answer(200, b"0123456789", cut=5), Answer(200, b"0123456789", chunked=True, cut=5), Answer(200, b"0123456789")
    )
    assert get(server) == b"0123456789"


def test_a_body_without_length_ends_with_the_connection(server: Server) -> None:
    server.routes["/x"] = lambda _r: Answer(raw=b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert get(server) == b"hello"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(server: Server, status: int) -> None:
    server.serve("/x", Answer(status, b"moved", headers={"Location": "y?a=b"}))
    server.serve("/y", Answer(200, b"here"))
    assert get(server) == b"here"
    assert server.paths() == ["GET /x", "GET /y?a=b"]


def test_redirects_have_a_limit(server: Server) -> None:
    server.serve("/x", Answer(302, headers={"Location": "/x"}))
    with pytest.raises(HTTPError, match="more than 10 redirects"):
        get(server)
    assert len(server.requests) == 11


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://:80/", "http://[::1", "http://a b/"])
def test_a_redirect_leads_to_http_only(server: Server, location: str) -> None:
    server.serve("/x", Answer(302, headers={"Location": location}))
    with pytest.raises(FetchError):
        get(server)
    assert len(server.requests) == 1


def test_tls_is_not_left_by_a_redirect(server: Server, tls: Server) -> None:
    tls.serve("/x", Answer(302, headers={"Location": f"{server.url}/x"}))
    server.serve("/x", Answer(200, b"insecure"))
    with pytest.raises(FetchError, match="refusing the redirect to unencrypted"):
        get(tls, options=OPTIONS.replace(allow_http=False))
    assert server.requests == []
    assert get(tls) == b"insecure"


def test_credentials_stay_with_their_origin(tls: Server, tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, stem="second")
    with Server(tls=pair) as second:
        tls.serve("/x", Answer(302, headers={"Location": f"{second.url}/x"}))
        second.serve("/x", Answer(200, b"there"))
        auth = HostAuth({tls.host: BasicAuth("ann", "secret"), second.host: OAuth("other")})
        client = Client(OPTIONS.replace(insecure_tls=True), environ={})
        own = [("Cookie", "a=b"), ("Authorization", "Bearer own"), ("X-Other", "kept")]
        assert client.document(parse_url(f"{tls.url}/x"), 100, headers=own[:1] + own[2:], authorizer=auth).data == b"there"
        assert tls.requests[0].headers["authorization"] == "Basic YW5uOnNlY3JldA=="
        assert "authorization" not in second.requests[0].headers
        client.document(parse_url(f"{tls.url}/x"), 100, headers=own)
        assert tls.requests[1].headers["authorization"] == "Bearer own"
        assert {"authorization", "cookie"}.isdisjoint(second.requests[1].headers)
        assert second.requests[1].headers["x-other"] == "kept"


def test_another_host_gets_its_own_credentials_when_it_asks(tls: Server, tmp_path: Path) -> None:
    with Server(tls=make_certificate(tmp_path, stem="second")) as second:

        def private(request: Request) -> Answer:
            return Answer(200, b"ok") if request.headers.get("authorization") == "Bearer other" else Answer(401)

        tls.serve("/x", Answer(302, headers={"Location": f"{second.url}/x"}))
        second.routes["/x"] = private
        auth = HostAuth({tls.host: BasicAuth("ann", "secret"), second.host: OAuth("other")})
        client = Client(OPTIONS.replace(insecure_tls=True), environ={})
        assert client.document(parse_url(f"{tls.url}/x"), 100, authorizer=auth).data == b"ok"
        assert [request.headers.get("authorization") for request in second.requests] == [None, "Bearer other"]


def test_wrong_credentials_are_sent_twice_at_most(tls: Server) -> None:
    tls.serve("/x", Answer(401))
    with pytest.raises(HTTPError, match="HTTP 401"):
        Client(OPTIONS, environ={}).document(
            parse_url(f"{tls.url}/x"), 100, authorizer=HostAuth({tls.host: BasicAuth("ann", "wrong")})
        )
    assert len(tls.requests) <= 2


def test_user_information_in_a_url_is_used_and_not_shown(server: Server) -> None:
    server.serve("/x", Answer(404))
    with pytest.raises(HTTPError) as raised:
        Client(OPTIONS, environ={}).document(parse_url(f"http://ann:secret@{server.host}/x"), 100)
    assert server.requests[0].headers["authorization"] == "Basic YW5uOnNlY3JldA=="
    assert "secret" not in str(raised.value)


def test_an_untrusted_certificate(tls: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    tls.serve("/x", Answer(200, b"hello"))
    with pytest.raises(ConnectionFailed, match="certificate is not accepted") as raised:
        get(tls)
    assert raised.value.certificate
    assert get(tls, options=OPTIONS.replace(insecure_tls=True)) == b"hello"


def test_a_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_certificate(tmp_path, "other.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
    with Server(tls=pair) as running, pytest.raises(ConnectionFailed, match="certificate is not accepted"):
        get(running)


def test_plain_http_needs_permission(server: Server) -> None:
    with pytest.raises(FetchError, match="plain http is not allowed"):
        get(server, options=HTTPOptions())
    assert server.requests == []


def test_a_refused_connection_is_tried_a_few_times() -> None:
    with Server() as gone:
        url = gone.url
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match="connection refused"):
        Client(OPTIONS, environ={}).document(parse_url(url), 100)
    assert time.monotonic() - began < 5


def test_a_silent_server_times_out(server: Server) -> None:
    server.serve("/x", Answer(200, b"late", delay=3))
    with pytest.raises(ConnectionFailed, match="timed out"):
        get(server, options=OPTIONS.replace(read_seconds=0.2, attempts=2))


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nspace : before\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_answers_that_are_no_http(server: Server, raw: bytes) -> None:
    server.routes["/x"] = lambda _r: Answer(raw=raw)
    with pytest.raises(ProtocolError):
        get(server)
    assert len(server.requests) == 1


def test_interim_answers_are_passed_over(server: Server) -> None:
    server.routes["/x"] = lambda _r: Answer(
        raw=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello"
    )
    assert get(server) == b"hello"


def test_the_proxy_gets_plain_requests_and_tunnels(server: Server, tls: Server) -> None:
    server.serve("/x", Answer(200, b"plain"))
    tls.serve("/x", Answer(200, b"secure"))
    with Proxy({"plain.test:80": server.port, "secure.test:443": tls.port}, "me:pass") as proxy:
        client = Client(OPTIONS.replace(insecure_tls=True), environ=proxy.environ)
        assert client.document(parse_url("http://plain.test/x"), 100).data == b"plain"
        assert client.document(parse_url("https://secure.test/x"), 100).data == b"secure"
        assert proxy.seen == ["GET http://plain.test/x", "CONNECT secure.test:443"]
        assert server.requests[0].headers["host"] == "plain.test"
        assert "proxy-authorization" not in tls.requests[0].headers
        wrong = {name: value.replace("me:pass", "me:other") for name, value in proxy.environ.items()}
        with pytest.raises(HTTPError, match=r"refuses to connect to secure.test:443: HTTP 407"):
            Client(OPTIONS, environ=wrong).document(parse_url("https://secure.test/x"), 100)


def test_a_stopped_client_ends_its_requests(server: Server) -> None:
    import threading

    server.serve("/x", Answer(200, b"late", delay=10))
    client = Client(OPTIONS.replace(read_seconds=20), environ={})
    threading.Timer(0.2, client.stop).start()
    began = time.monotonic()
    with pytest.raises(FetchError, match="stopped"):
        client.document(parse_url(server.url + "/x"), 100)
    assert time.monotonic() - began < 3
