"""Images signed in each way that rktpy verifies, fetched under a policy that asks for it, each into its own data directory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.setting import ROOT, Setting
from tests.support.certificates import new_key
from tests.support.gpg import Gpg
from tests.support.notation import code_chain
from tests.support.referrers import manifest, put_signature
from tests.support.registry import Registry
from tests.support.sigstore import (
    BUNDLE,
    EMAIL,
    ISSUER,
    SIGNED,
    Deployment,
    b64,
    bundle,
    dsse_entry,
    envelope,
    pae,
    sign,
    spki_pem,
    statement,
)

REJECT = [{"type": "reject"}]
#: As ``image sign --type`` has them.
KEYED = ("simple", "cosign", "bundle", "notation")


class Signed:
    """Keys, a registry, and images in it. A context manager."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.work = setting.work
        self.gpg = Gpg(self.work / "gnupg")
        self.gpg.key("bench")
        self.registry = Registry(self.work / "registry")
        images = self.work / "images"
        subprocess.run(["sh", str(ROOT / "examples/busybox-images.sh"), str(images)], check=True)
        self.layout, self.aci = images / "busybox-oci", images / "busybox.aci"
        # What is looked up there must not be this machine's.
        self.home = self.work / "home"
        registries = self.home / ".config/containers/registries.d"
        registries.mkdir(parents=True)
        self.registries_d = registries
        lookaside = f"file://{self.work}/lookaside"
        (registries / "bench.yaml").write_text(
            f"docker:\n  {self.registry.host}:\n    lookaside: {lookaside}\n    lookaside-staging: {lookaside}\n"
            "    use-sigstore-attachments: true\n"
        )
        self.env = {"HOME": str(self.home), "GNUPGHOME": str(self.gpg.home), "CONTAINERS_REGISTRIES_CONF": "/dev/null"}
        self._write_keys()
        self.sigstore = Deployment()
        (self.work / "trusted_root.json").write_text(json.dumps(self.sigstore.trusted_root()))

    def __enter__(self) -> Signed:
        self.registry.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self.registry.__exit__(None, None, None)
        subprocess.run(["gpgconf", "--homedir", str(self.gpg.home), "--kill", "all"], check=False, capture_output=True)

    def _write_keys(self) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        (self.work / "gpg.asc").write_bytes(self.gpg.export("bench"))
        key = new_key("P-256", 70)
        (self.work / "cosign.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (self.work / "cosign.pub").write_bytes(spki_pem(key))
        # Valid from 2024 to 2034.
        chain = code_chain()
        (self.work / "notation.key").write_bytes(chain[0].key_pem)
        (self.work / "notation.pem").write_bytes(b"".join(one.pem for one in chain))
        store = self.work / "trust-store/x509/ca/bench"
        store.mkdir(parents=True)
        (store / "root.pem").write_bytes(chain[-1].pem)
        statement = {
            "name": "bench",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:bench"],
            "trustedIdentities": ["x509.subject: C=US, ST=WA, O=Example"],
        }
        (self.work / "trustpolicy.json").write_text(json.dumps({"version": "1.0", "trustPolicies": [statement]}))

    def requirement(self, family: str) -> dict[str, Any]:
        """What a policy asks for."""
        repository = {"signedIdentity": {"type": "matchRepository"}}
        key = str(self.work / "cosign.pub")
        table: dict[str, dict[str, Any]] = {
            "anything": {"type": "insecureAcceptAnything"},
            "simple": {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(self.work / "gpg.asc")},
            "cosign": {"type": "sigstoreSigned", "keyPath": key, **repository},
            "many": {"type": "sigstoreSigned", "keyPath": key, **repository},
            "bundle": {"type": "rktpy:sigstoreBundle", "keyPath": key, **repository},
            "keyless": {
                "type": "rktpy:sigstoreBundle",
                "keyless": {
                    "trustedRootPath": str(self.work / "trusted_root.json"),
                    "issuer": ISSUER,
                    "subject": {"email": EMAIL},
                },
                "log": "promise",
            },
            "notation": {
                "type": "rktpy:notation",
                "trustPolicyPath": str(self.work / "trustpolicy.json"),
                "trustStorePath": str(self.work / "trust-store"),
            },
        }
        return table[family]

    def policy(self, family: str) -> Path:
        """The file of a policy that asks for signatures of one family."""
        path = self.work / f"policy-{family}.json"
        document: dict[str, Any] = {"default": REJECT}
        if family == "aci":
            document["transports"] = {"aci": {"": [{"type": "rktpy:trustedKeys", "keyPath": str(self.work / "gpg.asc")}]}}
        else:
            document["transports"] = {"docker": {self.registry.host: [self.requirement(family)]}}
        path.write_text(json.dumps(document))
        return path

    def argv(self, family: str, *args: str, trusting: bool = True) -> list[str]:
        """A command line of ours in the data directory of a family, by its policy or with signatures switched off."""
        insecure = "http" if trusting else "http,image"
        own = [f"--dir={self.work}/data-{family}", f"--local-config={self.work}/config", f"--system-config={self.work}/system"]
        policy = [f"--trust-policy={self.policy(family)}"] if trusting else []
        return [str(self.setting.launcher), *own, *policy, f"--insecure-options={insecure}", *args]

    def call(self, family: str, *args: str, trusting: bool = True) -> str:
        """Run one of ours to the end; its standard output."""
        argv = self.argv(family, *args, trusting=trusting)
        return subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, **self.env}).stdout

    def fetched_aci(self) -> str:
        """Sign the ACI, fetch it under its policy and give its image ID."""
        signature = Path(f"{self.aci}.asc")
        signature.write_bytes(self.gpg.sign(self.aci, "bench"))
        return self.call("aci", "fetch", "--full", str(self.aci)).strip()

    def fetched(self, family: str) -> str:
        """Put a signed image into the registry, fetch it under its policy and give its reference."""
        name = f"bench/{family}"
        reference = f"docker://{self.registry.host}/{name}:1"
        self.push(name)
        if family == "keyless":
            self._sign_keyless(name)
        elif family in KEYED:
            self._sign(family, reference)
        self.call(family, "fetch", reference)
        return reference

    def push(self, name: str, tag: str = "1") -> None:
        """Copy the image to the registry."""
        argv = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
        target = f"docker://{self.registry.host}/{name}:{tag}"
        subprocess.run([*argv, f"oci:{self.layout}:1", target], check=True, timeout=120)

    def _sign(self, family: str, reference: str) -> None:
        author = f"author-{family}"
        self.call(author, "fetch", reference, trusting=False)
        keys = {
            "simple": ["--local-user=bench@example.com"],
            "cosign": [f"--key={self.work}/cosign.key"],
            "bundle": [f"--key={self.work}/cosign.key"],
            "notation": [f"--key={self.work}/notation.key", f"--certificates={self.work}/notation.pem"],
        }
        push = [] if family == "simple" else ["--push"]
        self.call(author, "image", "sign", f"--type={family}", *keys[family], *push, reference, trusting=False)
        shutil.rmtree(self.work / f"data-{author}")

    def _sign_keyless(self, name: str) -> None:
        data, media_type = manifest(self.registry, name, "1")
        subject = {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}
        key = new_key("P-256", 71)
        leaf = self.sigstore.leaf(key)
        content = statement(subject["digest"])
        signature = sign(key, pae(content))
        entry = self.sigstore.rekor.entry(dsse_entry(signature, leaf.pem, content), when=SIGNED, promise=True)
        material = {"certificate": {"rawBytes": b64(leaf.der)}, "tlogEntries": [entry]}
        document = bundle(material, dsseEnvelope=envelope(content, signature))
        put_signature(self.registry, name, subject, json.dumps(document).encode(), BUNDLE, BUNDLE)

    def fetched_many(self, number: int) -> None:
        """Fetch so many images with cosign signatures into the data directory ``many``, each with a manifest of its own."""
        layout = self.work / "images/many"
        shutil.copytree(self.layout, layout)
        index = json.loads((layout / "index.json").read_text())
        blobs = layout / "blobs/sha256"

        def read(digest: str) -> dict[str, Any]:
            document: dict[str, Any] = json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())
            return document

        def put(document: dict[str, Any]) -> dict[str, Any]:
            data = json.dumps(document).encode()
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"digest": f"sha256:{digest}", "size": len(data)}

        first = index["manifests"][0]
        inner = read(first["digest"])
        config = read(inner["config"]["digest"])
        entries = []
        for one in range(number):
            config["config"] = {**config.get("config", {}), "Labels": {"number": str(one)}}
            changed = {**inner, "config": {**inner["config"], **put(config)}}
            entries.append({**first, **put(changed), "annotations": {"org.opencontainers.image.ref.name": str(one)}})
        (layout / "index.json").write_text(json.dumps({**index, "manifests": entries}))
        for one in range(number):
            reference = f"docker://{self.registry.host}/bench/many:{one}"
            argv = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"]
            target = f"docker://{self.registry.host}/bench/many:{one}"
            subprocess.run([*argv, f"oci:{layout}:{one}", target], check=True, timeout=120)
            self.call("author-many", "fetch", reference, trusting=False)
            key = f"--key={self.work}/cosign.key"
            self.call("author-many", "image", "sign", "--type=cosign", key, "--push", reference, trusting=False)
            self.call("many", "fetch", reference)
