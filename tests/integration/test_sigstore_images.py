"""Sigstore signatures in a real registry, from the miniature sigstore to a pod that runs or is refused; the guide's commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy, need_tool
from tests.support.certificates import new_key
from tests.support.referrers import manifest, put_blob, put_signature
from tests.support.registry import Registry
from tests.support.signed_images import REJECT, write_policy
from tests.support.sigstore import (
    EMAIL,
    ISSUER,
    Deployment,
    b64,
    bundle,
    dsse_entry,
    envelope,
    hashedrekord,
    pae,
    payload,
    sign,
    spki_pem,
    statement,
)

pytestmark = [pytest.mark.root]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SLSA = "https://slsa.dev/provenance/v1"
HELLO = "hello from "
KEY = new_key("P-256", 50)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as one:
        yield one


@pytest.fixture(scope="module")
def sigstore() -> Deployment:
    return Deployment()


class Published:
    """An image in the registry, and what is attached to it."""

    def __init__(self, registry: Registry, name: str, layout: Path) -> None:
        self._registry = registry
        self._name = name
        registry.push(f"oci:{layout}/busybox-oci:1", f"{name}:v1")
        data, media_type = manifest(registry, name, "v1")
        self.subject = {"mediaType": media_type, "size": len(data), **put_blob(registry, name, data)}
        self.digest: str = self.subject["digest"]
        self.reference = f"docker://{registry.host}/{name}:v1"

    def attach(self, document: dict[str, Any]) -> None:
        """A bundle that refers to the image."""
        put_signature(self._registry, self._name, self.subject, json.dumps(document).encode(), BUNDLE, BUNDLE)

    def tag(self, data: bytes, annotations: dict[str, str]) -> None:
        """A signature under cosign's tag."""
        layer = {"mediaType": SIMPLE, **put_blob(self._registry, self._name, data), "annotations": annotations}
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", **put_blob(self._registry, self._name, b"{}")}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        self._registry.put_manifest(self._name, self.digest.replace(":", "-") + ".sig", document, MANIFEST)


def keyless_bundle(
    sigstore: Deployment, digest: str, predicate_type: str = "https://sigstore.dev/cosign/sign/v1"
) -> dict[str, Any]:
    leaf = sigstore.leaf(KEY)
    content = statement(digest, predicate_type)
    signature = sign(KEY, pae(content))
    material = {
        "certificate": {"rawBytes": b64(leaf.der)},
        "tlogEntries": [sigstore.rekor.entry(dsse_entry(signature, leaf.pem, content))],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": b64(sigstore.stamp(signature))}]},
    }
    return bundle(material, dsseEnvelope=envelope(content, signature))


def require(rktpy: Rktpy, registry: Registry, *requirements: dict[str, Any]) -> None:
    write_policy(rktpy, {"default": REJECT, "transports": {"docker": {registry.host: list(requirements)}}})


def fetch(rktpy: Rktpy, reference: str, status: int = 0) -> str:
    return rktpy("--insecure-options=http", "fetch", "--explain", reference, status=status).stderr


def refused(rktpy: Rktpy, reference: str, reason: str) -> None:
    """The image does not start, and the explanation tells why."""
    assert f"image {reference} is refused by " in rktpy("run", reference, status=254).stderr
    assert reason in rktpy("trust", "explain", reference, status=254).stdout


def keyless(root: Path, *, subject: str = EMAIL, **more: Any) -> dict[str, Any]:
    inner = {"trustedRootPath": str(root), "issuer": ISSUER, "subject": {"email": subject}}
    return {"type": "rktpy:sigstoreBundle", "keyless": inner, "log": "inclusion", **more}


def test_keyless_from_the_registry_to_the_pod(
    rktpy: Rktpy, registry: Registry, sigstore: Deployment, busybox_images: Path, tmp_path: Path
) -> None:
    image = Published(registry, "keyless/app", busybox_images)
    root = tmp_path / "trusted_root.json"
    root.write_text(json.dumps(sigstore.trusted_root()))
    require(rktpy, registry, keyless(root))
    assert "no signature of this kind is at hand" in fetch(rktpy, image.reference, 254)
    image.attach(keyless_bundle(sigstore, "sha256:" + "0" * 64))
    assert "it is about sha256:000000" in fetch(rktpy, image.reference, 254)
    image.attach(keyless_bundle(sigstore, image.digest))
    told = fetch(rktpy, image.reference)
    assert f"the certificate is that of {EMAIL} (identity from {ISSUER})" in told
    assert "trusted logs give 1 promise and 1 inclusion proof" in told
    assert HELLO in rktpy("run", image.reference, env={"PATH": "/nonexistent"}).stdout

    require(rktpy, registry, keyless(root, subject="bob@example.com"))
    refused(rktpy, image.reference, f"the certificate is that of '{EMAIL}', not of 'bob@example.com'")
    require(rktpy, registry, keyless(root), keyless(root, predicateType=SLSA))
    refused(rktpy, image.reference, f"not an attestation of the type {SLSA}")
    image.attach(keyless_bundle(sigstore, image.digest, SLSA))
    rktpy("--insecure-options=http", "fetch", "--pull-policy=update", image.reference)
    assert HELLO in rktpy("run", image.reference).stdout
    # Without the certificate authority nothing that it issued counts, although nothing was fetched again.
    root.write_text(json.dumps(sigstore.trusted_root(certificateAuthorities=[])))
    refused(rktpy, image.reference, "no certificate authority is trusted at that time")
    root.write_text("{")
    assert f"trusted root {root}: not JSON" in rktpy("run", image.reference, status=254).stderr


def test_policies_of_podman_with_fulcio(
    rktpy: Rktpy, registry: Registry, sigstore: Deployment, busybox_images: Path, tmp_path: Path
) -> None:
    image = Published(registry, "fulcio/app", busybox_images)
    data = payload(image.digest, f"{registry.host}/fulcio/app")
    leaf = sigstore.leaf(KEY)
    signature = sign(KEY, data)
    image.tag(
        data,
        {
            "dev.cosignproject.cosign/signature": b64(signature),
            "dev.sigstore.cosign/certificate": leaf.pem.decode(),
            "dev.sigstore.cosign/chain": (sigstore.middle.pem + sigstore.root.pem).decode(),
            "dev.sigstore.cosign/bundle": sigstore.rekor.annotation(hashedrekord(signature, leaf.pem, data)),
        },
    )
    (tmp_path / "ca.pem").write_bytes(sigstore.root.pem)
    (tmp_path / "rekor.pub").write_bytes(spki_pem(sigstore.rekor.key))

    def wanted(email: str) -> dict[str, Any]:
        return {
            "type": "sigstoreSigned",
            "fulcio": {"caPath": str(tmp_path / "ca.pem"), "oidcIssuer": ISSUER, "subjectEmail": email},
            "rekorPublicKeyPath": str(tmp_path / "rekor.pub"),
            "signedIdentity": {"type": "matchRepository"},
        }

    require(rktpy, registry, wanted(EMAIL))
    fetch(rktpy, image.reference)
    assert HELLO in rktpy("run", image.reference).stdout
    require(rktpy, registry, wanted("bob@example.com"))
    refused(rktpy, image.reference, "not for the address 'bob@example.com'")


def test_the_guide(rktpy: Rktpy, launcher: Path, registry: Registry, busybox_images: Path, tmp_path: Path) -> None:
    """Keys by openssl, a bundle, an attestation and a refused image, with the commands of the guide."""
    image = Published(registry, "guide/app", busybox_images)
    evil = Published(registry, "guide/unsigned", busybox_images)
    script = """
        umask 077; openssl rand -base64 24 >build.pass
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass file:build.pass -out build.key
        openssl pkey -in build.key -passin file:build.pass -pubout -out build.pub
    """
    need_tool("openssl")
    subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    builder = Rktpy(launcher, tmp_path / "builder")
    builder("--insecure-options=image,http", "fetch", image.reference)
    sign_with = [f"--key={tmp_path}/build.key", f"--passphrase-file={tmp_path}/build.pass", "--push", image.reference]
    builder("--insecure-options=http", "image", "sign", "--type=bundle", *sign_with)
    key = {"type": "rktpy:sigstoreBundle", "keyPath": str(tmp_path / "build.pub")}
    require(rktpy, registry, key)
    assert "no signature of this kind is at hand" in fetch(rktpy, evil.reference, 254)
    fetch(rktpy, image.reference)
    assert HELLO in rktpy("run", image.reference).stdout
    assert f"it is about {image.digest}" in rktpy("trust", "explain", image.reference).stdout
    require(rktpy, registry, key, {**key, "predicateType": SLSA})
    assert rktpy("run", image.reference, status=254).stderr
    (tmp_path / "provenance.json").write_text('{"buildDefinition": {}}')
    attestation = [f"--predicate={tmp_path}/provenance.json", f"--predicate-type={SLSA}"]
    builder("--insecure-options=http", "image", "sign", "--type=bundle", *attestation, *sign_with)
    rktpy("--insecure-options=http", "fetch", "--pull-policy=update", image.reference)
    assert HELLO in rktpy("run", image.reference).stdout
    (tmp_path / "build.pub").write_bytes(spki_pem(new_key("P-256", 41)))
    refused(rktpy, image.reference, "which is not one of the policy")
