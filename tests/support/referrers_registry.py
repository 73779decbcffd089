"""A registry in memory that has the referrers API, which no registry of Debian has: the part of the API that pushing needs.

It stands in for that API alone; docker-registry (tests/support/registry.py) is the real one.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote

from rktpy.formats.oci.media_types import OCI_INDEX
from tests.support.http_server import Answer, Handler, Request, Server
from tests.support.scripted_registry import digest_of


class ReferrersRegistry(Server):
    """Takes and gives everything. ``page`` is how many referrers it lists at once.

    ``before`` may answer a request in its place, by a function that gives None where it does not want to. With ``referrers``
    false it has no such API.
    """

    def __init__(self, *, page: int = 2, referrers: bool = True) -> None:
        super().__init__(self._answer)
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.before: list[Any] = []
        self._page = page
        self._referrers = referrers

    def _answer(self, request: Request) -> Answer:
        for hook in self.before:
            answer: Answer | None = hook(request)
            if answer is not None:
                return answer
        match = re.fullmatch(r"/v2/(.+)/(blobs/uploads|blobs|manifests|referrers)/([^/]*)", request.path)
        if match is None:
            return Answer(200 if request.path == "/v2/" else 404)
        repository, kind, name = match[1], match[2], unquote(match[3])
        handlers: dict[str, Any] = {
            "blobs/uploads": self._upload, "blobs": self._blob, "manifests": self._manifest, "referrers": self._list,
        }  # fmt: skip
        result: Answer = handlers[kind](request, repository, name)
        return result

    def _blob(self, request: Request, repository: str, digest: str) -> Answer:
        data = self.blobs.get((repository, digest))
        return Answer(404) if data is None else Answer(200, data, {"Docker-Content-Digest": digest})

    def _upload(self, request: Request, repository: str, name: str) -> Answer:
        query = {key: values[0] for key, values in parse_qs(request.query).items()}
        if request.method == "POST":
            if "mount" in query and (query["from"], query["mount"]) in self.blobs:
                self.blobs[repository, query["mount"]] = self.blobs[query["from"], query["mount"]]
                return Answer(201)
            name = str(len(self.uploads))
            self.uploads[name] = bytearray()
            return Answer(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/{name}?_state=begun"})
        if name not in self.uploads:
            return Answer(404)
        state = self.uploads[name]
        fields = {"Location": f"{self.url}/v2/{repository}/blobs/uploads/{name}", "Range": f"0-{max(len(state) - 1, 0)}"}
        if request.method == "GET":
            return Answer(204, b"", fields)
        if request.method == "PATCH":
            first = int(request.headers["content-range"].partition("-")[0])
            if first != len(state):
                return Answer(416, b"", fields)
            state += request.body
            return Answer(202, b"", {**fields, "Range": f"0-{len(state) - 1}"})
        state += request.body
        if digest_of(bytes(state)) != query["digest"]:
            return Answer(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}', {"Content-Type": "application/json"})
        self.blobs[repository, query["digest"]] = bytes(self.uploads.pop(name))
        return Answer(201, b"", {"Docker-Content-Digest": query["digest"]})

    def _manifest(self, request: Request, repository: str, name: str) -> Answer:
        if request.method == "PUT":
            digest = digest_of(request.body)
            for reference in (name, digest):
                self.manifests[repository, reference] = (request.body, request.headers["content-type"])
            subject = json.loads(request.body).get("subject") if self._referrers else None
            return Answer(201, b"", {"OCI-Subject": subject["digest"]} if subject else {})
        found = self.manifests.get((repository, name))
        return Answer(404) if found is None else Answer(200, found[0], {"Content-Type": found[1]})

    def _list(self, request: Request, repository: str, digest: str) -> Answer:
        if not self._referrers:
            return Answer(404, b"404 page not found\n")
        query = {key: values[0] for key, values in parse_qs(request.query).items()}
        entries: list[dict[str, Any]] = []
        for (where, reference), (data, media_type) in self.manifests.items():
            document = json.loads(data)
            if where == repository and ":" in reference and (document.get("subject") or {}).get("digest") == digest:
                kind = document.get("artifactType") or document["config"]["mediaType"]
                if query.get("artifactType", kind) == kind:
                    entry = {"mediaType": media_type, "digest": reference, "size": len(data), "artifactType": kind}
                    entries.append({**entry, "annotations": document.get("annotations", {})})
        start = int(query.get("start", "0"))
        fields = {"Content-Type": OCI_INDEX}
        if "artifactType" in query:
            fields["OCI-Filters-Applied"] = "artifactType"
        if start + self._page < len(entries):
            fields["Link"] = f'</v2/{repository}/referrers/{digest}?start={start + self._page}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries[start : start + self._page]}
        return Answer(200, json.dumps(index).encode(), fields)

    def once(self, method: str, part: str, answer: Answer | Handler) -> None:
        """Answer the next request with this method and ``part`` in its target so."""
        left = [answer]

        def hook(request: Request) -> Answer | None:
            if request.method != method or part not in request.target or not left:
                return None
            chosen = left.pop()
            return chosen if isinstance(chosen, Answer) else chosen(request)

        self.before.append(hook)
