"""The metadata service as a process, asked by real clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.metadata import FORM, IMAGE, IMAGE_ID, OTHER_TOKEN, OTHER_UUID, POD, TOKEN, UUID, Metadata
from tests.support.pods import wait_for
from tests.support.services import ask

pytestmark = pytest.mark.root


@pytest.fixture
def service(rktpy: Rktpy, run_dir: Path, tmp_path: Path) -> Iterator[Metadata]:
    with Metadata(rktpy, tmp_path, run_dir) as started:
        started.said("running")
        yield started


@pytest.fixture
def registered(service: Metadata) -> Metadata:
    service.register()
    return service


ASCII = "text/plain; charset=us-ascii"
JSON = "application/json"


def test_what_apps_can_ask(registered: Metadata) -> None:
    assert registered.get("pod/uuid") == (200, ASCII, UUID)
    assert registered.get("pod/annotations/example.com/ip-address") == (200, ASCII, "10.1.2.3")
    assert registered.get("apps/web/image/id") == (200, ASCII, IMAGE_ID)
    assert registered.get("apps/web/annotations/authors") == (200, ASCII, "app's")
    assert registered.get("apps/web/annotations/example.com/only/here") == (200, ASCII, "i")
    for path, document in (
        ("pod/manifest", POD),
        ("pod/annotations", POD["annotations"]),
        ("apps/web/image/manifest", IMAGE),
        (
            "apps/web/annotations",
            [
                {"name": "authors", "value": "app's"},
                {"name": "example.com/only/here", "value": "i"},
                {"name": "new", "value": "n"},
            ],
        ),
    ):
        status, kind, text = registered.get(path)
        assert (status, kind, json.loads(text)) == (200, JSON, document)


def test_curl_is_answered(registered: Metadata) -> None:
    url = f"http://127.0.0.1:{registered.port}/{TOKEN}/acMetadata/v1/pod"
    curl = [need_tool("curl"), "-sS", "--fail", "--max-time", "20"]
    assert subprocess.check_output([*curl, f"{url}/uuid"], text=True) == UUID
    sign = [*curl, "-H", "Expect: 100-continue", "--data-urlencode", "content=a + b", f"{url}/hmac/sign"]
    signature = subprocess.check_output(sign, text=True)
    form = [f"content={'a + b'}", f"uuid={UUID}", f"signature={signature}"]
    verify = [*curl, *[word for field in form for word in ("--data-urlencode", field)], f"{url}/hmac/verify"]
    assert subprocess.run(verify, check=False).returncode == 0
    verify[verify.index("content=a + b")] = "content=a - b"
    assert subprocess.run(verify, check=False, capture_output=True).returncode == 22


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 404, "404 page not found\n"),
        (f"/{TOKEN}/acMetadata/v1/", 404, "404 page not found\n"),
        (f"/{TOKEN}/acMetadata/v2/pod/uuid", 404, "404 page not found\n"),
        (f"/{TOKEN}/acMetadata/v1/pod/uuid/", 404, "404 page not found\n"),
        (f"/{TOKEN}/acMetadata/v1/apps/web/../web/image/id", 404, "404 page not found\n"),
        (f"/{OTHER_TOKEN}/acMetadata/v1/pod/uuid", 401, "pod not found\n"),
        (f"/{OTHER_TOKEN}/acMetadata/v1/apps/web/image/id", 401, "pod not found\n"),
        ("//acMetadata/v1/pod/uuid", 404, "404 page not found\n"),
        (f"/{UUID}/acMetadata/v1/pod/uuid", 401, "pod not found\n"),
        (f"/{TOKEN}/acMetadata/v1/apps/db/image/id", 404, "app not found\n"),
        (f"/{TOKEN}/acMetadata/v1/pod/annotations/none", 404, 'Pod annotation "none" not found'),
        (f"/{TOKEN}/acMetadata/v1/pod/annotations/NO%0a", 400, r'Pod annotation "NO\n" is not a valid AC Identifier'),
        (f"/{TOKEN}/acMetadata/v1/apps/web/annotations/none", 404, 'App annotation "none" not found'),
        (f"/{TOKEN}/acMetadata/v1/apps/web/annotations/-", 400, 'App annotation "-" is not a valid AC Identifier'),
    ],
)
def test_what_cannot_be_answered(registered: Metadata, path: str, status: int, text: str) -> None:
    assert registered.ask(path) == (status, "text/plain; charset=utf-8", text)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "pod/uuid", "GET"),
        ("HEAD", "pod/manifest", "GET"),
        ("PUT", "apps/web/image/id", "GET"),
        ("GET", "pod/hmac/sign", "POST"),
        ("DELETE", "pod/hmac/verify", "POST"),
    ],
)
def test_wrong_methods(registered: Metadata, method: str, path: str, allowed: str) -> None:
    connection = HTTPConnection("127.0.0.1", registered.port, timeout=20)
    connection.request(method, f"/{TOKEN}/acMetadata/v1/{path}")
    response = connection.getresponse()
    assert (response.status, response.getheader("Allow")) == (405, allowed)
    connection.close()


def test_identity(registered: Metadata) -> None:
    registered.register(OTHER_UUID, OTHER_TOKEN)
    content = "line\nünicode & = + %00 \x00"
    status, signature = registered.post("pod/hmac/sign", content=content)
    assert status == 200 and len(signature) == 88
    good = {"content": content, "uuid": UUID, "signature": signature}
    # Anyone may verify, a pod that is not registered included.
    for token in (TOKEN, OTHER_TOKEN, "nobody"):
        assert registered.post("pod/hmac/verify", token, **good) == (200, "")
    assert registered.post("pod/hmac/verify", **{**good, "uuid": UUID.replace("-", "").upper()}) == (200, "")
    for name, value in (("content", content + " "), ("uuid", OTHER_UUID), ("signature", "QUJD")):
        assert registered.post("pod/hmac/verify", **{**good, name: value}) == (403, "")
    for name, value, text in (
        ("content", "", "content field missing"),
        ("uuid", "", "uuid field missing or malformed: bad UUID length != 32 in ''"),
        ("uuid", "z" * 32, f"uuid field missing or malformed: {'z' * 32!r} is not hexadecimal"),
        ("signature", "not base64!", "signature field missing or corrupt: not base64"),
        ("signature", "ü", "signature field missing or corrupt: not base64"),
    ):
        assert registered.post("pod/hmac/verify", **{**good, name: value}) == (400, text)
    assert registered.post("pod/hmac/sign", "nobody", content="x") == (401, "pod not found\n")
    assert registered.post("pod/hmac/sign", contents="x") == (400, "content form value not found")
    # Of the query too, as Go's FormValue.
    path = f"/{TOKEN}/acMetadata/v1/pod/hmac/sign?content={quote(content)}"
    assert registered.ask(path, "POST") == (200, ASCII, signature)
    # The pods' signatures differ.
    assert registered.post("pod/hmac/sign", OTHER_TOKEN, content=content)[1] not in ("", signature)


def test_the_life_of_a_registration(service: Metadata) -> None:
    assert service.tell("PUT", f"/pods/{UUID}/web", IMAGE) == (404, "pod not found")
    assert service.tell("DELETE", f"/pods/{UUID}") == (404, "pod not found")
    service.register()
    assert service.tell("PUT", f"/pods/{OTHER_UUID}?token={TOKEN}", POD) == (400, "token is another pod's")
    # Registering again voids the old token.
    service.register(token=OTHER_TOKEN)
    assert service.get("pod/uuid")[0] == 401 and service.get("pod/uuid", OTHER_TOKEN)[2] == UUID
    assert service.tell("DELETE", f"/pods/{UUID}") == (200, "")
    assert service.get("pod/uuid", OTHER_TOKEN)[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("PUT", "/pods/nope?token=" + TOKEN, POD, 400, "UUID is missing or malformed"),
        ("PUT", "/pods/?token=" + TOKEN, POD, 400, "UUID is missing or malformed"),
        ("PUT", f"/pods/{UUID}", POD, 400, "token missing"),
        ("PUT", f"/pods/{UUID}?token={TOKEN}&token={TOKEN}", POD, 400, "token missing"),
        ("PUT", f"/pods/{UUID}?token=short", POD, 400, "token must have"),
        ("PUT", f"/pods/{UUID}?token={'%2f' * 32}", POD, 400, "token must have"),
        ("PUT", f"/pods/{UUID}?token={UUID}", POD, 400, "token must not be the UUID"),
        ("PUT", f"/pods/{UUID}?token={TOKEN}", b"{", 400, "JSON-decoding failed: "),
        ("PUT", f"/pods/{UUID}?token={TOKEN}", IMAGE, 400, "JSON-decoding failed: "),
        ("PUT", f"/pods/{UUID}?token={TOKEN}", b"[" * 100_000, 400, "JSON-decoding failed: "),
        ("PUT", f"/pods/{UUID}/web", POD, 400, "JSON-decoding failed: "),
        ("PUT", f"/pods/{UUID}/", IMAGE, 400, "app missing"),
        ("PUT", f"/pods/{UUID}/../web", IMAGE, 400, "is not a valid AC Name"),
        ("GET", f"/pods/{UUID}", None, 405, ""),
        ("DELETE", f"/pods/{UUID}/web", None, 405, ""),
        ("GET", "/", None, 404, "404 page not found"),
    ],
)
def test_bad_registrations(registered: Metadata, method: str, path: str, body: object, status: int, text: str) -> None:
    answer = registered.tell(method, path, body)
    assert answer[0] == status and text in answer[1]
    assert registered.get("pod/uuid")[2] == UUID


def test_only_root_may_register(registered: Metadata) -> None:
    program = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); os.setgid(65534); os.setuid(65534); s.connect(sys.argv[1])\n"
        f"try: s.sendall(b'DELETE /pods/{UUID} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
        "except BrokenPipeError: pass\n"
        "print(s.recv(4096).decode().split('\\r\\n')[0])\n"
    )
    path = registered.socket
    argv = [
        "nsenter",
        f"--mount=/proc/{path.parts[2]}/ns/mnt",
        "--",
        sys.executable,
        "-c",
        program,
        "/run/rktpy/metadata-svc.sock",
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    refused = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "PermissionError" in refused.stderr
    # Also when somebody has opened the socket to all.
    path.chmod(0o777)
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "HTTP/1.1 403 Forbidden\n"
    assert registered.get("pod/uuid")[2] == UUID
    registered.said("user 65534 may not register pods")


def test_the_end(registered: Metadata, rktpy: Rktpy) -> None:
    second = rktpy("metadata-service", "--listen-port=0", status=254)
    assert second.stderr.splitlines()[-1] == "metadata-service: another metadata service is running"
    assert registered.end() == 0
    assert not registered.socket.exists()
    assert registered.log().splitlines()[-1] == "metadata-service: metadata service exiting..."
    assert TOKEN not in registered.log()


def test_the_end_waits_for_a_request(registered: Metadata) -> None:
    with socket.create_connection(("127.0.0.1", registered.port), timeout=20) as client:
        client.sendall(f"GET /{TOKEN}/acMetadata/v1/pod/uuid HTTP/1.1\r\n".encode())
        time.sleep(0.3)
        registered.process.send_signal(signal.SIGINT)
        registered.said("exiting")
        client.sendall(b"\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    assert registered.process.wait(10) == 0


def test_a_busy_port(rktpy: Rktpy, run_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = rktpy("metadata-service", f"--listen-port={port}", status=254)
    assert done.stderr.splitlines()[-1] == f"metadata-service: error listening on port {port}: address already in use"
    assert not (run_dir / "metadata-svc.sock").exists()
    assert "must be from 0 to 65535" in rktpy("metadata-service", "--listen-port=65536", status=254).stderr
    assert 'parsing "http": invalid syntax' in rktpy("metadata-service", "--listen-port=http", status=254).stderr


def test_sockets_of_others_are_left_alone(rktpy: Rktpy, run_dir: Path) -> None:
    path = run_dir / "metadata-svc.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        done = rktpy("metadata-service", "--listen-port=0", status=254)
        assert "another metadata service listens on /run/rktpy/metadata-svc.sock" in done.stderr and path.exists()
    path.unlink()
    path.write_text("precious")
    done = rktpy("metadata-service", "--listen-port=0", status=254)
    assert "metadata-svc.sock is not a socket" in done.stderr and path.read_text() == "precious"


def test_a_key_that_others_can_read_is_refused(rktpy: Rktpy, run_dir: Path) -> None:
    key = run_dir / "metadata-svc.key"
    key.write_bytes(bytes(64))
    key.chmod(0o644)
    done = rktpy("metadata-service", "--listen-port=0", status=254)
    assert "must be a file that is the service's own and nobody else's to read" in done.stderr
    key.unlink()
    key.symlink_to("/etc/passwd")
    assert "metadata-svc.key" in rktpy("metadata-service", "--listen-port=0", status=254).stderr


def test_hostile_clients(registered: Metadata) -> None:
    port = registered.port
    head = f"/{TOKEN}/acMetadata/v1/pod/hmac/sign"
    form = f"Content-Type: {FORM['Content-Type']}"
    cases = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(400), b""),
        (b"A" * 100_000, b"HTTP/1.1 414 "),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n", b"HTTP/1.1 431 "),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"HTTP/1.1 431 "),
        (b"GET / HTTP/9.9\r\n\r\n", b"HTTP/1.1 505 "),
        (b"BREW / HTTP/1.1\r\n\r\n", b"HTTP/1.1 501 "),
        (b"GET /\r\n\r\n", b"HTTP/1.1 404 "),
        (b"GET http://[/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
        (f"POST {head} HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".encode(), b"HTTP/1.1 413 "),
        (f"POST {head} HTTP/1.1\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n".encode(), b"HTTP/1.1 413 "),
        (f"POST {head} HTTP/1.1\r\nContent-Length: -1\r\n\r\n".encode(), b"HTTP/1.1 400 "),
        (f"POST {head} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".encode(), b"HTTP/1.1 400 "),
        (f"POST {head} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(), b"HTTP/1.1 411 "),
        (f"POST {head} HTTP/1.1\r\n{form}\r\nContent-Length: 2000\r\n\r\n{'a=&' * 666}aa".encode(), b"HTTP/1.1 400 "),
        # What follows the first request is nobody's request.
        (b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 "),
    ]
    for data, wanted in cases:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            answer = b""
            try:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                while chunk := client.recv(65536):
                    answer += chunk
            except OSError:  # reset by the server
                pass
        assert answer.startswith(wanted), (data[:80], answer)
        assert answer.count(b"HTTP/1.1") <= 1
        # The same bytes harm the other socket as little.
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(20)
            local.connect(str(registered.socket))
            try:
                local.sendall(data)
                local.shutdown(socket.SHUT_WR)
                while local.recv(65536):
                    pass
            except OSError:
                pass
    assert registered.get("pod/uuid")[2] == UUID
    assert "internal error" not in registered.log()


def test_many_idle_clients_leave_room_for_others(registered: Metadata) -> None:
    port = registered.port
    crowd = [socket.create_connection(("127.0.0.1", port), timeout=20) for _number in range(40)]
    try:
        for client in crowd:
            try:
                client.sendall(b"GET /")
            except ConnectionError:
                pass
        time.sleep(0.5)
        # The crowd's address has no more, another one is served at once.
        other = HTTPConnection("127.0.0.1", port, timeout=20, source_address=("127.0.0.2", 0))
        assert ask(other, "GET", f"/{TOKEN}/acMetadata/v1/pod/uuid")[2] == UUID
    finally:
        for client in crowd:
            client.close()
    wait_for("room again", lambda: _reachable(registered))


def _reachable(service: Metadata) -> bool:
    try:
        return service.get("pod/uuid")[2] == UUID
    except OSError:
        return False


def test_parallel_registrations(service: Metadata) -> None:
    uuids = [f"{number:08x}-9e03-480d-b705-5928af396cc5" for number in range(40)]
    failures: list[BaseException] = []

    def work(mine: list[str]) -> None:
        try:
            for uuid in mine:
                token = f"{uuid[:8]}{'0' * 24}"
                service.register(uuid, token)
                assert service.get("pod/uuid", token)[2] == uuid
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(uuids[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [service.get("pod/uuid", f"{uuid[:8]}{'0' * 24}")[2] for uuid in uuids] == uuids
