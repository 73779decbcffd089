"""ACIs and signatures over HTTP: resuming, caching, and servers that misbehave."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import DigestMismatch, FetchError, HTTPError, StoreError
from rktpy.fetch import limits
from rktpy.fetch.aci import fetch_aci, signature_url_of
from rktpy.fetch.download import download
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.retry import ConnectionFailed
from tests.support.http_server import Answer, Request, Server, ranged
from tests.support.sink import DirectorySink

DATA = os.urandom(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def client() -> Client:
    return Client(HTTPOptions(allow_http=True, read_seconds=5), environ={})


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)


def got(path: str) -> bytes:
    return Path(path).read_bytes()


def test_a_whole_aci_arrives_with_its_facts(server: Server, client: Client, sink: DirectorySink) -> None:
    server.serve("/app.aci", Answer(200, DATA, {"ETag": '"one"', "Cache-Control": "public, max-age=60"}))
    with sink.partial("app") as partial:
        found = fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == DATA
    assert (found.not_modified, found.size, found.etag, found.max_age, found.signature) == (False, len(DATA), '"one"', 60, None)


def test_a_cut_download_is_continued_with_range(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/app.aci", DATA, cut=1_000_000)
    with sink.partial("app") as partial:
        fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == DATA
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=1000000-"]
    assert server.requests[1].headers["if-range"].startswith('"')


def test_another_process_continues(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/app.aci", DATA, cut=700_000)
    with sink.partial("app") as partial, pytest.raises(ConnectionFailed):
        fetch_aci(client.derive(client.options.replace(attempts=1)), f"{server.url}/app.aci", partial)
    with sink.partial("app") as partial:
        assert partial.size == 700_000
        fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == DATA
    assert server.requests[-1].headers["range"] == "bytes=700000-"


def test_a_changed_file_starts_from_the_beginning(server: Server, client: Client, sink: DirectorySink) -> None:
    other = os.urandom(2_000_000)
    server.sequence("/app.aci", Answer(200, DATA, {"ETag": '"old"'}, cut=500_000), lambda r: ranged(r, other, {"ETag": '"new"'}))
    with sink.partial("app") as partial:
        fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == other


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_without_a_strong_validator_nothing_is_continued(
    server: Server, client: Client, sink: DirectorySink, headers: dict[str, str]
) -> None:
    server.sequence("/app.aci", Answer(200, DATA, headers, cut=500_000), Answer(200, DATA, headers))
    with sink.partial("app") as partial:
        fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == DATA
    assert [request.headers.get("range") for request in server.requests] == [None, None]


def test_an_old_last_modified_is_a_validator(server: Server, client: Client, sink: DirectorySink) -> None:
    headers = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Date": "Mon, 01 Jan 2024 00:01:00 GMT"}
    server.sequence("/app.aci", Answer(200, DATA, headers, cut=500_000), lambda r: ranged(r, DATA, headers))
    with sink.partial("app") as partial:
        fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == DATA
    assert server.requests[1].headers["if-range"] == headers["Last-Modified"]


def test_a_complete_partial_is_recognised_by_416(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/app.aci", DATA)
    etag = f'"{hashlib.md5(DATA).hexdigest()}"'
    with sink.partial("app") as partial:
        partial.write(DATA)
        partial.set_validator({"url": f"{server.url}/app.aci", "etag": etag})
        assert fetch_aci(client, f"{server.url}/app.aci", partial).size == len(DATA)
        assert got(partial.path) == DATA
    assert len(server.requests) == 1


def test_a_too_long_partial_starts_again(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/app.aci", DATA)
    with sink.partial("app") as partial:
        partial.write(DATA + b"more")
        partial.set_validator({"url": f"{server.url}/app.aci", "etag": f'"{hashlib.md5(DATA).hexdigest()}"'})
        fetch_aci(client, f"{server.url}/app.aci", partial)
        assert got(partial.path) == DATA


def test_a_server_that_answers_the_wrong_range_is_given_up(server: Server, client: Client, sink: DirectorySink) -> None:
    wrong = Answer(206, DATA[:10], {"Content-Range": "bytes 0-9/3000000"})
    server.serve("/blob", wrong)
    with sink.partial(SHA256) as partial, pytest.raises(HTTPError, match="contradicts itself about ranges"):
        partial.write(DATA[:100])
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))
    assert len(server.requests) <= 4


def test_not_modified(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/app.aci", DATA, {"Cache-Control": "max-age=5"})
    with sink.partial("app") as partial:
        first = fetch_aci(client, f"{server.url}/app.aci", partial)
        partial.discard()
    with sink.partial("app") as partial:
        second = fetch_aci(client, f"{server.url}/app.aci", partial, etag=first.etag)
        assert partial.size == 0
    assert (second.not_modified, second.etag, second.max_age) == (True, first.etag, 5)


def test_a_deferred_signature_is_fetched_after_the_image(server: Server, client: Client, sink: DirectorySink) -> None:
    server.sequence("/app.aci.asc", Answer(202), Answer(200, b"signature"))
    server.file("/app.aci", DATA)
    url = f"{server.url}/app.aci"
    with sink.partial("app") as partial:
        found = fetch_aci(client, url, partial, signature_url=signature_url_of(url))
    assert found.signature == b"signature"
    assert server.paths() == ["GET /app.aci.asc", "GET /app.aci", "GET /app.aci.asc"]


def test_a_signature_deferred_twice_is_an_error(server: Server, client: Client, sink: DirectorySink) -> None:
    server.serve("/app.aci.asc", Answer(202))
    server.file("/app.aci", DATA)
    url = f"{server.url}/app.aci"
    with sink.partial("app") as partial, pytest.raises(FetchError, match="server asked to defer the download again"):
        fetch_aci(client, url, partial, signature_url=signature_url_of(url))


def test_a_missing_signature_stops_before_the_image(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/app.aci", DATA)
    url = f"{server.url}/app.aci"
    with sink.partial("app") as partial, pytest.raises(FetchError, match="error downloading the signature file"):
        fetch_aci(client, url, partial, signature_url=signature_url_of(url))
    assert server.paths() == ["GET /app.aci.asc"]


def test_a_digest_is_checked_and_wrong_bytes_are_not_kept(server: Server, client: Client, sink: DirectorySink) -> None:
    server.serve("/blob", Answer(200, DATA[:-1] + b"x"))
    with sink.partial(SHA256) as partial, pytest.raises(DigestMismatch) as raised:
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))
    assert f"{server.url}/blob" in str(raised.value) and SHA256 in str(raised.value)
    assert sink.partial_files() == []


def test_a_bad_beginning_from_an_earlier_process_is_thrown_away_once(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/blob", DATA)
    with sink.partial(SHA256) as partial:
        partial.write(b"damaged")
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))
        assert got(partial.path) == DATA
    assert [request.headers.get("range") for request in server.requests] == ["bytes=7-", None]


@pytest.mark.parametrize("chunked", [False, True])
def test_the_first_byte_too_many_ends_the_download(server: Server, client: Client, sink: DirectorySink, chunked: bool) -> None:
    server.serve("/blob", Answer(200, DATA + DATA, chunked=chunked, pace=(500_000, 0.01)))
    with sink.partial(SHA256) as partial, pytest.raises(DigestMismatch, match=r"expected 3000000|more than the 3000000"):
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))


def test_an_endless_aci_stops_at_the_limit(
    server: Server, client: Client, sink: DirectorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ACI_BYTES", 1_000_000)
    server.serve("/app.aci", Answer(200, DATA, chunked=True))
    with sink.partial("app") as partial, pytest.raises(FetchError, match="more than the 1000000 bytes"):
        fetch_aci(client, f"{server.url}/app.aci", partial)
    assert sink.partial_files() == []


def test_chunked_bodies_arrive_whole(server: Server, client: Client, sink: DirectorySink) -> None:
    server.serve("/blob", Answer(200, DATA, chunked=True, pace=(70_001, 0.0)))
    with sink.partial(SHA256) as partial:
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))
        assert got(partial.path) == DATA


def test_a_full_disk_is_not_taken_for_a_network_error(server: Server, client: Client, sink: DirectorySink) -> None:
    server.file("/blob", DATA)
    sink.full_after = 1_000_000
    with sink.partial(SHA256) as partial, pytest.raises(StoreError):
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))
    assert len(server.requests) == 1


def test_a_server_that_always_cuts_is_given_up(server: Server, client: Client, sink: DirectorySink) -> None:
    def one_byte_less(request: Request) -> Answer:
        return ranged(request, DATA, {"ETag": '"x"'}, cut=0)

    server.routes["/blob"] = one_byte_less
    with sink.partial(SHA256) as partial, pytest.raises(ConnectionFailed, match="closed in the middle"):
        download(client, parse_url(f"{server.url}/blob"), partial, limit=1 << 30, digest=SHA256, size=len(DATA))
    assert len(server.requests) == client.options.attempts


def test_a_stalled_server_times_out_and_the_bytes_stay(server: Server, sink: DirectorySink) -> None:
    client = Client(HTTPOptions(allow_http=True, read_seconds=0.2, attempts=2), environ={})
    server.file("/blob", DATA)
    server.routes["/blob"] = lambda r: Answer(200, DATA, {"ETag": '"x"'}, pace=(1000, 0.6))
    with sink.partial("app") as partial:
        with pytest.raises(ConnectionFailed, match="timed out"):
            fetch_aci(client, f"{server.url}/blob", partial)
        assert partial.size == 1000
