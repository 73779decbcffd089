"""Signing with OpenPGP keys: ACIs, and OCI images by simple signing; skopeo and podman are asked what they think of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg
from tests.support.podman import Podman
from tests.support.policies import signed_by, write_policy
from tests.support.registry import Registry, make_image

UNSIGNED = "--insecure-options=image"
HTTP = "--insecure-options=http"


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpg]:
    need_tool("gpg")
    home = Gpg(tmp_path_factory.mktemp("gpg") / "home")
    home.key("ann")
    home.key("bob")
    yield home
    home.close()


@pytest.fixture(scope="module")
def secret(gpg: Gpg, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ann's secret key in a file."""
    path = tmp_path_factory.mktemp("secret") / "ann.key"
    path.write_bytes(gpg("--armor", "--export-secret-keys", "ann@example.com"))
    return path


@pytest.fixture
def public(gpg: Gpg, tmp_path: Path) -> Path:
    path = tmp_path / "ann.pub"
    path.write_bytes(gpg.export("ann"))
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def pushed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image in the registry."""
    registry.push(make_image(tmp_path_factory.mktemp("image"), [{"/app": b"app"}]), "team/app:v1")
    return f"docker://{registry.host}/team/app:v1"


def lookaside(home: Path, directory: Path) -> dict[str, str]:
    """An environment whose registries.d leads to a lookaside of its own."""
    conf = home / ".config/containers/registries.d"
    conf.mkdir(parents=True, exist_ok=True)
    urls = f"  lookaside: file://{directory}\n  lookaside-staging: file://{directory}\n"
    (conf / "default.yaml").write_text(f"default-docker:\n{urls}")
    return {**os.environ, "HOME": str(home)}


# ACIs


def test_a_stored_aci_is_signed_by_a_key_of_the_keyring(rktpy: Rktpy, gpg: Gpg, public: Path, busybox_images: Path) -> None:
    image = rktpy(UNSIGNED, "fetch", "--full", str(busybox_images / "busybox.aci")).stdout.strip()
    rktpy("trust", "--prefix=example.com/busybox", "--skip-fingerprint-review", str(public))
    rktpy("image", "verify", "--signatures", image, status=254)
    output = public.parent / "busybox.aci.asc"
    environ = {**os.environ, "GNUPGHOME": str(gpg.home)}
    arguments = ("image", "sign", "--type=asc", "--local-user=ann@example.com", f"--output={output}", image)
    done = rktpy(*arguments, env=environ)
    assert done.stdout == f"signature kept beside image example.com/busybox\nsignature written to {output}\n"
    assert done.stderr == ""
    rktpy("image", "verify", "--signatures", image)
    rktpy("image", "export", image, str(output.with_suffix("")))
    gpg("--verify", str(output), str(output.with_suffix("")))
    assert "output" not in rktpy(*arguments, status=254, env=environ).stdout
    assert b"BEGIN PGP SIGNATURE" in output.read_bytes()


def test_a_key_that_is_not_trusted_signs_but_does_not_count(rktpy: Rktpy, secret: Path, busybox_images: Path) -> None:
    rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    done = rktpy("image", "sign", "--type=asc", f"--key={secret}", "example.com/busybox:1")
    assert "warning: the key is not trusted for images named example.com/busybox here" in done.stderr
    rktpy("image", "verify", "--signatures", "example.com/busybox:1", status=254)


def test_an_aci_in_a_file_is_signed_where_it_lies(
    rktpy: Rktpy, secret: Path, public: Path, busybox_images: Path, tmp_path: Path
) -> None:
    aci = tmp_path / "app.aci"
    aci.write_bytes((busybox_images / "busybox.aci").read_bytes())
    done = rktpy("image", "sign", "--type=asc", f"--key={secret}", str(aci))
    assert done.stdout == f"signature written to {aci}.asc\n"
    assert "exists" in rktpy("image", "sign", "--type=asc", f"--key={secret}", str(aci), status=254).stderr
    rktpy("fetch", str(aci), status=254)
    rktpy("trust", "--prefix=example.com/busybox", "--skip-fingerprint-review", str(public))
    rktpy("fetch", str(aci))
    aci.write_bytes(aci.read_bytes() + b"\0")
    rktpy("fetch", str(aci), status=254)


def test_an_aci_is_saved_and_loaded_with_its_signature(
    rktpy: Rktpy, launcher: Path, secret: Path, public: Path, busybox_images: Path, tmp_path: Path
) -> None:
    rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    rktpy("image", "sign", "--type=asc", f"--key={secret}", "example.com/busybox:1")
    saved = tmp_path / "saved.aci"
    rktpy("image", "save", f"--output={saved}", "example.com/busybox:1")
    assert "must end in .aci" in rktpy("image", "save", "--output=/tmp/x.tar", "example.com/busybox:1", status=254).stderr
    elsewhere = Rktpy(launcher, tmp_path / "elsewhere")
    elsewhere("image", "load", str(saved), status=254)
    elsewhere("trust", "--prefix=example.com/busybox", "--skip-fingerprint-review", str(public))
    image = elsewhere("image", "load", str(saved)).stdout.strip()
    again = tmp_path / "again.aci"
    elsewhere("image", "save", f"--output={again}", image)
    assert again.read_bytes() == saved.read_bytes()
    assert (tmp_path / "again.aci.asc").read_bytes() == (tmp_path / "saved.aci.asc").read_bytes()
    assert "exists" in elsewhere("image", "save", f"--output={again}", image, status=254).stderr
    elsewhere("image", "save", "--overwrite", "--with-signatures=false", f"--output={again}", image)


@pytest.mark.parametrize("length", [10, 200])
def test_the_private_home_leaves_nothing(rktpy: Rktpy, secret: Path, busybox_images: Path, tmp_path: Path, length: int) -> None:
    rktpy(UNSIGNED, "fetch", str(busybox_images / "busybox.aci"))
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        temporary = Path(name) / ("x" * length)
        temporary.mkdir()
        environ = {**os.environ, "TMPDIR": str(temporary), "GNUPGHOME": str(tmp_path / "none")}
        rktpy("image", "sign", "--type=asc", f"--key={secret}", "example.com/busybox:1", env=environ)
        assert list(temporary.iterdir()) == []
        assert not (tmp_path / "none").exists()
        running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert str(temporary) not in running


# Simple signing


def test_a_simple_signature_is_accepted_here_and_by_skopeo(
    rktpy: Rktpy, launcher: Path, registry: Registry, pushed: str, secret: Path, public: Path, tmp_path: Path
) -> None:
    environ = lookaside(tmp_path / "home", tmp_path / "sigs")
    image = rktpy("fetch", "--insecure-options=image,http", "--full", "--render=false", pushed).stdout.strip()
    done = rktpy("image", "sign", "--type=simple", f"--key={secret}", pushed, env=environ)
    written = tmp_path / f"sigs/team/app@{image.replace('-', '=')}/signature-1"
    assert done.stdout.splitlines()[1] == f"simple signature written to {written}"
    assert b"atomic container signature" in written.read_bytes(), "it is not compressed"

    policy = write_policy(rktpy, registry.host, signed_by(public))
    rktpy("image", "verify", "--signatures", pushed)
    elsewhere = Rktpy(launcher, tmp_path / "elsewhere")
    write_policy(elsewhere, registry.host, signed_by(public))
    elsewhere("fetch", HTTP, "--render=false", pushed, env=environ)
    skopeo = [need_tool("skopeo"), f"--policy={policy}", "copy", "--quiet", "--src-tls-verify=false", "--remove-signatures"]
    subprocess.run([*skopeo, pushed, f"dir:{tmp_path}/copied"], check=True, env=environ, timeout=60)

    written.unlink()
    done = Rktpy(launcher, tmp_path / "third")
    write_policy(done, registry.host, signed_by(public))
    done("fetch", HTTP, "--render=false", pushed, env=environ, status=254)
    refused = subprocess.run(
        [*skopeo, pushed, f"dir:{tmp_path}/refused"], capture_output=True, env=environ, timeout=60, check=False
    )
    assert b"signature was required" in refused.stderr
    rktpy("image", "verify", "--signatures", pushed)


@pytest.mark.root
def test_podman_accepts_a_simple_signature(
    rktpy: Rktpy, gpg: Gpg, registry: Registry, pushed: str, secret: Path, public: Path, tmp_path: Path
) -> None:
    environ = lookaside(tmp_path / "home", tmp_path / "sigs")
    rktpy("fetch", "--insecure-options=image,http", "--render=false", pushed)
    rktpy("image", "sign", "--type=simple", f"--key={secret}", pushed, env=environ)
    policy = write_policy(rktpy, registry.host, signed_by(public))
    with Podman(tmp_path / "home") as podman:
        pull = ("pull", "--quiet", "--tls-verify=false", f"--signature-policy={policy}", pushed)
        podman(*pull)
        podman("rmi", "--all")
        (tmp_path / "bob.pub").write_bytes(gpg.export("bob"))
        write_policy(rktpy, registry.host, signed_by(tmp_path / "bob.pub"))
        assert "Invalid GPG signature" in podman(*pull, status=125)


def test_each_signature_gets_a_file_of_its_own(rktpy: Rktpy, pushed: str, secret: Path, tmp_path: Path) -> None:
    image = rktpy("fetch", "--insecure-options=image,http", "--full", "--render=false", pushed).stdout.strip()
    for name in ("one", "two"):
        rktpy(
            "image", "sign", "--type=simple", f"--key={secret}", f"--lookaside={tmp_path}/sigs",
            f"--reference=docker://registry.example/{name}:v1", image,
        )  # fmt: skip
    assert (tmp_path / f"sigs/one@{image.replace('-', '=')}/signature-1").exists()
    rktpy("image", "sign", "--type=simple", f"--key={secret}", f"--lookaside={tmp_path}/sigs", image)
    rktpy("image", "sign", "--type=simple", f"--key={secret}", f"--lookaside={tmp_path}/sigs", image)
    assert (tmp_path / f"sigs/team/app@{image.replace('-', '=')}/signature-2").exists()


def test_a_key_with_a_passphrase(rktpy: Rktpy, pushed: str, tmp_path: Path) -> None:
    home = Gpg(tmp_path / "gpg")
    try:
        protect = ("--batch", "--pinentry-mode", "loopback", "--passphrase", "sesame")
        home(*protect, "--quick-generate-key", "eve <eve@example.com>", "ed25519", "sign", "never")
        key = tmp_path / "eve.key"
        key.write_bytes(home(*protect, "--armor", "--export-secret-keys", "eve@example.com"))
    finally:
        home.close()
    rktpy("fetch", "--insecure-options=image,http", "--render=false", pushed)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("sesame\n")
    sign = ("image", "sign", "--type=simple", f"--key={key}", f"--lookaside={tmp_path}/sigs", pushed)
    rktpy(*sign, f"--passphrase-file={passphrase}")
    passphrase.write_text("wrong\n")
    done = rktpy(*sign, f"--passphrase-file={passphrase}", status=254)
    assert done.stderr.startswith("sign: cannot sign with gpg: ")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "say with --type how to sign it (simple, cosign, bundle, notation)"),
        (("--type=asc",), "which is not signed by --type=asc"),
        (("--type=pgp",), "'pgp' is none of asc, simple, cosign, bundle, notation"),
        (("--type=simple",), "wants a key to sign with"),
        (("--type=simple", "--output=x"), "--output is for --type=asc"),
        (("--type=cosign", "--lookaside=x"), "--lookaside is for --type=simple"),
        (("--type=cosign", "--local-user=x"), "--local-user is for --type=asc and --type=simple"),
        (("--type=cosign", "--certificates=x"), "--certificates is for --type=notation"),
        (("--type=cosign", "--expiry=1h"), "--expiry is for --type=notation"),
        (("--type=simple", "--push", "--key=x"), "simple signatures are kept in a lookaside"),
        (("--type=simple,cosign", "--key=x"), "--key cannot be an OpenPGP and a PEM key at once"),
        (("--type=simple", "--key=/dev/null"), "cannot sign with gpg"),
        (("--type=simple", "--key=/does/not/exist"), "cannot read the signing key"),
        (("--type=simple", "--key=x", "--reference=oci:/x"), "--reference wants docker://HOST/NAME[:TAG]"),
        (("--type=simple", "--local-user=nobody@example.com"), "cannot sign with gpg"),
    ],
)
def test_what_does_not_fit_is_refused(
    rktpy: Rktpy, pushed: str, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    rktpy("fetch", "--insecure-options=image,http", "--render=false", pushed)
    environ = {**os.environ, "GNUPGHOME": str(tmp_path), "HOME": str(tmp_path)}
    done = rktpy("image", "sign", *arguments, pushed, status=254, env=environ)
    assert problem in done.stderr
    assert json.loads(next((rktpy.data / "cas/images").iterdir()).read_text())["evidence"] == []
