"""Policies for ACIs, where policies come from, and key files that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg
from tests.support.registry import Registry
from tests.support.signed_images import ANYTHING, REJECT, SignedImages, write_policy

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
def signed_aci(busybox_images: Path, images: SignedImages, tmp_path: Path) -> Path:
    path = tmp_path / "busybox.aci"
    path.write_bytes((busybox_images / "busybox.aci").read_bytes())
    path.with_name("busybox.aci.asc").write_bytes(images.gpg.sign(path, "alice"))
    return path


ACI = "example.com/busybox"


def test_a_policy_for_acis_with_keys_of_its_own(rktpy: Rktpy, images: SignedImages, signed_aci: Path) -> None:
    own = {"type": "rktpy:trustedKeys", "keyPath": str(images.key_file("alice"))}
    images.policy(rktpy, aci={"example.com": [own]})
    rktpy("fetch", str(signed_aci))
    assert HELLO in rktpy("run", ACI, env=NO_PROGRAMS).stdout
    uuid = rktpy("prepare", "--quiet", ACI).stdout.strip()
    images.policy(rktpy, aci={"example.com": [{**own, "keyPath": str(images.key_file("bob"))}]})
    for command in (("run", ACI), ("run-prepared", uuid)):
        assert "signature made by unknown entity" in rktpy(*command, status=254).stderr
    rktpy("image", "rm", ACI)
    assert "signature made by unknown entity" in rktpy("run-prepared", uuid, status=254).stderr
    images.policy(rktpy, aci={"example.com": [own]})
    assert HELLO in rktpy("run-prepared", uuid, env=NO_PROGRAMS).stdout


def test_scopes_of_acis_are_whole_components(rktpy: Rktpy, images: SignedImages, signed_aci: Path) -> None:
    images.policy(rktpy, aci={"example.com/busy": ANYTHING, "": REJECT})
    assert 'refused by reject at transports.aci.""[0]' in rktpy("fetch", str(signed_aci), status=254).stderr
    images.policy(rktpy, aci={"example.com": ANYTHING, "": REJECT})
    signed_aci.with_name("busybox.aci.asc").unlink()
    rktpy("fetch", str(signed_aci))
    assert HELLO in rktpy("run", ACI).stdout


def test_a_policy_without_acis_leaves_them_to_the_keystore(
    rktpy: Rktpy, images: SignedImages, signed_aci: Path, tmp_path: Path
) -> None:
    write_policy(rktpy, {"default": ANYTHING})
    assert "signature made by unknown entity" in rktpy("fetch", str(signed_aci), status=254).stderr
    rktpy("trust", "--root", "--skip-fingerprint-review", str(images.key_file("alice")))
    rktpy("fetch", str(signed_aci))
    assert HELLO in rktpy("run", ACI).stdout
    # A prefix leaves out the keys that are trusted for everything.
    images.policy(rktpy, aci={"": [{"type": "rktpy:trustedKeys", "prefix": "example.com"}]})
    assert "signature made by unknown entity" in rktpy("run", ACI, status=254).stderr
    rktpy("trust", "--prefix=example.com", "--skip-fingerprint-review", str(images.key_file("alice")))
    assert HELLO in rktpy("run", ACI).stdout


# --- where policies come from


def test_the_first_policy_found_counts_whole(rktpy: Rktpy, images: SignedImages, busybox: str, tmp_path: Path) -> None:
    def judged(*options: str) -> str:
        return rktpy(*options, "fetch", busybox, status=None).stderr

    write_policy(rktpy, {"default": ANYTHING})
    rktpy.system.mkdir()
    (rktpy.system / "policy.json").write_text("{}")
    assert judged() == ""
    user = tmp_path / "user"
    user.mkdir()
    (user / "policy.json").write_text(json.dumps({"default": REJECT}))
    assert f"is refused by reject at default[0] in {user}/policy.json" in judged(f"--user-config={user}")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"default": ANYTHING}))
    assert judged(f"--user-config={user}", f"--trust-policy={other}") == ""
    assert "is refused by reject" not in judged(f"--user-config={user}", "--insecure-options=image")
    (rktpy.config / "policy.json").unlink()
    assert f"{rktpy.system}/policy.json: default: is missing" in judged()
    (rktpy.config / "policy.json").symlink_to("nowhere")
    assert f"cannot read the trust policy {rktpy.config}/policy.json" in judged()
    assert "cannot read the trust policy /nonexistent/p: /nonexistent/p: no such file" in judged("--trust-policy=/nonexistent/p")


@pytest.mark.parametrize("key", [None, b"no key"])
def test_a_key_file_that_cannot_be_used_decides_nothing(
    rktpy: Rktpy, images: SignedImages, busybox: str, key: bytes | None
) -> None:
    images.push(busybox, "nokey/app:v1", "alice")
    images.policy(rktpy)
    file = images.home / "alice.asc"
    file.unlink()
    if key is not None:
        file.write_bytes(key)
    reference = images.reference("nokey/app:v1")
    done = rktpy("--insecure-options=http", "fetch", "--explain", reference, status=254, env=images.environ)
    assert "cannot decide about image" in done.stderr
    assert "undecided" in done.stderr
    assert str(file) in done.stderr


def test_a_scope_that_can_never_match_is_told(rktpy: Rktpy, busybox: str) -> None:
    policy = write_policy(rktpy, {"default": ANYTHING, "transports": {"docker": {"busybox": REJECT}}})
    done = rktpy("fetch", busybox)
    warning = (
        f"trust: warning: {policy}: transports.docker.busybox can never match: "
        "must begin with a registry's host name, as in docker.io/library/busybox\n"
    )
    assert done.stderr == warning
