"""Servers that lie about what they send, and copies that are not what is asked for."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import DigestMismatch, FetchError, HTTPError
from rktpy.fetch import limits
from rktpy.fetch.download import download
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.http_url import parse_url
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry import Registry
from rktpy.fetch.registry_auth import Credential
from rktpy.formats.oci.platform import platform_of_machine
from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.gpg import Gpg
from tests.support.http_server import Answer, Server
from tests.support.scripted_registry import ScriptedRegistry, digest_of
from tests.support.sink import DirectorySink


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF", 0.01)


@pytest.fixture
def sink(tmp_path: Path) -> DirectorySink:
    return DirectorySink(tmp_path / "sink")


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    with ScriptedRegistry([os.urandom(300_000)]) as running:
        running.publish()
        yield running


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def client() -> Client:
    return Client(HTTPOptions(allow_http=True, read_seconds=5), environ={})


def pull(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    reference = DockerReference(registry.host, "team/app", "v1")
    endpoints = (Endpoint(registry.host, registry.host, "team/app"),)
    with Registry(client(), reference, endpoints, lambda _host, _repository: Credential("ann", "secret")) as source:
        source.pull(sink, platform_of_machine(platform.machine()))


@pytest.mark.parametrize("first", ["nothing", "a part", "wrong bytes of the right size"])
def test_not_modified_does_not_make_a_blob(registry: ScriptedRegistry, sink: DirectorySink, first: str) -> None:
    (layer,) = registry.layers
    unasked = Answer(304)
    answers = {
        "nothing": (unasked,),
        "a part": (Answer(200, layer, cut=1000), unasked),
        # All bytes of the layer, but no end of the body: the digest is not looked at before the next answer.
        "wrong bytes of the right size": (Answer(200, b"x" * len(layer), chunked=True, cut=len(layer)), unasked),
    }[first]
    registry.sequence(registry.blob_path(layer), *answers)
    with pytest.raises((HTTPError, FetchError, DigestMismatch)):
        pull(registry, sink)
    assert sink.blob_size(digest_of(layer)) is None
    registry.serve_blob(layer)
    pull(registry, sink)
    assert Path(sink.blob_path(digest_of(layer))).read_bytes() == layer


def test_not_modified_without_having_been_asked(server: Server, sink: DirectorySink) -> None:
    server.serve("/a.aci", Answer(304))
    with sink.partial("a") as partial, pytest.raises(HTTPError, match="304"):
        download(client(), parse_url(server.url + "/a.aci"), partial, limit=1000)


def test_a_token_for_ever(registry: ScriptedRegistry, sink: DirectorySink) -> None:
    manifest = registry.routes["/v2/team/app/manifests/v1"]
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
    registry.serve("/token", Answer(200, b'{"token": "t", "expires_in": 1' + b"0" * 1000 + b"}"))
    registry.routes["/v2/team/app/manifests/v1"] = lambda request: (
        manifest(request) if "authorization" in request.headers else Answer(401, b"", challenge)
    )
    pull(registry, sink)


def test_a_reason_does_not_reach_the_terminal_as_it_is(server: Server) -> None:
    server.serve("/x", Answer(raw=b"HTTP/1.1 404 \x1b[2Jgone\x9b1m\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(HTTPError, match="gone") as caught:
        client().document(parse_url(server.url + "/x"), 100)
    assert str(caught.value).isprintable()


# --- through the command


@pytest.fixture
def discovery_server() -> Iterator[Server]:
    """On port 80 of the sandbox's own loopback, because an app name has no port."""
    with Server(port=80) as running:
        yield running


INSECURE = "--insecure-options=http,image"


@pytest.mark.root
@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {"ETag": '"one"', "Cache-Control": "max-age=600"}])
def test_a_copy_under_another_name_is_not_what_is_asked_for(
    rktpy: Rktpy, tmp_path: Path, discovery_server: Server, headers: dict[str, str]
) -> None:
    other = make_aci(tmp_path / "other.aci", "localhost/other", {}, labels={"version": "1"})
    discovery_server.file("/one.aci", other.read_bytes(), headers)
    rktpy(INSECURE, "fetch", "http://localhost/one.aci")
    page = b'<meta name="ac-discovery" content="localhost http://localhost/one.{ext}">'
    for path in ("/app", "/other"):
        discovery_server.serve(path, Answer(200, page))
    done = rktpy(INSECURE, "fetch", "localhost/app:1", status=254)
    assert 'error when reading the app name: "localhost/app" expected but "localhost/other" found' in done.stderr
    done = rktpy(INSECURE, "fetch", "--pull-policy=update", "localhost/other:2", status=254)
    assert 'requested value for label "version": "2" differs' in done.stderr
    rktpy(INSECURE, "fetch", "--pull-policy=update", "localhost/other:1")


@pytest.mark.root
def test_a_copy_with_another_id_is_not_the_dependency(rktpy: Rktpy, tmp_path: Path, discovery_server: Server) -> None:
    old = make_aci(tmp_path / "old.aci", "localhost/base", {"/f": b"old"}, labels={"version": "1"})
    new = make_aci(tmp_path / "new.aci", "localhost/base", {"/f": b"new"}, labels={"version": "1"})
    wanted = "sha512-" + hashlib.sha512(gzip.decompress(new.read_bytes())).hexdigest()
    app = make_aci(
        tmp_path / "app.aci", "localhost/app", {}, exec=["/x"], dependencies=[{"imageName": "localhost/base", "imageID": wanted}]
    )
    fresh = {"Cache-Control": "max-age=600"}
    page = b'<meta name="ac-discovery" content="localhost http://localhost/base.{ext}">'
    discovery_server.serve("/base", Answer(200, page))
    discovery_server.file("/base.aci", old.read_bytes(), fresh)
    rktpy(INSECURE, "fetch", "http://localhost/base.aci")
    discovery_server.file("/base.aci", new.read_bytes(), fresh)
    rktpy(INSECURE, "fetch", str(app))
    listed = rktpy("image", "list", "--no-legend", "--full", "--fields=id").stdout
    assert wanted[:71] in listed.split()


# --- what is judged is what runs


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    keys = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    keys.key("alice")
    keys.key("bob")
    yield keys
    keys.close()


def signed(gpg: Gpg, path: Path, who: str) -> Path:
    path.with_name(path.name + ".asc").write_bytes(gpg.sign(path, who))
    return path


def trust(rktpy: Rktpy, gpg: Gpg, tmp_path: Path, who: str, prefix: str) -> Path:
    key = tmp_path / f"{who}.key"
    key.write_bytes(gpg.export(who))
    rktpy("trust", "--prefix", prefix, "--skip-fingerprint-review", str(key))
    return Path(rktpy.config) / "trustedkeys/prefix.d" / prefix / gpg.fingerprint(who)


@pytest.mark.root
def test_a_dependency_that_was_let_in_unchecked_is_refused_at_fetch(rktpy: Rktpy, tmp_path: Path, gpg: Gpg) -> None:
    trust(rktpy, gpg, tmp_path, "alice", "example.com")
    rktpy("--insecure-options=image", "fetch", str(make_aci(tmp_path / "base.aci", "example.com/base", {})))
    app = make_aci(tmp_path / "app.aci", "example.com/app", {}, exec=["/x"], dependencies=[{"imageName": "example.com/base"}])
    done = rktpy("fetch", "--pull-policy=new", str(signed(gpg, app, "alice")), status=254)
    assert "image 'example.com/base' has no signature" in done.stderr


@pytest.mark.stage1("systemd")
@pytest.mark.root
def test_a_prepared_pod_is_judged_by_the_images_it_was_made_of(rktpy: Rktpy, tmp_path: Path, gpg: Gpg) -> None:
    trust(rktpy, gpg, tmp_path, "alice", "example.com")
    bob = trust(rktpy, gpg, tmp_path, "bob", "example.com/base")
    busybox = shutil.which("busybox")
    assert busybox
    app = make_aci(
        tmp_path / "app.aci",
        "example.com/app",
        {},
        exec=["/bin/busybox", "cat", "/which"],
        dependencies=[{"imageName": "example.com/base"}],
    )
    first = make_aci(tmp_path / "first.aci", "example.com/base", {"/bin/busybox": busybox, "/which": b"by bob\n"})
    second = make_aci(tmp_path / "second.aci", "example.com/base", {"/bin/busybox": busybox, "/which": b"by alice\n"})
    rktpy("fetch", str(signed(gpg, first, "bob")))
    image = rktpy("fetch", "--pull-policy=new", "--full", str(signed(gpg, app, "alice"))).stdout.strip()
    uuid = rktpy("prepare", "--quiet", image).stdout.strip()
    other = rktpy("prepare", "--quiet", image).stdout.strip()
    # From now on the dependency is another image, which is trusted; the pod's tree is made of the first one all the same.
    rktpy("fetch", str(signed(gpg, second, "alice")))
    assert rktpy("run-prepared", other).stdout == "by bob\n"
    bob.unlink()
    done = rktpy("run-prepared", uuid, status=254)
    assert "openpgp: signature made by unknown entity" in done.stderr
    assert rktpy("run", image).stdout == "by alice\n"
