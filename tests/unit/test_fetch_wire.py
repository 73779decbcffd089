"""HTTP messages on a socket, whatever the other side sends (RFC 9112)."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import FetchError
from rktpy.fetch.wire import Body, Headers, ProtocolError, Truncated, Wire

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X Y", "a"), ("", "a"), ("X", "€")]


def talk(data: bytes, method: str = "GET", size: int = 7) -> tuple[int, bytes, bool]:
    """Status, body and whether the connection could be used again, for an answer that consists of ``data``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        wire = Wire(ours)
        head = wire.read_head(method)
        body = Body(wire, method, head)
        view = memoryview(bytearray(size))
        out = b""
        while n := body.readinto(view):
            out += view[:n]
        return head.status, out, body.finished and body.delimited and head.keep_alive


@pytest.mark.parametrize("size", [1, 3, 4096])
@pytest.mark.parametrize(
    ("data", "body", "again"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello and more", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: x\r\n\r\n",
            b"hello",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"", True),
    ],
)
def test_bodies(data: bytes, body: bytes, again: bool, size: int) -> None:
    assert talk(data, size=size)[1:] == (body, again)


def test_an_answer_to_head_has_no_body() -> None:
    assert talk(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD") == (200, b"", True)


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"]
    + [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest
        for rest in (b"", b"5\r\nhel", b"5\r\nhello\r\n", b"0\r\n")
    ],
)
def test_what_ends_too_early_may_be_asked_again(data: bytes) -> None:
    with pytest.raises(Truncated):
        talk(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_fetch_error(data: bytes) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED):
        try:
            talk(prefix + data)
        except FetchError:
            continue


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 60))
def test_chunks_are_joined(chunks: list[bytes], size: int) -> None:
    data = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert talk(data, size=size) == (200, b"".join(chunks), True)


@pytest.mark.parametrize(
    ("name", "value"), [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X Y", "a"), ("", "a"), ("X", "€")]
)
def test_headers_cannot_be_smuggled(name: str, value: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(FetchError, match="cannot send"):
            Wire(ours).send_request("GET", "/", [(name, value)])
        ours.shutdown(socket.SHUT_WR)
        assert theirs.recv(100) == b""


def test_header_names_have_no_case() -> None:
    headers = Headers([("ETag", '"a"'), ("Vary", "a, B"), ("vary", "c"), ("etag", '"b"')])
    assert headers.get("ETAG") == '"a"'
    assert headers.tokens("Vary") == ["a", "b", "c"]
    assert headers.get("other") is None and headers.all("other") == []


def test_a_reader_may_read_a_document_with_a_limit() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        wire = Wire(ours)
        body = Body(wire, "GET", wire.read_head("GET"))
        with pytest.raises(FetchError, match="more than the 4 allowed"):
            body.read(4, "it")
        with pytest.raises(ProtocolError):
            wire.readline(2, "a line")
