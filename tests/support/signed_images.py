"""Images in a real registry that skopeo signed, the lookaside storage with the signatures, and policies about them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import Rktpy, need_tool
from tests.support.gpg import Gpg
from tests.support.registry import Registry

REJECT = [{"type": "reject"}]
ANYTHING = [{"type": "insecureAcceptAnything"}]


class SignedImages:
    """A registry, signers and a home directory whose registries.d names the lookaside storage of the registry."""

    def __init__(self, directory: Path, registry: Registry, gpg: Gpg) -> None:
        self.registry = registry
        self.gpg = gpg
        self.home = directory / "home"
        self.lookaside = directory / "lookaside"
        self.registries_d = self.home / ".config/containers/registries.d"
        self.registries_d.mkdir(parents=True)
        self.look_at(f"file://{self.lookaside}")

    def look_at(self, url: str, host: str = "") -> None:
        """Say in registries.d where the signatures of the registry's images lie."""
        text = f"docker:\n  {host or self.registry.host}:\n    lookaside: {url}\n    lookaside-staging: file://{self.lookaside}\n"
        (self.registries_d / "test.yaml").write_text(text)

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which rktpy finds the configuration of these tests, and nobody's keys."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "CONTAINERS_REGISTRIES_CONF": "/dev/null"}

    def push(self, source: str, name: str, *signers: str) -> str:
        """Copy an image to the registry, signed by each of ``signers``; the digest of its manifest."""
        argv = [need_tool("skopeo"), "--registries.d", str(self.registries_d), "copy", "--quiet", "--dest-tls-verify=false"]
        argv.append("--src-tls-verify=false")
        environ = {**os.environ, "GNUPGHOME": str(self.gpg.home)}
        for signer in signers or ("",):
            sign = ["--sign-by", f"{signer}@example.com"] if signer else []
            target = f"docker://{self.registry.host}/{name}"
            subprocess.run([*argv, *sign, source, target], check=True, capture_output=True, timeout=120, env=environ)
            # The signatures that are there are copied along.
            source = target
        return self.digest(name)

    def digest(self, name: str) -> str:
        """The digest of what a name means in the registry."""
        argv = [need_tool("skopeo"), "inspect", "--tls-verify=false", "--format={{.Digest}}"]
        target = f"docker://{self.registry.host}/{name}"
        return subprocess.run([*argv, target], check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def signatures(self, repository: str, digest: str) -> Path:
        """The directory with the signatures of a manifest."""
        return self.lookaside / f"{repository}@{digest.replace(':', '=')}"

    def reference(self, name: str) -> str:
        """The reference of an image."""
        return f"docker://{self.registry.host}/{name}"

    def key_file(self, name: str) -> Path:
        """The public key of a signer."""
        path = self.home / f"{name}.asc"
        path.write_bytes(self.gpg.export(name))
        return path

    def signed_by(self, *names: str, **more: Any) -> dict[str, Any]:
        """A requirement."""
        paths = [str(self.key_file(name)) for name in names]
        return {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": paths, **more}

    def policy(self, rktpy: Rktpy, docker: dict[str, Any] | None = None, **more: Any) -> Path:
        """Write a policy.json of the machine: images of the registry must be signed by alice, others are refused."""
        scopes = {self.registry.host: [self.signed_by("alice")]} if docker is None else docker
        return write_policy(rktpy, {"default": REJECT, "transports": {"docker": scopes, **more}})

    def copy(self, source: Path, target: Path) -> None:
        """Copy a directory of signatures to where those of another image lie."""
        shutil.copytree(source, target, dirs_exist_ok=True)


def write_policy(rktpy: Rktpy, document: dict[str, Any]) -> Path:
    """Write the machine's policy.json; its path."""
    path = rktpy.config / "policy.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path
