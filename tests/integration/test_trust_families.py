"""Every family of signatures through the policy: signed here, verified and run elsewhere, judged again when keys change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy, need_tool
from tests.integration.test_hot_imports_of_pods import EXACTLY, check, loaded
from tests.support.certificates import new_key
from tests.support.gpg import Gpg
from tests.support.notation import code_chain
from tests.support.registry import Registry, make_image
from tests.support.signed_images import SignedImages, write_policy

pytestmark = [pytest.mark.root]

HELLO = "hello from "
NO_PROGRAMS = {"PATH": "/nonexistent"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedImages]:
    need_tool("gpg")
    gpg = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    try:
        gpg.key("alice")
        gpg.key("bob")
        with Registry(tmp_path_factory.mktemp("registry")) as registry:
            yield SignedImages(tmp_path_factory.mktemp("images"), registry, gpg)
    finally:
        gpg.close()


class Keys:
    """Two signers of each family as files: ``sign`` are the options of ``image sign``, ``requirement`` what a policy asks for."""

    def __init__(self, directory: Path, images: SignedImages) -> None:
        self.directory = directory
        self.images = images

    def _pem(self, number: int) -> Path:
        from cryptography.hazmat.primitives import serialization as s

        path = self.directory / f"key{number}.pem"
        key = new_key("P-256", 60 + number)
        path.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
        public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
        path.with_suffix(".pub").write_bytes(public)
        return path

    def sign(self, kind: str) -> list[str]:
        if kind == "simple":
            secret = self.directory / "alice.secret"
            secret.write_bytes(self.images.gpg("--armor", "--export-secret-keys", "alice@example.com"))
            return [f"--key={secret}", f"--lookaside={self.images.lookaside}"]
        if kind == "notation":
            chain = code_chain()
            (self.directory / "signer.key").write_bytes(chain[0].key_pem)
            (self.directory / "signer.pem").write_bytes(b"".join([one.pem for one in chain]))
            return [f"--key={self.directory}/signer.key", f"--certificates={self.directory}/signer.pem", "--push"]
        return [f"--key={self._pem(0)}", "--push"]

    def requirement(self, kind: str, number: int = 0) -> dict[str, Any]:
        """What asks for signatures of the signer ``number``, of whom 0 has signed."""
        if kind == "simple":
            return self.images.signed_by("bob" if number else "alice")
        if kind == "notation":
            return self._notation(number)
        key = str(self._pem(number).with_suffix(".pub"))
        if kind == "cosign":
            return {"type": "sigstoreSigned", "keyPath": key, "signedIdentity": {"type": "matchRepository"}}
        return {"type": "rktpy:sigstoreBundle", "keyPath": key}

    def _notation(self, number: int) -> dict[str, Any]:
        from tests.support.certificates import issue

        store = self.directory / f"store{number}/x509/ca/example"
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True)
        root = issue("C=US,O=Other,CN=Other Root", key=new_key("P-256", 70)) if number else code_chain()[-1]
        (store / "root.pem").write_bytes(root.pem)
        policy = self.directory / f"trustpolicy{number}.json"
        statement = {
            "name": "all",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict", "override": {"revocation": "skip"}},
            "trustStores": ["ca:example"],
            "trustedIdentities": ["*"],
        }
        policy.write_text(json.dumps({"version": "1.0", "trustPolicies": [statement]}))
        return {
            "type": "rktpy:notation",
            "trustPolicyPath": str(policy),
            "trustStorePath": str(self.directory / f"store{number}"),
        }


@pytest.fixture
def keys(tmp_path: Path, images: SignedImages) -> Keys:
    directory = tmp_path / "keys"
    directory.mkdir()
    return Keys(directory, images)


Require = Callable[..., Path]


@pytest.fixture
def elsewhere(launcher: Path, tmp_path: Path) -> Rktpy:
    """Another machine."""
    return Rktpy(launcher, tmp_path / "elsewhere")


@pytest.mark.parametrize("kind", ["simple", "cosign", "bundle", "notation"])
def test_from_signing_to_running(
    rktpy: Rktpy, elsewhere: Rktpy, images: SignedImages, keys: Keys, busybox_images: Path, tmp_path: Path, kind: str
) -> None:
    reference = images.reference(f"{kind}/app:v1")
    digest = images.push(f"oci:{busybox_images}/busybox-oci:1", f"{kind}/app:v1")
    rktpy("--insecure-options=image,http", "fetch", "--render=false", reference, env=images.environ)
    rktpy("--insecure-options=http", "image", "sign", f"--type={kind}", *keys.sign(kind), reference, env=images.environ)

    def require(*numbers: int) -> None:
        rule = [keys.requirement(kind, number) for number in numbers]
        write_policy(elsewhere, {"default": [{"type": "reject"}], "transports": {"docker": {images.registry.host: rule}}})

    require(0)
    done = elsewhere("--insecure-options=http", "fetch", "--full", "--explain", reference, env=images.environ)
    image = done.stdout.strip()
    assert image == digest.replace(":", "-")
    assert "  accepted: " in done.stderr
    # Offline, without programs, and without a module that is not for a start.
    assert HELLO in elsewhere("run", reference, env=NO_PROGRAMS).stdout
    modules = loaded(elsewhere, "run", "--stage1=systemd", "--net=none", reference, "--exec=/bin/true", option="--debug=false")
    check(modules)
    added = {name.removeprefix("rktpy.") for name in modules if name.startswith("rktpy.")} - set(EXACTLY["run"].split())
    # Bundles are judged by cosign's module too, whose signatures will do as well.
    own = {"simple": {"simple_signing"}, "bundle": {"bundle", "cosign"}}.get(kind, {kind})
    assert {"trust.simple_signing", "trust.cosign", "trust.bundle", "trust.notation"} & added == {f"trust.{name}" for name in own}
    assert [name for name in added if name.startswith("trust.") and name.endswith("_facts")] == []

    uuid = elsewhere("prepare", "--quiet", reference).stdout.strip()
    require(1)
    for command in (("run", reference), ("run", image), ("run-prepared", uuid)):
        done = elsewhere(*command, status=254)
        assert f"image {reference} is refused by " in done.stderr
    assert f"{image} ({reference}): rejected: " in elsewhere("trust", "recheck", status=254).stdout
    assert "rejected" in elsewhere("image", "verify", "--signatures", image, status=254).stdout
    require(0, 1)
    assert "is refused by " in elsewhere("run", reference, status=254).stderr
    require(0)
    elsewhere("image", "rm", image)
    assert HELLO in elsewhere("run-prepared", uuid, env=NO_PROGRAMS).stdout


@pytest.mark.parametrize("kind", ["cosign", "bundle", "notation"])
def test_signatures_of_another_image(
    rktpy: Rktpy, elsewhere: Rktpy, images: SignedImages, keys: Keys, busybox_images: Path, tmp_path: Path, kind: str
) -> None:
    """An unsigned image has none of the signatures of another one in its repository."""
    images.push(f"oci:{busybox_images}/busybox-oci:1", f"other-{kind}/app:v1")
    images.push(make_image(tmp_path / "evil", [{"/bin/app": b"evil"}]), f"other-{kind}/app:v2")
    reference = images.reference(f"other-{kind}/app:v1")
    rktpy("--insecure-options=image,http", "fetch", "--render=false", reference, env=images.environ)
    rktpy("--insecure-options=http", "image", "sign", f"--type={kind}", *keys.sign(kind), reference, env=images.environ)
    rule = {images.registry.host: [keys.requirement(kind)]}
    write_policy(elsewhere, {"default": [{"type": "reject"}], "transports": {"docker": rule}})
    other = images.reference(f"other-{kind}/app:v2")
    done = elsewhere("--insecure-options=http", "fetch", other, status=254, env=images.environ)
    assert "no signature of this kind is at hand" in done.stderr


def test_the_versions_of_the_facts_are_those_of_the_table() -> None:
    from rktpy.trust.families import FAMILIES

    for family in FAMILIES.values():
        assert family.version == family.examiner.FACT_VERSION
        assert family.judge.concerns
