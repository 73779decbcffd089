"""Asking responders about revocation: over plain http, within a time limit for everything together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rktpy.errors import FetchError
from rktpy.fetch.revocation import ask
from tests.support.http_server import Answer, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def test_a_request_is_posted_and_a_list_is_fetched(server: Server) -> None:
    server.serve("/ocsp", Answer(200, b"answer"))
    server.serve("/list", Answer(200, b"list"))
    assert ask(server.url + "/ocsp", b"question", 5, 100, {}) == b"answer"
    assert ask(server.url + "/list", b"", 5, 100, {}) == b"list"
    first, second = server.requests
    assert (first.method, first.body, first.headers["content-type"]) == ("POST", b"question", "application/ocsp-request")
    assert (second.method, second.body) == ("GET", b"")


def test_what_is_no_answer(server: Server) -> None:
    server.serve("/big", Answer(200, bytes(101)))
    server.serve("/error", Answer(500, b""))
    for path in ("/big", "/error", "/missing"):
        with pytest.raises(FetchError):
            ask(server.url + path, b"", 5, 100, {})
    for url in ("http://127.0.0.1:1/x", "ldap://example.com/x", "http://", "http://[::1"):
        with pytest.raises(FetchError):
            ask(url, b"", 5, 100, {})
    # One question is one request: a responder in trouble is not asked again and again.
    assert [request.path for request in server.requests] == ["/big", "/error", "/missing"]


def test_a_server_that_is_slow_in_small_steps_is_given_up(server: Server) -> None:
    # Each byte comes in time, all of them would take half a minute.
    server.serve("/drip", Answer(200, bytes(100), pace=(1, 0.3)))
    with pytest.raises(FetchError):
        ask(server.url + "/drip", b"", 0.5, 100, {})
