"""policy.json through the command: images of a real registry, signed by skopeo and podman, judged at fetch and at every start."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg
from tests.support.http_server import Answer, Server
from tests.support.registry import Registry, make_image
from tests.support.signed_images import ANYTHING, REJECT, SignedImages

pytestmark = [pytest.mark.root]

HELLO = "hello from "
#: No program is found in it, so nothing is examined again.
NO_PROGRAMS = {"PATH": "/nonexistent"}


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    keys = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    keys.key("alice")
    keys.key("bob")
    yield keys
    keys.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def images(tmp_path: Path, registry: Registry, gpg: Gpg) -> SignedImages:
    return SignedImages(tmp_path / "images", registry, gpg)


@pytest.fixture
def busybox(busybox_images: Path) -> str:
    return f"oci:{busybox_images}/busybox-oci:1"


@pytest.fixture
def other(tmp_path: Path) -> str:
    """An image that nobody signs."""
    return make_image(tmp_path / "other", [{"/bin/app": b"evil"}])


Fetch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fetch(rktpy: Rktpy, images: SignedImages) -> Fetch:
    def run(name: str, *options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        reference = name if ":/" in name else images.reference(name)
        argv = ("--insecure-options=http", "fetch", "--full", *options, reference)
        return rktpy(*argv, status=status, env=images.environ)

    return run


def test_without_a_policy_the_refusal_says_how_to_allow(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    images.push(busybox, "none/app:v1", "alice")
    done = fetch("none/app:v1", status=254)
    assert done.stderr == (
        "fetch: no trust policy says which docker images may run (write a policy.json, or try --insecure-options=image)\n"
    )


def test_signed_by_skopeo_runs_while_the_policy_holds(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    digest = images.push(busybox, "run/app:v1", "alice")
    policy = images.policy(rktpy)
    image = fetch("run/app:v1").stdout.strip()
    assert image == digest.replace(":", "-")
    reference = images.reference("run/app:v1")
    # Offline, without a program to be asked: everything is remembered.
    assert HELLO in rktpy("run", reference, env=NO_PROGRAMS).stdout
    assert HELLO in rktpy("run", image, env=NO_PROGRAMS).stdout
    uuid = rktpy("prepare", "--quiet", reference).stdout.strip()
    (decision,) = json.loads((rktpy.data / "pods/prepared" / uuid / "trust").read_bytes())["apps"]["app"]
    assert decision["verdict"] == "accepted"
    assert decision["policy"] == str(policy)
    assert decision["rule"] == f'transports.docker."{images.registry.host}"'
    assert decision["image"]["digest"] == digest
    assert decision["steps"][0]["steps"][0]["outcome"] == "accepts"

    images.policy(rktpy, {images.registry.host: [images.signed_by("bob")]})
    for command in (("run", reference), ("run", image), ("prepare", reference), ("run-prepared", uuid)):
        done = rktpy(*command, status=254)
        assert done.stdout == ""
        assert "which is none of the policy's keys" in done.stderr
    policy.unlink()
    assert "no trust policy says" in rktpy("run-prepared", uuid, status=254).stderr
    images.policy(rktpy)
    assert HELLO in rktpy("run-prepared", uuid, env=NO_PROGRAMS).stdout


def test_signed_by_podman(
    rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    podman = need_tool("podman")
    conf = tmp_path / "containers.conf"
    conf.write_text("[containers]\ndefault_ulimits = []\n")
    environ = {
        **os.environ,
        "HOME": str(images.home),
        "GNUPGHOME": str(images.gpg.home),
        "CONTAINERS_CONF": str(conf),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    # At most 50 characters, says podman.
    short = tempfile.TemporaryDirectory(prefix="rp", dir="/tmp")
    request.addfinalizer(short.cleanup)
    places = [f"--root={short.name}/root", f"--runroot={short.name}/run", "--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
    accept = tmp_path / "accept.json"
    accept.write_text(json.dumps({"default": ANYTHING}))

    def run(*argv: str) -> str:
        done = subprocess.run([podman, *places, *argv], env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pulled = run("pull", "--quiet", f"--signature-policy={accept}", busybox).strip()
    reference = images.reference("podman/app:v1")
    run("push", "--quiet", "--tls-verify=false", "--sign-by=alice@example.com", pulled, reference)
    images.policy(rktpy)
    fetch("podman/app:v1")
    assert HELLO in rktpy("run", reference, env=NO_PROGRAMS).stdout


def test_the_policy_refuses_by_name_before_the_first_byte(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    images.push(busybox, "early/app:v1")
    images.policy(rktpy, {f"{images.registry.host}/other": ANYTHING})
    before = len(images.registry.requests("early/app"))
    done = fetch("early/app:v1", "--explain", status=254)
    assert f"image {images.reference('early/app:v1')} is refused by reject at default[0]" in done.stderr
    assert "no  reject at default[0]: the policy rejects every image here" in done.stderr
    assert len(images.registry.requests("early/app")) == before
    assert not (rktpy.data / "cas/blobs/sha256").exists() or not list((rktpy.data / "cas/blobs/sha256").iterdir())


def test_signatures_are_not_looked_for_where_none_is_asked_for(
    rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch
) -> None:
    images.push(busybox, "any/app:v1", "alice")
    images.policy(rktpy, {images.registry.host: ANYTHING})
    image = fetch("any/app:v1").stdout.strip()
    record = json.loads((rktpy.data / "cas/images" / image).read_bytes())
    assert record["evidence"] == []
    assert [line for line in images.registry.requests("any/app") if ".sig" in line or "referrers" in line] == []
    # Asked for later, they have to be looked for.
    images.policy(rktpy)
    done = rktpy("run", images.reference("any/app:v1"), status=254)
    assert "no signature of this kind is at hand (they are looked for when the image is fetched)" in done.stderr
    assert fetch("any/app:v1").stdout.strip() == image
    assert HELLO in rktpy("run", images.reference("any/app:v1")).stdout


def test_every_requirement_must_hold_and_one_signature_is_enough_for_each(
    rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch
) -> None:
    images.push(busybox, "both/app:v1", "alice")
    both = [images.signed_by("alice"), images.signed_by("bob")]
    images.policy(rktpy, {images.registry.host: both})
    assert "signedBy at" in fetch("both/app:v1", status=254).stderr
    images.push(images.reference("both/app:v1"), "both/app:v1", "bob")
    done = fetch("both/app:v1", "--explain")
    assert "accepted: all 2 requirements hold" in done.stderr
    assert done.stderr.count("yes signature file://") == 2
    assert done.stderr.count("no  signature file://") == 2


def test_run_prepared_after_the_image_was_removed(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    images.push(busybox, "gone/app:v1", "alice")
    images.policy(rktpy)
    image = fetch("gone/app:v1").stdout.strip()
    uuids = [rktpy("prepare", "--quiet", image).stdout.strip() for _ in range(3)]
    rktpy("image", "rm", image)
    assert list((rktpy.data / "cas/db").glob("facts-*")) == []
    assert HELLO in rktpy("run-prepared", uuids[0], env=NO_PROGRAMS).stdout
    # Another file with the same key: what the pod kept is examined anew.
    images.key_file("alice").write_bytes(images.gpg.export("alice", armor=False))
    assert "cannot run gpg" in rktpy("run-prepared", uuids[1], env=NO_PROGRAMS, status=254).stderr
    assert HELLO in rktpy("run-prepared", uuids[1]).stdout
    images.policy(rktpy, {images.registry.host: [images.signed_by("bob")]})
    assert "none of the policy's keys" in rktpy("run-prepared", uuids[2], status=254).stderr


def test_what_is_remembered_may_be_lost_or_damaged(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    images.push(busybox, "memo/app:v1", "alice")
    images.policy(rktpy)
    fetch("memo/app:v1")
    reference = images.reference("memo/app:v1")
    (facts,) = (rktpy.data / "cas/db").glob("facts-*")
    for damage in (b"", b"{", b"[]", b'{"x":1}'):
        facts.write_bytes(damage)
        assert "cannot run gpg" in rktpy("run", reference, env=NO_PROGRAMS, status=254).stderr
        assert HELLO in rktpy("run", reference).stdout
        assert HELLO in rktpy("run", reference, env=NO_PROGRAMS).stdout
    document = json.loads(facts.read_bytes())
    facts.write_text(json.dumps({key: {"problem": ""} for key in document}))
    assert "what is remembered of it is damaged" in rktpy("run", reference, status=254).stderr


def test_the_signature_blob_is_kept_and_checked(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    images.push(busybox, "blob/app:v1", "alice")
    images.policy(rktpy)
    image = fetch("blob/app:v1").stdout.strip()
    evidence = json.loads((rktpy.data / "cas/images" / image).read_bytes())["evidence"]
    digest = evidence[0]["blobs"]["signature"]
    blob = rktpy.data / "cas/blobs/sha256" / digest.partition(":")[2]
    stray = rktpy.data / "cas/db" / f"facts-sha256-{'0' * 64}"
    stray.write_text("{}")
    assert "the store is sound" in rktpy("image", "check").stderr
    rktpy("image", "gc", "--grace-period=24h")
    assert blob.exists()
    assert (rktpy.data / "cas/db" / f"facts-{image}").exists()
    assert not stray.exists()
    assert "accepted" in rktpy("image", "verify", "--signatures", image).stdout
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    (rktpy.data / "cas/db" / f"facts-{image}").unlink()
    assert f"{digest} is damaged in the store" in rktpy("run", image, status=254).stderr
    assert rktpy("image", "verify", "--signatures", image, status=254).stderr


# --- attacks


def test_a_tag_that_moves_while_it_is_verified(
    rktpy: Rktpy, images: SignedImages, busybox: str, other: str, fetch: Fetch
) -> None:
    """The tag is moved after the image has been pulled and before its signatures are looked for."""
    digest = images.push(busybox, "moves/app:v1", "alice")
    moved: list[str] = []

    def answer(path: str) -> Answer:
        if not moved:
            moved.append(images.push(other, "moves/app:v1"))
        file = images.lookaside / path.lstrip("/")
        return Answer(200, file.read_bytes()) if file.exists() else Answer(404)

    images.policy(rktpy)
    with Server(lambda request: answer(request.path)) as server:
        images.look_at(f"http://{server.host}")
        image = fetch("moves/app:v1").stdout.strip()
    assert moved
    assert moved[0] != digest
    assert image == digest.replace(":", "-")
    assert HELLO in rktpy("run", images.reference("moves/app:v1")).stdout
    # Asked again, the tag means an image that nobody signed; what was verified stays what runs.
    images.look_at(f"file://{images.lookaside}")
    done = fetch("moves/app:v1", status=254)
    assert "no signature of this kind is at hand" in done.stderr
    assert HELLO in rktpy("run", images.reference("moves/app:v1")).stdout
    assert [line.split("\t")[0] for line in rktpy("image", "list", "--full", "--no-legend").stdout.splitlines()] == [image]


def test_replayed_signatures(rktpy: Rktpy, images: SignedImages, busybox: str, other: str, fetch: Fetch) -> None:
    images.policy(rktpy)
    good = images.push(busybox, "replay/app:v1", "alice")
    evil = images.push(other, "replay/evil:v1")
    # The signature of another image; of the same image in another repository; of another tag.
    images.copy(images.signatures("replay/app", good), images.signatures("replay/evil", evil))
    assert f"the signature is for the manifest {good}, not for {evil}" in fetch("replay/evil:v1", status=254).stderr
    images.push(busybox, "replay/copy:v1")
    images.copy(images.signatures("replay/app", good), images.signatures("replay/copy", good))
    done = fetch("replay/copy:v1", status=254)
    host = images.registry.host
    assert f"the signature is for {host}/replay/app:v1, not for {host}/replay/copy:v1" in done.stderr
    images.push(busybox, "replay/app:v2")
    done = fetch("replay/app:v2", status=254)
    assert f"the signature is for {host}/replay/app:v1, not for {host}/replay/app:v2" in done.stderr
    # By digest any tag of the repository will do.
    assert fetch(f"replay/app@{good}").stdout.strip() == good.replace(":", "-")


def test_a_signature_of_the_index_is_none_of_the_platform(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    digest = images.push(busybox, "index/app:v1")
    size = images.registry.blob(digest).stat().st_size
    platform = {"os": "linux", "architecture": "amd64"}
    manifest = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": size,
        "platform": platform,
    }
    media_type = "application/vnd.oci.image.index.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": [manifest]}
    index = images.registry.put_manifest("index/app", "multi", document, media_type)
    claims = {
        "critical": {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": index},
            "identity": {"docker-reference": f"{images.registry.host}/index/app:multi"},
        },
        "optional": {},
    }
    signature = images.gpg("--local-user", "alice@example.com", "--output", "-", "--sign", stdin=json.dumps(claims).encode())
    for about in (index, digest):
        directory = images.signatures("index/app", about)
        directory.mkdir(parents=True)
        (directory / "signature-1").write_bytes(signature)
    images.policy(rktpy)
    done = fetch("index/app:multi", status=254)
    assert f"the signature is for the index {index}, not for the manifest of this platform" in done.stderr


def test_hundreds_of_signatures_and_large_ones(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    digest = images.push(busybox, "many/app:v1", "alice")
    directory = images.signatures("many/app", digest)
    good = (directory / "signature-1").read_bytes()
    for number in range(1, 301):
        (directory / f"signature-{number}").write_bytes(b"junk %d" % number)
    (directory / "signature-1").write_bytes(b"\0" * ((4 << 20) + 1))
    (directory / "signature-2").write_bytes(good)
    images.policy(rktpy)
    done = fetch("many/app:v1", "--explain")
    assert "signature-1 is passed over: it is larger than 4194304 bytes" in done.stderr
    assert "has more than 64 signatures, the rest is not looked at" in done.stderr
    assert done.stderr.count("no  signature file://") == 62
    # A good one behind too many bad ones is not found.
    (directory / "signature-200").write_bytes(good)
    (directory / "signature-2").write_bytes(b"junk")
    rktpy("image", "rm", images.reference("many/app:v1"))
    done = fetch("many/app:v1", status=254)
    assert "none of 63 signatures will do, the first because" in done.stderr


def test_mirrors_are_judged_by_the_logical_name(
    rktpy: Rktpy, images: SignedImages, busybox: str, tmp_path: Path, fetch: Fetch
) -> None:
    digest = images.push(busybox, "vendor/app:v1", "alice")
    host = images.registry.host
    conf = tmp_path / "registries.conf"
    mirror = f'[[registry.mirror]]\nlocation = "{host}/vendor"\ninsecure = true\n'
    conf.write_text(f'[[registry]]\nlocation = "vendor.example"\n{mirror}')
    environ = {**images.environ, "CONTAINERS_REGISTRIES_CONF": str(conf)}
    images.look_at(f"file://{images.lookaside}", "vendor.example")
    target = images.signatures("app", digest)
    images.copy(images.signatures("vendor/app", digest), target)

    def ask(status: int) -> str:
        return rktpy("fetch", "docker://vendor.example/app:v1", status=status, env=environ).stderr

    # The rule for the mirror would accept anything; the rule for the name counts.
    images.policy(rktpy, {host: ANYTHING, "vendor.example": [images.signed_by("alice")]})
    assert f"the signature is for {host}/vendor/app:v1, not for vendor.example/app:v1" in ask(254)
    identity = {"type": "remapIdentity", "prefix": "vendor.example", "signedPrefix": f"{host}/vendor"}
    images.policy(rktpy, {host: REJECT, "vendor.example": [images.signed_by("alice", signedIdentity=identity)]})
    ask(0)
    assert HELLO in rktpy("run", "docker://vendor.example/app:v1", env=NO_PROGRAMS).stdout


def test_an_image_of_several_names(rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch) -> None:
    """By a name the rule for this name counts; by its ID an image may run that any of its names allows."""
    images.push(busybox, "easy/app:v1")
    images.push(busybox, "hard/app:v1")
    host = images.registry.host
    images.policy(rktpy, {f"{host}/easy": ANYTHING, f"{host}/hard": ANYTHING})
    image = fetch("easy/app:v1").stdout.strip()
    assert fetch("hard/app:v1").stdout.strip() == image
    images.policy(rktpy, {f"{host}/easy": ANYTHING})
    assert "is refused by reject" in rktpy("run", images.reference("hard/app:v1"), status=254).stderr
    assert HELLO in rktpy("run", images.reference("easy/app:v1")).stdout
    assert HELLO in rktpy("run", image).stdout
    images.policy(rktpy, {})
    assert "is refused by reject" in rktpy("run", image, status=254).stderr


def test_apps_that_are_added_are_judged_too(
    rktpy: Rktpy, images: SignedImages, busybox: str, fetch: Fetch, tmp_path: Path
) -> None:
    images.push(busybox, "added/app:v1", "alice")
    images.policy(rktpy)
    image = fetch("added/app:v1").stdout.strip()
    reference = images.reference("added/app:v1")
    saved = tmp_path / "uuid"
    argv = rktpy.argv("app", "sandbox", "--net=none", f"--uuid-file-save={saved}")
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (saved.exists() and saved.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        uuid = saved.read_text().strip()
        try:
            rktpy("status", "--wait-ready=60s", uuid)
            rktpy("app", "add", uuid, reference, "--name=one", env=NO_PROGRAMS)
            rktpy("app", "add", uuid, image, "--name=two", env=NO_PROGRAMS)
            (trust,) = rktpy.data.glob(f"pods/*/{uuid}/trust")
            decisions = json.loads(trust.read_bytes())["apps"]
            assert [decisions[name][0]["image"]["name"] for name in ("one", "two")] == [reference, reference]
            images.policy(rktpy, {images.registry.host: REJECT})
            assert "is refused by reject" in rktpy("app", "add", uuid, reference, "--name=three", status=254).stderr
            refused = rktpy("trust", "recheck", "--running", status=254).stdout.splitlines()
            assert [line.split(", ")[1] for line in refused] == ["app one", "app two"]
        finally:
            rktpy("stop", "--force", uuid)
            process.wait(60)
