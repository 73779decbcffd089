"""Signatures put into a registry that has no referrers API, as the distribution specification wants it done."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from tests.support.registry import Registry

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.notary.signature"


def manifest(registry: Registry, name: str, reference: str) -> tuple[bytes, str]:
    """The bytes and media type of a manifest."""
    status, data, headers = _request(registry, "GET", f"/v2/{name}/manifests/{reference}", accept=f"{_MANIFEST}, {_INDEX}")
    assert status == 200, data
    return data, headers["content-type"]


def put_blob(registry: Registry, name: str, data: bytes) -> dict[str, Any]:
    """Upload a blob; its digest and size."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    status, body, headers = _request(registry, "POST", f"/v2/{name}/blobs/uploads/")
    assert status == 202, body
    location = urlsplit(headers["location"])
    query = f"{location.query}&digest={digest}"
    status, body, _ = _request(registry, "PUT", f"{location.path}?{query}", data, "application/octet-stream")
    assert status == 201, body
    return {"digest": digest, "size": len(data)}


def put_signature(
    registry: Registry,
    name: str,
    subject: dict[str, Any],
    envelope: bytes,
    media_type: str = "application/jose+json",
    artifact_type: str = ARTIFACT_TYPE,
) -> str:
    """Attach an envelope to ``subject`` (mediaType, digest, size) and list it under the fallback tag; the manifest's digest."""
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": artifact_type, **put_blob(registry, name, b"{}")},
        "layers": [{"mediaType": media_type, **put_blob(registry, name, envelope)}],
        "subject": subject,
    }
    digest = registry.put_manifest(name, "tmp", document, _MANIFEST)
    tag = subject["digest"].replace(":", "-")
    status, data, _ = _request(registry, "GET", f"/v2/{name}/manifests/{tag}", accept=_INDEX)
    entries = json.loads(data)["manifests"] if status == 200 else []
    entry = {"mediaType": _MANIFEST, "digest": digest, "size": len(json.dumps(document)), "artifactType": artifact_type}
    registry.put_manifest(name, tag, {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [*entries, entry]}, _INDEX)
    return digest


def _request(
    registry: Registry, method: str, target: str, body: bytes | None = None, kind: str = "", accept: str = "*/*"
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(registry.host, timeout=20)
    headers = {"Accept": accept, **({"Content-Type": kind} if kind else {}), "Content-Length": str(len(body or b""))}
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data, {name.lower(): value for name, value in answer.getheaders()}
