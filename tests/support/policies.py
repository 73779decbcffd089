"""policy.json for tests of signatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import Rktpy


def write_policy(rktpy: Rktpy, scope: str, *requirements: dict[str, Any], transport: str = "docker") -> Path:
    """A policy of this machine that asks the requirements of images in a scope, and rejects all other OCI images."""
    rktpy.config.mkdir(parents=True, exist_ok=True)
    path = rktpy.config / "policy.json"
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {transport: {scope: list(requirements)}}}))
    return path


def signed_by(key: Path, **identity: str) -> dict[str, Any]:
    """A simple signature by the OpenPGP key in the file."""
    document: dict[str, Any] = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(key)}
    return {**document, "signedIdentity": identity} if identity else document


def sigstore_signed(key: Path) -> dict[str, Any]:
    """A cosign signature by the key, for the repository."""
    return {"type": "sigstoreSigned", "keyPath": str(key), "signedIdentity": {"type": "matchRepository"}}
