"""Sign, push, fetch elsewhere, verify, run: with rktpy alone, over a registry without the referrers API and one that has it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.certificates import Issued, new_key
from tests.support.notation import code_chain, world
from tests.support.policies import sigstore_signed, write_policy
from tests.support.referrers_registry import ReferrersRegistry
from tests.support.registry import Registry

UNSIGNED = "--insecure-options=image,http"
HTTP = "--insecure-options=http"
SBOM = "https://spdx.dev/Document"
KINDS = ["cosign", "bundle", "notation"]


class Keys:
    """A key with its certificates, and one that nobody trusts."""

    def __init__(self, directory: Path) -> None:
        now = int(time.time())
        self.chain: list[Issued] = code_chain(start=now - 86400, end=now + 86400)
        self.private = directory / "private.pem"
        self.private.write_bytes(self.chain[0].key_pem)
        self.certificates = directory / "chain.pem"
        self.certificates.write_bytes(b"".join([one.pem for one in self.chain]))
        self.public = directory / "public.pem"
        self.other = directory / "other.pem"
        self.other.write_bytes(Issued(self.chain[0].certificate, new_key("P-256", 7)).key_pem)
        extract = [need_tool("openssl"), "pkey", "-in", str(self.private), "-pubout", "-out", str(self.public)]
        subprocess.run(extract, check=True, capture_output=True)
        self.world = world(directory / "notation", self.chain) if not (directory / "notation").mkdir() else None

    def sign(self, kind: str) -> list[str]:
        """The flags to sign with."""
        certificates = [f"--certificates={self.certificates}"] if kind == "notation" else []
        return ["image", "sign", f"--type={kind}", f"--key={self.private}", *certificates]

    def requirement(self, kind: str) -> dict[str, Any]:
        """What a policy asks for this kind."""
        if kind == "cosign":
            return sigstore_signed(self.public)
        if kind == "bundle":
            return {"type": "rktpy:sigstoreBundle", "keyPath": str(self.public)}
        directory = self.public.parent / "notation"
        trust = {"trustPolicyPath": f"{directory}/trustpolicy.oci.json", "trustStorePath": f"{directory}/trust-store"}
        return {"type": "rktpy:notation", **trust}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(params=["docker-registry", "referrers"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry without the referrers API, or one that has it."""
    if request.param == "referrers":
        with ReferrersRegistry() as api:
            yield api.host
    else:
        with Registry(tmp_path / "registry") as running:
            yield running.host


@pytest.fixture
def builder(launcher: Path, tmp_path: Path, busybox_images: Path) -> Rktpy:
    """The machine where the image comes from."""
    made = Rktpy(launcher, tmp_path / "builder")
    made("fetch", UNSIGNED, "--render=false", f"oci:{busybox_images}/busybox-oci:1")
    return made


IMAGE = "busybox-oci"


def stored(builder: Rktpy) -> str:
    return builder("image", "list", "--full", "--no-legend", "--fields=id").stdout.strip()


@pytest.mark.root
@pytest.mark.stage1("fly")
@pytest.mark.parametrize("kind", KINDS)
def test_sign_push_fetch_verify_run(rktpy: Rktpy, builder: Rktpy, host: str, keys: Keys, kind: str) -> None:
    image = stored(builder)
    name = f"docker://{host}/team/app:v1"
    builder(*keys.sign(kind), f"--reference={name}", image)
    pushed = builder("image", "push", HTTP, image, name)
    assert "image: signatures pushed to " in pushed.stderr
    assert "signatures pushed" not in builder("image", "push", HTTP, image, name).stderr

    write_policy(rktpy, host, keys.requirement(kind))
    assert rktpy("fetch", HTTP, "--full", name).stdout.strip() == image
    assert "accepted" in rktpy("image", "verify", "--signatures", name).stdout
    # The registry is not asked any more.
    done = rktpy("run", "--pull-policy=never", name, "--exec=/bin/echo", "--", "it runs")
    assert "it runs" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_a_signature_is_refused(rktpy: Rktpy, builder: Rktpy, host: str, keys: Keys, kind: str) -> None:
    name = f"docker://{host}/team/app:v1"
    builder("image", "push", HTTP, stored(builder), name)
    write_policy(rktpy, host, keys.requirement(kind))
    done = rktpy("fetch", HTTP, "--render=false", name, status=254)
    assert "signature" in done.stderr
    builder(*keys.sign(kind), "--push", HTTP, f"--reference={name}", stored(builder))
    rktpy("fetch", HTTP, "--render=false", name)


@pytest.mark.parametrize("kind", ["cosign", "bundle"])
def test_a_signature_by_another_key_is_refused(rktpy: Rktpy, builder: Rktpy, host: str, keys: Keys, kind: str) -> None:
    name = f"docker://{host}/team/app:v1"
    builder("image", "sign", f"--type={kind}", f"--key={keys.other}", f"--reference={name}", stored(builder))
    builder("image", "push", HTTP, stored(builder), name)
    write_policy(rktpy, host, keys.requirement(kind))
    rktpy("fetch", HTTP, "--render=false", name, status=254)
    # A good one beside it is enough.
    builder(*keys.sign(kind), "--push", HTTP, f"--reference={name}", stored(builder))
    rktpy("fetch", HTTP, "--render=false", name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_through_a_file(rktpy: Rktpy, builder: Rktpy, keys: Keys, kind: str, tmp_path: Path) -> None:
    name = "docker://registry.example/team/app:v1"
    with ReferrersRegistry() as there:
        local = f"docker://{there.host}/team/app:v1"
        builder("image", "push", HTTP, stored(builder), local)
        builder("fetch", UNSIGNED, "--render=false", local)
    builder(*keys.sign(kind), local)
    archive = tmp_path / "images.tar"
    builder("image", "save", f"--output={archive}", local)
    write_policy(rktpy, there.host, keys.requirement(kind))
    rktpy("image", "load", "--render=false", str(archive))
    rktpy("image", "verify", "--signatures", local)
    again = tmp_path / "again.tar"
    rktpy("image", "save", f"--output={again}", local)
    assert again.read_bytes() == archive.read_bytes()
    write_policy(rktpy, "registry.example", keys.requirement(kind))
    assert "is refused by" in rktpy("image", "load", "--render=false", str(archive), status=254).stderr
    assert rktpy("fetch", "--pull-policy=never", name, status=254).stdout == ""


def test_all_kinds_at_once_and_all_required(rktpy: Rktpy, builder: Rktpy, host: str, keys: Keys) -> None:
    name = f"docker://{host}/team/app:v1"
    certificates = f"--certificates={keys.certificates}"
    sign = ("image", "sign", "--type=cosign,bundle,notation", f"--key={keys.private}", certificates, "--expiry=1h")
    done = builder(*sign, f"--reference={name}", stored(builder))
    assert done.stdout.startswith("3 signatures kept beside image ")
    write_policy(rktpy, host, *[keys.requirement(kind) for kind in KINDS])
    builder("image", "push", HTTP, "--with-signatures=false", stored(builder), name)
    rktpy("fetch", HTTP, "--render=false", name, status=254)
    builder("image", "push", HTTP, stored(builder), name)
    rktpy("fetch", HTTP, "--render=false", name)
    assert rktpy("image", "verify", "--signatures", name).stdout.count("accepted") == 1


@pytest.mark.parametrize("kind", ["cosign", "bundle"])
def test_an_attestation_can_be_required(rktpy: Rktpy, builder: Rktpy, host: str, keys: Keys, kind: str, tmp_path: Path) -> None:
    name = f"docker://{host}/team/app:v1"
    builder(*keys.sign(kind), f"--reference={name}", stored(builder))
    builder("image", "push", HTTP, stored(builder), name)
    requirement = {"type": "rktpy:sigstoreBundle", "keyPath": str(keys.public), "predicateType": SBOM}
    write_policy(rktpy, host, requirement)
    rktpy("fetch", HTTP, "--render=false", name, status=254)
    predicate = tmp_path / "sbom.json"
    predicate.write_text('{"spdxVersion": "SPDX-2.3"}')
    attest = [*keys.sign(kind), f"--predicate={predicate}", f"--predicate-type={SBOM}"]
    builder(*attest, "--push", HTTP, f"--reference={name}", stored(builder))
    rktpy("fetch", HTTP, "--render=false", name)


def test_what_is_under_cosigns_tag_verifies_with_openssl(builder: Rktpy, keys: Keys, tmp_path: Path) -> None:
    """skopeo and podman could tell, but Debian builds both without sigstore."""
    with Registry(tmp_path / "registry") as running:
        name = f"docker://{running.host}/team/app:v1"
        builder(*keys.sign("cosign"), f"--reference={name}", stored(builder))
        builder("image", "push", HTTP, stored(builder), name)
        argv = [
            need_tool("skopeo"),
            "inspect",
            "--raw",
            "--tls-verify=false",
            f"docker://{running.host}/team/app:{stored(builder)}.sig",
        ]
        manifest = json.loads(subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)
        (layer,) = manifest["layers"]
        payload = running.blob(layer["digest"])
        signature = tmp_path / "signature"
        signature.write_bytes(base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"]))
        verify = [
            need_tool("openssl"),
            "dgst",
            "-sha256",
            "-verify",
            str(keys.public),
            "-signature",
            str(signature),
            str(payload),
        ]
        subprocess.run(verify, check=True, capture_output=True)
        critical = json.loads(payload.read_bytes())["critical"]
    assert critical["image"] == {"docker-manifest-digest": stored(builder).replace("-", ":")}
    assert critical["identity"] == {"docker-reference": f"{running.host}/team/app"}


def test_a_tag_that_moves_does_not_take_the_signature_along(
    rktpy: Rktpy, builder: Rktpy, host: str, keys: Keys, tmp_path: Path, busybox_images: Path
) -> None:
    name = f"docker://{host}/team/app:v1"
    builder(*keys.sign("cosign"), f"--reference={name}", stored(builder))
    builder("image", "push", HTTP, stored(builder), name)
    write_policy(rktpy, host, keys.requirement("cosign"))
    good = rktpy("fetch", HTTP, "--full", "--render=false", name).stdout
    layout = tmp_path / "layout"
    argv = [
        need_tool("skopeo"),
        "copy",
        "--quiet",
        "--insecure-policy",
        f"oci:{busybox_images}/busybox-oci:1",
        f"oci:{layout}:v2",
    ]
    subprocess.run(argv, check=True, timeout=60)
    subprocess.run([need_tool("umoci"), "config", "--image", f"{layout}:v2", "--config.user=nobody"], check=True, timeout=60)
    other = builder("fetch", UNSIGNED, "--full", "--render=false", f"oci:{layout}:v2").stdout.strip()
    builder("image", "push", HTTP, other, name)
    done = rktpy("fetch", HTTP, "--render=false", name, status=254)
    assert "signature" in done.stderr
    assert rktpy("fetch", "--pull-policy=never", "--full", "--render=false", name).stdout == good


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--type=cosign",), "wants --key=FILE, a PEM private key"),
        (("--type=cosign", "--key=/dev/null"), "signing key"),
        (("--type=bundle", "--key={other}", "--predicate=/dev/null"), "--predicate and --predicate-type belong together"),
        (("--type=notation", "--key={private}", "--predicate=x", "--predicate-type=y"), "--predicate is for --type=cosign"),
        (("--type=bundle", "--key={private}", "--predicate=/dev/null", "--predicate-type=y"), "/dev/null"),
        (("--type=notation", "--key={private}"), "--type=notation wants --certificates=FILE"),
        (("--type=notation", "--key={other}", "--certificates={certificates}"), "is not that of certificate"),
    ],
)
def test_what_cannot_sign_is_refused(builder: Rktpy, keys: Keys, arguments: tuple[str, ...], problem: str) -> None:
    flags = [one.format(private=keys.private, other=keys.other, certificates=keys.certificates) for one in arguments]
    done = builder("image", "sign", *flags, "--reference=docker://registry.example/app", stored(builder), status=254)
    assert problem in done.stderr
    assert json.loads((builder.data / "cas/images" / stored(builder)).read_text())["evidence"] == []


def test_a_signature_is_pushed_only_to_its_image(builder: Rktpy, host: str, keys: Keys) -> None:
    reference = f"--reference=docker://{host}/team/app:v1"
    done = builder(*keys.sign("bundle"), "--push", HTTP, reference, stored(builder), status=254)
    assert f"does not have the image {stored(builder).replace('-', ':')}: push it first" in done.stderr
    # It was made, and goes with the image.
    pushed = builder("image", "push", HTTP, stored(builder), f"docker://{host}/team/app:v1")
    assert "signatures pushed to" in pushed.stderr


@pytest.mark.parametrize("form", ["oci-archive", "oci"])
def test_an_archive_is_fetched_under_a_policy_of_its_own(
    rktpy: Rktpy, builder: Rktpy, keys: Keys, tmp_path: Path, form: str
) -> None:
    builder(
        "image",
        "sign",
        "--type=cosign,bundle",
        f"--key={keys.private}",
        "--reference=docker://registry.example/app",
        stored(builder),
    )
    archive = tmp_path / "images.tar"
    builder("image", "save", f"--output={archive}", stored(builder))
    where = archive
    if form == "oci":
        where = tmp_path / "layout"
        where.mkdir()
        subprocess.run(["tar", "-xf", str(archive), "-C", str(where)], check=True)
    identity = {"type": "exactRepository", "dockerRepository": "registry.example/app"}
    requirements = [{**keys.requirement(kind), "signedIdentity": identity} for kind in ("cosign", "bundle")]
    write_policy(rktpy, str(where), *requirements, transport=form)
    assert rktpy("fetch", "--full", "--render=false", f"{form}:{where}:1").stdout.strip() == stored(builder)
    requirements[0]["signedIdentity"] = {**identity, "dockerRepository": "registry.example/other"}
    write_policy(rktpy, str(where), *requirements, transport=form)
    assert "is refused by sigstoreSigned" in rktpy("fetch", "--render=false", f"{form}:{where}:1", status=254).stderr


def test_signatures_are_part_of_the_store(builder: Rktpy, keys: Keys) -> None:
    before = {path.name for path in (builder.data / "cas/blobs/sha256").iterdir()}
    for _ in range(2):
        builder(*keys.sign("cosign"), "--reference=docker://registry.example/app", stored(builder))
    assert builder("image", "check").stdout == ""
    builder("image", "gc")
    assert builder("image", "check").stdout == ""
    added = {path.name for path in (builder.data / "cas/blobs/sha256").iterdir()} - before
    assert len(added) == 1, "the payload is the same each time"
    builder("image", "rm", stored(builder))
    assert not any(path.name in before | added for path in (builder.data / "cas/blobs/sha256").iterdir())


def test_an_image_from_nowhere_needs_a_name(builder: Rktpy, keys: Keys) -> None:
    done = builder(*keys.sign("cosign"), stored(builder), status=254)
    assert "name the place to sign it for by --reference=docker://HOST/NAME[:TAG]" in done.stderr
    builder(*keys.sign("bundle"), stored(builder))
