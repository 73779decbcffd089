"""Fetching and trust through the command: what is let in, what is refused, and what is asked again at the start."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.trust.decision import NO_POLICY
from tests.conftest import Rktpy, need_tool
from tests.support.aci import make_aci
from tests.support.gpg import Gpg
from tests.support.http_server import Answer, Server

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd")]

SIGNED = "example.com/busybox"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    keys = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    keys.key("alice")
    keys.key("mallory")
    yield keys
    keys.close()


@pytest.fixture
def aci(busybox_images: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(busybox_images / "busybox.aci", tmp_path / "busybox.aci"))


def sign(gpg: Gpg, path: Path, who: str = "alice") -> Path:
    target = path.with_name(path.name + ".asc")
    target.write_bytes(gpg.sign(path, who))
    return target


def trust(rktpy: Rktpy, gpg: Gpg, tmp_path: Path, prefix: str = SIGNED, who: str = "alice") -> Path:
    key = tmp_path / f"{who}.key"
    key.write_bytes(gpg.export(who))
    rktpy("trust", "--prefix", prefix, "--skip-fingerprint-review", str(key))
    return Path(rktpy.config) / "trustedkeys/prefix.d" / prefix / gpg.fingerprint(who)


def image_count(rktpy: Rktpy) -> int:
    return len(rktpy("image", "list", "--no-legend").stdout.splitlines())


def test_an_image_without_signature_is_refused(rktpy: Rktpy, aci: Path) -> None:
    done = rktpy("fetch", str(aci), status=254)
    assert done.stderr == f"fetch: error opening signature file: {aci}.asc: no such file or directory\n"
    assert image_count(rktpy) == 0
    done = rktpy("fetch", "--insecure-options=image", str(aci))
    assert done.stdout.startswith("sha512-")
    assert "image signature verification has been disabled" in done.stderr


def test_signed_image_runs_while_its_key_is_trusted(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path) -> None:
    sign(gpg, aci)
    key = trust(rktpy, gpg, tmp_path)
    done = rktpy("fetch", str(aci))
    assert "signature verified:\n  alice <alice@example.com>" in done.stderr
    assert rktpy("run", SIGNED).stdout == "hello from busybox, an ACI\n"
    uuid = rktpy("prepare", "--quiet", SIGNED).stdout.strip()
    decision = json.loads((rktpy.data / "pods/prepared" / uuid / "trust").read_bytes())["apps"]["busybox"][0]
    assert decision["verdict"] == "accepted"
    assert decision["allowedBy"] == f"openpgp:{gpg.fingerprint('alice')}"

    key.unlink()
    for command in (("run", SIGNED), ("run-prepared", uuid), ("prepare", SIGNED)):
        done = rktpy(*command, status=254)
        assert done.stdout == ""
        assert "openpgp: signature made by unknown entity" in done.stderr
    assert rktpy("--insecure-options=image", "run", SIGNED).stdout == "hello from busybox, an ACI\n"


def test_a_removed_image_is_judged_by_what_the_pod_kept(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path) -> None:
    sign(gpg, aci)
    key = trust(rktpy, gpg, tmp_path)
    rktpy("fetch", str(aci))
    first, second = [rktpy("prepare", "--quiet", SIGNED).stdout.strip() for _ in range(2)]
    rktpy("image", "rm", SIGNED)
    assert rktpy("run-prepared", first).stdout == "hello from busybox, an ACI\n"
    (file,) = rktpy.data.glob(f"pods/*/{first}/trust")
    decision = json.loads(file.read_bytes())["apps"]["busybox"][0]
    assert (decision["verdict"], decision["allowedBy"]) == ("accepted", f"openpgp:{gpg.fingerprint('alice')}")
    key.unlink()
    assert "openpgp: signature made by unknown entity" in rktpy("run-prepared", second, status=254).stderr


@pytest.mark.parametrize(
    "change", [{"signatures": 1}, {"signatures": ["x"]}, {"image": {"id": "x"}}, {"image": 1}, {"allowedBy": None}]
)
def test_a_damaged_trust_file_lets_nothing_in(rktpy: Rktpy, busybox_images: Path, change: dict[str, object]) -> None:
    rktpy("--insecure-options=image", "fetch", str(busybox_images / "busybox.aci"))
    uuid = rktpy("--insecure-options=image", "prepare", "--quiet", SIGNED).stdout.strip()
    file = rktpy.data / "pods/prepared" / uuid / "trust"
    document = json.loads(file.read_bytes())
    document["apps"]["busybox"][0].update(change)
    file.write_text(json.dumps(document))
    done = rktpy("run-prepared", uuid, status=254)
    assert (done.stdout, "is not a trust document" in done.stderr) == ("", True)


def test_a_key_that_is_revoked_after_the_fetch(rktpy: Rktpy, aci: Path, tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("alice")
        sign(own, aci)
        key = trust(rktpy, own, tmp_path)
        rktpy("fetch", str(aci))
        uuids = [rktpy("prepare", "--quiet", SIGNED).stdout.strip() for _ in range(2)]
        # While the key's file is the same nobody asks GnuPG.
        without = {"PATH": "/nonexistent"}
        assert rktpy("run", SIGNED, env=without).stdout == "hello from busybox, an ACI\n"
        assert rktpy("run-prepared", uuids[0], env=without).stdout == "hello from busybox, an ACI\n"
        # Another file, though of the same key: only GnuPG can tell.
        key.write_bytes(own.export("alice", armor=False))
        assert "cannot run gpg to examine a key" in rktpy("run", SIGNED, env=without, status=254).stderr
        assert rktpy("run", SIGNED).stdout == "hello from busybox, an ACI\n"
        assert rktpy("run", SIGNED, env=without).stdout == "hello from busybox, an ACI\n"
        # What GnuPG said may be lost.
        (rktpy.data / f"cas/db/key-{fingerprint}").write_bytes(b"{")
        assert "cannot run gpg" in rktpy("run", SIGNED, env=without, status=254).stderr
        assert rktpy("run", SIGNED).stdout == "hello from busybox, an ACI\n"

        revocation = (own.home / "openpgp-revocs.d" / f"{fingerprint.upper()}.rev").read_text()
        own("--import", stdin=revocation[revocation.index(":-----BEGIN") + 1 :].encode())
        trust(rktpy, own, tmp_path)
    finally:
        own.close()
    for command in (("run", SIGNED), ("run-prepared", uuids[1]), ("prepare", SIGNED), ("fetch", "--pull-policy=new", SIGNED)):
        done = rktpy(*command, status=254)
        assert done.stdout == ""
        assert "the signing key was revoked" in done.stderr
    rktpy("image", "rm", SIGNED)
    assert "the signing key was revoked" in rktpy("run-prepared", uuids[1], status=254).stderr
    assert "the signing key was revoked" in rktpy("fetch", str(aci), status=254).stderr


def test_a_key_that_expires_after_the_fetch(rktpy: Rktpy, aci: Path, tmp_path: Path) -> None:
    own = Gpg(tmp_path / "own")
    try:
        fingerprint = own.key("alice", expire="seconds=3600")
        sign(own, aci)
        trust(rktpy, own, tmp_path)
        rktpy("fetch", str(aci))
        uuid = rktpy("prepare", "--quiet", SIGNED).stdout.strip()
        # An hour later, as far as what GnuPG has said is concerned.
        known = rktpy.data / f"cas/db/key-{fingerprint}"
        document = json.loads(known.read_bytes())
        assert document["state"][fingerprint]["expires"] > time.time() + 3000
        document["state"][fingerprint]["expires"] -= 3600
        known.write_text(json.dumps(document))
        for command in (("run", SIGNED), ("run-prepared", uuid)):
            done = rktpy(*command, status=254)
            assert "the signing key has expired" in done.stderr
        own("--quick-set-expire", fingerprint, "seconds=7200")
        trust(rktpy, own, tmp_path)
    finally:
        own.close()
    assert rktpy("run", SIGNED).stdout == "hello from busybox, an ACI\n"
    assert rktpy("run-prepared", uuid).stdout == "hello from busybox, an ACI\n"


def test_signature_by_another_key(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path) -> None:
    sign(gpg, aci, "mallory")
    trust(rktpy, gpg, tmp_path)
    done = rktpy("fetch", str(aci), status=254)
    assert "openpgp: signature made by unknown entity" in done.stderr
    assert f"rktpy trust --prefix {SIGNED}" in done.stderr
    assert image_count(rktpy) == 0


def test_key_of_a_neighbouring_name(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path) -> None:
    sign(gpg, aci)
    trust(rktpy, gpg, tmp_path, "example.com/busy")
    rktpy("fetch", str(aci), status=254)
    trust(rktpy, gpg, tmp_path, "example.com")
    rktpy("fetch", str(aci))


def test_recompressed_image_keeps_its_id_and_breaks_its_signature(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path) -> None:
    import gzip

    sign(gpg, aci)
    trust(rktpy, gpg, tmp_path)
    before = rktpy("fetch", str(aci)).stdout
    plain = gzip.decompress(aci.read_bytes())
    aci.write_bytes(gzip.compress(plain, 1))
    done = rktpy("fetch", str(aci), status=254)
    assert "invalid signature" in done.stderr
    sign(gpg, aci)
    assert rktpy("fetch", str(aci)).stdout == before


def test_signature_option(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path) -> None:
    elsewhere = sign(gpg, aci).rename(tmp_path / "elsewhere.asc")
    trust(rktpy, gpg, tmp_path)
    rktpy("fetch", str(aci), "--signature", str(elsewhere))
    assert rktpy("run", str(aci), f"--signature={elsewhere}").stdout == "hello from busybox, an ACI\n"


def test_what_was_let_in_unchecked_is_not_run_unasked(rktpy: Rktpy, aci: Path) -> None:
    image = rktpy("--insecure-options=image", "fetch", "--full", str(aci)).stdout.strip()
    done = rktpy("run", image, status=254)
    assert "has no signature" in done.stderr
    uuid = rktpy("--insecure-options=image", "prepare", "--quiet", image).stdout.strip()
    assert rktpy("run-prepared", uuid).stdout == "hello from busybox, an ACI\n", "this pod was allowed by name"


def test_oci_image_needs_the_option(rktpy: Rktpy, busybox_images: Path) -> None:
    reference = f"oci:{busybox_images}/busybox-oci:1"
    done = rktpy("fetch", reference, status=254)
    assert done.stderr == f"fetch: {NO_POLICY}\n"
    assert rktpy("--insecure-options=image", "run", reference).stdout == "hello from busybox-oci, an OCI image\n"


def test_trust_shows_the_fingerprint_and_wants_a_terminal(rktpy: Rktpy, gpg: Gpg, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(gpg.export("alice"))
    done = rktpy("trust", "--prefix", SIGNED, str(key), status=254)
    assert "unable to ask user to review fingerprint due to lack of tty" in done.stderr
    assert done.stdout.replace(" ", "").startswith("gpgkeyfingerprintis:" + gpg.fingerprint("alice").upper())
    assert not (rktpy.config / "trustedkeys").exists()
    done = rktpy("trust", str(key), status=254)
    assert "implicit unbounded trust" in done.stderr
    done = rktpy("trust", "--root", "--skip-fingerprint-review", str(key))
    path = rktpy.config / "trustedkeys/root.d" / gpg.fingerprint("alice")
    assert path.read_bytes() == key.read_bytes()
    assert f'Added root key at "{path}"' in done.stdout


# --- over HTTP


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_url_with_signature_and_cache(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path, server: Server) -> None:
    signature = sign(gpg, aci)
    trust(rktpy, gpg, tmp_path)
    server.file("/busybox.aci", aci.read_bytes(), {"ETag": '"one"', "Cache-Control": "max-age=600"})
    server.file("/busybox.aci.asc", signature.read_bytes())
    url = f"http://127.0.0.1:{server.port}/busybox.aci"
    done = rktpy("fetch", url, status=254)
    assert "plain http is not allowed" in done.stderr
    assert not server.paths()
    image = rktpy("--insecure-options=http", "fetch", url).stdout
    asked = len(server.paths())
    assert rktpy("--insecure-options=http", "--debug", "fetch", url).stderr.count("isn't expired, not fetching.") == 1
    assert len(server.paths()) == asked, "fresh by max-age: nobody was asked"
    done = rktpy("--debug", "fetch", "--pull-policy=never", url)
    assert f"using image from local store for url {url}" in done.stderr
    assert done.stdout == image


def test_deferred_signature(rktpy: Rktpy, aci: Path, gpg: Gpg, tmp_path: Path, server: Server) -> None:
    signature = sign(gpg, aci)
    trust(rktpy, gpg, tmp_path)
    server.file("/busybox.aci", aci.read_bytes())
    server.sequence("/busybox.aci.asc", Answer(202), Answer(200, signature.read_bytes()))
    rktpy("--insecure-options=http", "fetch", f"http://127.0.0.1:{server.port}/busybox.aci")
    paths = [path.partition(" ")[2] for path in server.paths()]
    assert paths == ["/busybox.aci.asc", "/busybox.aci", "/busybox.aci.asc"]


def test_unchanged_image_is_not_fetched_again(rktpy: Rktpy, aci: Path, server: Server) -> None:
    server.file("/busybox.aci", aci.read_bytes(), {"ETag": '"one"'})
    url = f"http://127.0.0.1:{server.port}/busybox.aci"
    first = rktpy("--insecure-options=http,image", "fetch", url).stdout
    assert rktpy("--insecure-options=http,image", "fetch", url).stdout == first
    assert [request.headers.get("if-none-match") for request in server.requests] == [None, '"one"']


@pytest.fixture
def discovery_server() -> Iterator[Server]:
    """On port 80 of the sandbox's own loopback, because an app name has no port."""
    with Server(port=80) as server:
        yield server


def test_discovery_keys_and_dependencies(rktpy: Rktpy, gpg: Gpg, tmp_path: Path, discovery_server: Server) -> None:
    server = discovery_server
    base = make_aci(tmp_path / "base.aci", "localhost/base", {"/bin/busybox": shutil.which("busybox")}, labels={"version": "2"})
    app = make_aci(
        tmp_path / "app.aci",
        "localhost/app",
        {"/etc/greeting": b"hello from above\n"},
        labels={"version": "1"},
        exec=["/bin/busybox", "cat", "/etc/greeting"],
        dependencies=[{"imageName": "localhost/base", "labels": [{"name": "version", "value": "2"}]}],
    )
    page = (
        '<html><head><meta name="ac-discovery" content="localhost http://localhost/images{name}-{version}.{ext}">'
        '<meta name="ac-discovery-pubkeys" content="localhost http://localhost/key"></head></html>'
    ).replace("images{name}", "images/{name}")
    for path in ("/", "/app", "/base"):
        server.serve(path, Answer(200, page.encode()) if path == "/" else Answer(404))
    server.serve("/key", Answer(200, gpg.export("alice")))
    for path, name in ((base, "base-2"), (app, "app-1")):
        server.file(f"/images/localhost/{name}.aci", path.read_bytes())
        server.file(f"/images/localhost/{name}.aci.asc", gpg.sign(path, "alice"))
    server.file("/images/localhost/app-latest.aci", app.read_bytes())
    server.file("/images/localhost/app-latest.aci.asc", gpg.sign(app, "alice"))

    done = rktpy("--insecure-options=http", "fetch", "localhost/app:1", status=254)
    assert "unknown entity" in done.stderr, "no key is trusted, and nobody was there to review one"
    rktpy("--insecure-options=http", "trust", "--prefix", "localhost", "--insecure-allow-http", "--skip-fingerprint-review")
    done = rktpy("--insecure-options=http", "run", "localhost/app:1")
    assert done.stdout == "hello from above\n"
    assert image_count(rktpy) == 2
    rktpy("--insecure-options=http", "fetch", "localhost/app")
    record = [json.loads(path.read_bytes()) for path in (rktpy.data / "cas/images").iterdir()]
    assert sorted((r["name"], r["latest"]) for r in record) == [("localhost/app", True), ("localhost/base", False)]


def test_the_fetched_image_must_be_the_one_asked_for(rktpy: Rktpy, tmp_path: Path, discovery_server: Server) -> None:
    other = make_aci(tmp_path / "other.aci", "localhost/other", {}, labels={"version": "1"})
    page = b'<meta name="ac-discovery" content="localhost http://localhost/one.{ext}">'
    discovery_server.serve("/app", Answer(200, page))
    discovery_server.file("/one.aci", other.read_bytes())
    done = rktpy("--insecure-options=http,image", "fetch", "localhost/app:1", status=254)
    assert 'error when reading the app name: "localhost/app" expected but "localhost/other" found' in done.stderr
    done = rktpy("--insecure-options=http,image", "fetch", "localhost/other:3", status=254)
    assert "discovery failed" in done.stderr
    discovery_server.serve("/other", Answer(200, page))
    done = rktpy("--insecure-options=http,image", "fetch", "localhost/other:3", status=254)
    assert 'requested value for label "version": "3" differs from fetched aci label value: "1"' in done.stderr
    assert image_count(rktpy) == 0
