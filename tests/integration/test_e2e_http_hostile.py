"""Servers that are slow, cut, lie or never end, met by ``rktpy fetch``: one line names what is wrong, nothing is kept of it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rktpy.formats.oci.media_types import OCI_MANIFEST
from tests.conftest import Rktpy
from tests.support.aci import make_aci
from tests.support.http_server import Answer, Request, Server, ranged
from tests.support.pods import wait_for
from tests.support.scripted_registry import ScriptedRegistry, digest_of

pytestmark = pytest.mark.root

FETCH = ("--insecure-options=image,http", "fetch", "--full")


@pytest.fixture(scope="module")
def aci(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    noise = random.Random(11).randbytes(1_500_000)
    path = tmp_path_factory.mktemp("aci") / "noise.aci"
    return make_aci(path, "example.com/noise", {"/noise": noise}, exec=["/noise"]).read_bytes()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    noise = random.Random(12)
    with ScriptedRegistry([noise.randbytes(1_200_000), noise.randbytes(50_000)]) as registry:
        registry.publish()
        yield registry


def failing(rktpy: Rktpy, reference: str) -> str:
    """The last line of a fetch that fails; nothing of the image is to be seen afterwards."""
    done = rktpy(*FETCH, reference, status=254)
    assert done.stdout == ""
    assert "internal error" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if "verification has been disabled" not in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fetch: ")
    assert rktpy("image", "list", "--no-legend").stdout == ""
    return lines[0]


def all_gone(rktpy: Rktpy) -> None:
    """After a collection the store is as empty as before."""
    assert rktpy("image", "check", status=None).returncode == 0
    rktpy("image", "gc", "--grace-period=0s")
    for place in ("tmp", "blobs/sha256", "blobs/sha512", "images", "tree"):
        assert list((rktpy.data / "cas" / place).iterdir()) == [], place


# --- ACIs by URL


def test_slow_but_honest(rktpy: Rktpy, server: Server, aci: bytes) -> None:
    server.serve("/a.aci", Answer(200, aci, pace=(64 << 10, 0.03), delay=0.3))
    done = rktpy(*FETCH, f"{server.url}/a.aci", "--progress=json")
    assert done.stdout.startswith("sha512-")
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert len(events) > 1


def test_cut_again_and_again(rktpy: Rktpy, server: Server, aci: bytes) -> None:
    """Every connection ends after 400 kB; each is continued where the last one ended."""
    fields = {"ETag": '"v1"', "Accept-Ranges": "bytes"}
    server.routes["/a.aci"] = lambda request: ranged(request, aci, fields, cut=400_000)
    image = rktpy(*FETCH, f"{server.url}/a.aci").stdout
    assert image.startswith("sha512-")
    asked = [request.headers.get("range") for request in server.requests]
    assert asked == [None, *(f"bytes={n}-" for n in range(400_000, len(aci), 400_000))]


LIES: dict[str, Callable[[bytes], Answer]] = {
    "cut at once": lambda aci: Answer(200, aci, cut=0),
    "length too long": lambda aci: Answer(200, aci, length=len(aci) + 10),
    "not an archive": lambda aci: Answer(200, b"<html>Sign in</html>"),
    "nothing": lambda aci: Answer(200, b""),
    "half an archive": lambda aci: Answer(200, aci[: len(aci) // 2]),
    "404": lambda aci: Answer(404, b"not here"),
    "500": lambda aci: Answer(500, b"broken"),
    "not HTTP": lambda aci: Answer(raw=b"220 mail.example.com ESMTP\r\n"),
    "endless header": lambda aci: Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n"),
    "negative length": lambda aci: Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
    "gigantic length": lambda aci: Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello"),
    "bad chunk": lambda aci: Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_about_an_aci(rktpy: Rktpy, server: Server, aci: bytes, name: str) -> None:
    server.serve("/a.aci", LIES[name](aci))
    line = failing(rktpy, f"{server.url}/a.aci")
    assert server.host in line, line
    all_gone(rktpy)
    server.file("/a.aci", aci)
    assert rktpy(*FETCH, f"{server.url}/a.aci").stdout.startswith("sha512-")


def test_redirects_in_a_circle(rktpy: Rktpy, server: Server) -> None:
    server.serve("/a.aci", Answer(302, b"", {"Location": "/b.aci"}))
    server.serve("/b.aci", Answer(307, b"", {"Location": "/a.aci"}))
    assert "redirect" in failing(rktpy, f"{server.url}/a.aci")
    assert len(server.requests) < 20
    server.serve("/a.aci", Answer(302, b"", {"Location": "file:///etc/passwd"}))
    failing(rktpy, f"{server.url}/a.aci")


def test_nobody_there(rktpy: Rktpy) -> None:
    with Server() as gone:
        url = f"{gone.url}/a.aci"
    line = failing(rktpy, url)
    assert "connection refused" in line


# --- registries


def refused(rktpy: Rktpy, registry: ScriptedRegistry, *words: str) -> None:
    line = failing(rktpy, registry.reference)
    for word in words:
        assert word in line, line


def test_wrong_bytes_in_a_layer(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    layer = registry.layers[0]
    registry.serve(registry.blob_path(layer), Answer(200, layer[:-1] + bytes([layer[-1] ^ 1])))
    refused(rktpy, registry, digest_of(layer))
    all_gone(rktpy)
    registry.publish()
    assert rktpy(*FETCH, registry.reference).stdout.startswith("sha256-")


def test_layer_that_never_ends(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    layer = registry.layers[0]
    sent = 0

    def endless(_request: Request) -> Answer:
        nonlocal sent
        sent += 1
        return Answer(200, layer + bytes(8 << 20), chunked=True, pace=(1 << 20, 0.0))

    registry.routes[registry.blob_path(layer)] = endless
    refused(rktpy, registry, digest_of(layer))
    assert sent == 1, "wrong bytes are not asked for again"
    all_gone(rktpy)


def test_layer_of_another_length(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    layer = registry.layers[1]
    for answer in (Answer(200, layer + b"more"), Answer(200, layer, length=len(layer) + 4), Answer(200, layer[:-4])):
        registry.serve(registry.blob_path(layer), answer)
        refused(rktpy, registry, digest_of(layer))
    all_gone(rktpy)


def test_what_is_complete_is_kept_when_another_layer_fails(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    first, second = registry.layers
    registry.serve(registry.blob_path(second), Answer(404, b"gone", delay=1.0))
    failing(rktpy, registry.reference)
    registry.serve_blob(second)
    before = registry.paths().count(f"GET {registry.blob_path(first)}")
    rktpy(*FETCH, registry.reference)
    assert registry.paths().count(f"GET {registry.blob_path(first)}") == before == 1


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b"x" * (5 << 20),
        json.dumps({"schemaVersion": 1, "name": "x", "tag": "v1", "fsLayers": [], "history": []}).encode(),
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:../../../../x", "size": 2},
                "layers": [],
            }
        ).encode(),
    ],
    ids=["empty", "no members", "deep", "duplicate keys", "over the limit", "schema 1", "path for a digest"],
)
def test_manifests_that_are_none(rktpy: Rktpy, registry: ScriptedRegistry, document: bytes) -> None:
    registry.serve("/v2/team/app/manifests/v1", Answer(200, document, {"Content-Type": OCI_MANIFEST}))
    refused(rktpy, registry, "team/app")
    all_gone(rktpy)


def test_manifest_with_another_digest_than_asked_for(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    digest = "sha256:" + "0" * 64
    registry.routes[f"/v2/team/app/manifests/{digest}"] = registry.routes["/v2/team/app/manifests/v1"]
    line = failing(rktpy, f"docker://{registry.host}/team/app@{digest}")
    assert digest in line


def test_registry_wants_a_password(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    registry.serve("/v2/team/app/manifests/v1", Answer(401, b"{}", challenge))
    refused(rktpy, registry, "401")


# --- killed downloads


def kill_in_the_middle(rktpy: Rktpy, reference: str, least: int) -> int:
    """Start a fetch, kill -9 it when ``least`` bytes of one file have come; how many bytes there are."""
    process = subprocess.Popen(rktpy.argv(*FETCH, reference), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def parts() -> list[Path]:
            return [path for path in (rktpy.data / "cas/tmp").glob("*.part") if path.stat().st_size >= least]

        wait_for("half a download", parts)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        (part,) = parts()
        return part.stat().st_size
    finally:
        process.kill()
        process.wait(10)


def test_killed_download_of_an_aci_goes_on(rktpy: Rktpy, server: Server, aci: bytes) -> None:
    pace: list[tuple[int, float] | None] = [(100_000, 0.1)]

    def handler(request: Request) -> Answer:
        answer = ranged(request, aci, {"ETag": '"v1"'})
        answer.pace = pace[0]
        return answer

    server.routes["/a.aci"] = handler
    got = kill_in_the_middle(rktpy, f"{server.url}/a.aci", 500_000)
    assert 500_000 <= got < len(aci)
    pace[0] = None
    image = rktpy(*FETCH, f"{server.url}/a.aci").stdout
    last = server.requests[-1].headers
    assert (last["range"], last["if-range"]) == (f"bytes={got}-", '"v1"')
    assert len(server.requests) == 2
    # The same as when nothing had happened.
    other = Rktpy(rktpy.launcher, rktpy.data / "other")
    assert other(*FETCH, f"{server.url}/a.aci").stdout == image


def test_killed_download_of_a_changed_aci_begins_again(rktpy: Rktpy, server: Server, aci: bytes, tmp_path: Path) -> None:
    server.serve("/a.aci", Answer(200, aci, {"ETag": '"v1"'}, pace=(100_000, 0.1)))
    kill_in_the_middle(rktpy, f"{server.url}/a.aci", 500_000)
    changed = make_aci(tmp_path / "b.aci", "example.com/changed", {"/x": b"x"}).read_bytes()
    server.file("/a.aci", changed, {"ETag": '"v2"'})
    rktpy(*FETCH, f"{server.url}/a.aci")
    assert "example.com/changed" in rktpy("image", "list").stdout


def test_killed_download_of_a_layer_goes_on(rktpy: Rktpy, registry: ScriptedRegistry) -> None:
    layer = registry.layers[0]
    registry.serve(registry.blob_path(layer), Answer(200, layer, pace=(100_000, 0.1)))
    got = kill_in_the_middle(rktpy, registry.reference, 400_000)
    assert 400_000 <= got < len(layer)
    before = len(registry.requests)
    registry.serve_blob(layer)
    assert rktpy(*FETCH, registry.reference).stdout.startswith("sha256-")
    asked = [r for r in registry.requests[before:] if r.method == "GET" and "/blobs/" in r.path]
    assert [(r.path, r.headers.get("range")) for r in asked if r.path == registry.blob_path(layer)] == [
        (registry.blob_path(layer), f"bytes={got}-")
    ]
    assert len(asked) == 1, "what was complete is not asked for again"
    assert "broken" not in rktpy("image", "check").stdout


def test_abandoned_download_is_collected(rktpy: Rktpy, server: Server, aci: bytes) -> None:
    server.serve("/a.aci", Answer(200, aci, {"ETag": '"v1"'}, pace=(100_000, 0.1)))
    kill_in_the_middle(rktpy, f"{server.url}/a.aci", 200_000)
    rktpy("image", "gc")
    assert list((rktpy.data / "cas/tmp").glob("*.part")), "kept for a day, to be continued"
    all_gone(rktpy)
