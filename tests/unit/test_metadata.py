"""The metadata service's parts: identity, tokens, and the limits that no client gets past."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from rktpy.errors import StateError, UsageError
from rktpy.formats.stage1 import metadata_url
from rktpy.linux.service_manager import listen_fds
from rktpy.metadata.bounded_server import BoundedHandler, BoundedServer, Limits
from rktpy.metadata.identity import Identity, KeyFile
from rktpy.metadata.registrations import check_token

UUID = "5bc080ca-9e03-480d-b705-5928af396cc5"


def test_the_signature_is_the_hmac_of_uuid_and_content() -> None:
    identity = Identity(b"k" * 64)
    # What openssl dgst -sha512 -mac HMAC gives for the 16 bytes of the UUID and then the content.
    expected = "oAVuJc/skektuve4vWngfuuTfSs0ziyf8bfKvUGLi4AdZFwZl/6q1SVqoSi7vSRub541jnhkWN3OKzRhg6hj9w=="
    assert identity.sign(UUID, b"content") == expected
    assert identity.verify(UUID, b"content", expected[:40] + "\r\n" + expected[40:])
    assert not Identity(b"j" * 64).verify(UUID, b"content", expected)
    assert not identity.verify(UUID, b"content", "")
    with pytest.raises(UsageError):
        identity.verify(UUID, b"content", expected[:-1])


def test_the_key_is_kept_and_held(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = KeyFile(str(path))
    assert len(first.key) == 64 and path.read_bytes() == first.key and path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StateError, match="another metadata service is running"):
        KeyFile(str(path))
    first.close()
    again = KeyFile(str(path))
    assert again.key == first.key
    again.close()
    # A file that was cut short while it was written is no key.
    path.write_bytes(first.key[:63])
    renewed = KeyFile(str(path))
    assert len(renewed.key) == 64 and renewed.key[:63] != first.key[:63]
    renewed.close()


@pytest.mark.parametrize("token", ["0123456789abcdef0123456789abcdef", "A-_z" * 8, "x" * 22, "x" * 256])
def test_tokens(token: str) -> None:
    check_token(token, UUID)


@pytest.mark.parametrize(
    "token", ["", "x" * 21, "x" * 257, "ü" * 32, " " * 32, "a/b" * 16, UUID, UUID.upper(), UUID.replace("-", "")]
)
def test_tokens_that_are_none(token: str) -> None:
    with pytest.raises(UsageError, match=r"^token must"):
        check_token(token, UUID)


def test_the_url_for_apps() -> None:
    assert metadata_url("172.16.28.1", "t0k") == "http://172.16.28.1:18112/t0k"
    assert metadata_url("fd00::1", "t0k") == "http://[fd00::1]:18112/t0k"


class _Slow(BoundedHandler):
    def answer(self) -> tuple[str, bytes]:
        return "text/plain", self.body()


@contextmanager
def served(limits: Limits) -> Iterator[Callable[..., socket.socket]]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = BoundedServer(listener, _Slow, limits)
    server.start()
    clients: list[socket.socket] = []

    def connect(source: str = "127.0.0.1") -> socket.socket:
        clients.append(socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)))
        return clients[-1]

    try:
        yield connect
    finally:
        for client in clients:
            client.close()
        server.stop(0)


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def is_open(client: socket.socket) -> bool:
    client.settimeout(0.3)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nX", b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n"])
def test_a_client_that_drips_is_cut_off(start: bytes) -> None:
    with served(Limits(request_s=1, body_bytes=1000, connections=4, of_one_peer=4)) as connect:
        client = connect()
        began = time.monotonic()
        client.sendall(start)
        try:
            while time.monotonic() - began < 8:
                time.sleep(0.05)
                client.sendall(b"x")
        except OSError:
            pass
        assert 0.9 < time.monotonic() - began < 5


def test_places_are_counted_and_given_back() -> None:
    with served(Limits(request_s=5, body_bytes=1000, connections=3, of_one_peer=2)) as connect:
        first, second = connect(), connect()
        assert is_open(first) and is_open(second)
        assert is_closed(connect())
        other = connect("127.0.0.2")
        assert is_open(other)
        assert is_closed(connect("127.0.0.3"))
        first.close()
        deadline = time.monotonic() + 5
        while not is_open(connect()):
            assert time.monotonic() < deadline


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_bodies_up_to_the_limit(size: int) -> None:
    with served(Limits(request_s=5, body_bytes=1000, connections=3, of_one_peer=3)) as connect:
        host, port = connect().getpeername()
        client = HTTPConnection(host, port, timeout=10)
        data = os.urandom(size)
        client.request("POST", "/", data)
        response = client.getresponse()
        assert (response.status, response.read(), response.getheader("Connection")) == (200, data, "close")
        client.request("POST", "/", bytes(1001))
        response = client.getresponse()
        assert (response.status, response.read()) == (413, b"the body is larger than 1000 bytes")
        client.close()


@pytest.mark.parametrize(
    ("pid", "count"),
    [("other", "1"), ("", "1"), ("self", ""), ("self", "x"), ("self", "-1"), ("self", "99999"), ("self", "\u0661")],
)
def test_descriptors_for_others(monkeypatch: pytest.MonkeyPatch, pid: str, count: str) -> None:
    monkeypatch.setenv("LISTEN_PID", {"self": str(os.getpid()), "other": str(os.getpid() + 1)}.get(pid, pid))
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_FDNAMES", "a:b")
    assert listen_fds() == []
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
