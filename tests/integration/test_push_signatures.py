"""Pushing signatures: referrers with and without the API, cosign's tags, and what others wrote there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import FetchError, FormatError
from rktpy.fetch.attach import attach
from rktpy.fetch.http import Client, HTTPOptions
from rktpy.fetch.mirrors import Endpoint
from rktpy.fetch.push import put_manifest
from rktpy.fetch.reference import DockerReference
from rktpy.fetch.registry import Registry as PulledFrom
from rktpy.fetch.registry_session import Session
from rktpy.fetch.signatures import find_evidence
from rktpy.fetch.upload import upload_bytes
from rktpy.formats.oci.artifacts import (
    BUNDLE_TYPE,
    COSIGN_PAYLOAD,
    COSIGN_SIGNATURE,
    DSSE_ENVELOPE,
    EMPTY_DIGEST,
    NOTATION_JWS,
    NOTATION_TYPE,
    cosign_tag,
    empty_descriptor,
    fallback_tag,
)
from rktpy.formats.oci.media_types import OCI_INDEX, OCI_MANIFEST
from rktpy.trust.evidence import BUNDLE, COSIGN, NOTATION, SIMPLE_SIGNING, Evidence
from tests.support.http_server import Answer, Request
from tests.support.referrers_registry import ReferrersRegistry
from tests.support.registry import Registry
from tests.support.scripted_registry import digest_of
from tests.support.sink import DirectorySink

BLOBS = {digest_of(data): data for data in (b"payload", b"{}", b"dsse", b"a bundle", b"another bundle", b"jws")}
THUMBPRINT = ("io.cncf.notary.x509chain.thumbprint#S256", '["00"]')


def evidence(family: str, role: str, data: bytes, media_type: str, *annotations: tuple[str, str]) -> Evidence:
    return Evidence(family, "made here", media_type, ((role, digest_of(data)),), annotations)


COSIGNED = evidence(COSIGN, "payload", b"payload", COSIGN_PAYLOAD, (COSIGN_SIGNATURE, "one"))
COSIGNED_TWICE = evidence(COSIGN, "payload", b"payload", COSIGN_PAYLOAD, (COSIGN_SIGNATURE, "two"))
ATTESTED = evidence(COSIGN, "payload", b"dsse", DSSE_ENVELOPE)
BUNDLED = evidence(BUNDLE, "bundle", b"a bundle", BUNDLE_TYPE, ("dev.sigstore.bundle.content", "dsse-envelope"))
BUNDLED_TWICE = evidence(BUNDLE, "bundle", b"another bundle", BUNDLE_TYPE)
NOTATED = evidence(NOTATION, "envelope", b"jws", NOTATION_JWS, THUMBPRINT)


@pytest.fixture(params=["docker-registry", "referrers"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A registry without the referrers API, or one that has it."""
    if request.param == "referrers":
        with ReferrersRegistry() as api:
            yield api.host
    else:
        with Registry(tmp_path / "registry") as running:
            yield running.host


@contextmanager
def pushing(host: str) -> Iterator[tuple[Session, dict[str, Any]]]:
    """A session, and an image that is there."""
    client = Client(HTTPOptions(allow_http=True), environ={})
    session = Session(client, Endpoint(host, host, "team/app"), lambda _host, _repository: None, actions="pull,push")
    upload_bytes(session, b"{}", EMPTY_DIGEST)
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty_descriptor(), "layers": []}).encode()
    put_manifest(session, "v1", data, OCI_MANIFEST)
    yield session, {"mediaType": OCI_MANIFEST, "digest": digest_of(data), "size": len(data)}
    session.close()


def found(session: Session, subject: dict[str, Any], sink: DirectorySink) -> list[Evidence]:
    """What is found there, without its source, by family."""
    host = session.endpoint.host
    reference = DockerReference(host, "team/app", "v1")
    with PulledFrom(Client(HTTPOptions(allow_http=True), environ={}), reference, (session.endpoint,), lambda _h, _r: None) as one:
        return [each.replace(source="made here") for each in find_evidence(one, subject["digest"], sink)]


def test_what_is_pushed_is_found(host: str, tmp_path: Path) -> None:
    all_of_them = [COSIGNED, COSIGNED_TWICE, ATTESTED, BUNDLED, NOTATED]
    sink = DirectorySink(tmp_path / "sink")
    with pushing(host) as (session, subject):
        places = attach(session, subject, all_of_them, BLOBS.__getitem__)
        assert found(session, subject, sink) == all_of_them
        assert len(places) == 4
        assert attach(session, subject, all_of_them, BLOBS.__getitem__) == [], "nothing is pushed twice"
        assert len(attach(session, subject, [BUNDLED_TWICE, BUNDLED], BLOBS.__getitem__)) == 1
        assert found(session, subject, sink) == [COSIGNED, COSIGNED_TWICE, ATTESTED, BUNDLED, NOTATED, BUNDLED_TWICE]
    assert sink.read_blob(NOTATED.blob("envelope")) == b"jws"


def test_what_was_found_twice_is_pushed_once(host: str, tmp_path: Path) -> None:
    twice = [COSIGNED, BUNDLED, NOTATED, COSIGNED.replace(source="there"), BUNDLED.replace(source="there"), NOTATED]
    with pushing(host) as (session, subject):
        assert len(attach(session, subject, twice, BLOBS.__getitem__)) == 3
        assert found(session, subject, DirectorySink(tmp_path / "sink")) == [COSIGNED, BUNDLED, NOTATED]
        layers = json.loads(session.manifest(cosign_tag(subject["digest"], "sig"))[0])["layers"]
    assert len(layers) == 1


def test_simple_signatures_have_no_place_in_a_registry(host: str) -> None:
    with pushing(host) as (session, subject):
        assert attach(session, subject, [Evidence(SIMPLE_SIGNING, "", "", ())], BLOBS.__getitem__) == []


def test_the_fallback_index_keeps_what_others_wrote(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry") as running, pushing(running.host) as (session, subject):
        foreign = {"mediaType": OCI_MANIFEST, "digest": subject["digest"], "size": subject["size"], "artifactType": "a/b",
                   "annotations": {"x": "y"}, "theirs": [1]}  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [foreign], "annotations": {"kept": "yes"}}
        tag = fallback_tag(subject["digest"])
        put_manifest(session, tag, json.dumps(index).encode(), OCI_INDEX)
        attach(session, subject, [BUNDLED, NOTATED], BLOBS.__getitem__)
        after = json.loads(session.manifest(tag)[0])
    assert after["manifests"][0] == foreign and after["annotations"] == {"kept": "yes"}
    kinds = [(entry["artifactType"], entry.get("annotations")) for entry in after["manifests"][1:]]
    assert kinds == [(BUNDLE_TYPE, dict(BUNDLED.annotations)), (NOTATION_TYPE, dict(NOTATED.annotations))]


def test_a_registry_that_lists_gets_no_index(tmp_path: Path) -> None:
    with ReferrersRegistry() as running, pushing(running.host) as (session, subject):
        attach(session, subject, [BUNDLED], BLOBS.__getitem__)
        assert ("team/app", fallback_tag(subject["digest"])) not in running.manifests


def test_cosigns_tag_keeps_what_others_wrote(host: str) -> None:
    with pushing(host) as (session, subject):
        upload_bytes(session, b"payload", digest_of(b"payload"))
        layer = {"mediaType": COSIGN_PAYLOAD, "digest": digest_of(b"payload"), "size": 7, "annotations": {COSIGN_SIGNATURE: "x"}}
        theirs = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty_descriptor(), "layers": [layer],
                  "annotations": {"kept": "yes"}}  # fmt: skip
        tag = cosign_tag(subject["digest"], "sig")
        put_manifest(session, tag, json.dumps(theirs).encode(), OCI_MANIFEST)
        attach(session, subject, [COSIGNED], BLOBS.__getitem__)
        after = json.loads(session.manifest(tag)[0])
        config = json.loads(session.client.document(session.place("blobs", after["config"]["digest"])[0], 10_000).data)
    assert after["layers"][0] == layer and after["annotations"] == {"kept": "yes"}
    assert [one["annotations"][COSIGN_SIGNATURE] for one in after["layers"]] == ["x", "one"]
    assert config["rootfs"]["diff_ids"] == [one["digest"] for one in after["layers"]]


@pytest.mark.parametrize("kind", ["cosign", "fallback"])
def test_a_tag_that_is_something_else_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    with ReferrersRegistry(referrers=False) as running, pushing(running.host) as (session, subject):
        if kind == "cosign":
            tag, one = cosign_tag(subject["digest"], "sig"), COSIGNED
            data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
            put_manifest(session, tag, data, OCI_INDEX)
        else:
            tag, one = fallback_tag(subject["digest"]), BUNDLED
            data = running.manifests["team/app", "v1"][0]
            put_manifest(session, tag, data, OCI_MANIFEST)
        with pytest.raises(FormatError, match=r"is an index|is no index"):
            attach(session, subject, [one], BLOBS.__getitem__)
        assert running.manifests["team/app", tag][0] == data


@pytest.mark.parametrize("kind", ["cosign", "fallback"])
def test_an_entry_that_another_writer_loses_is_written_again(kind: str) -> None:
    with ReferrersRegistry(referrers=False) as running, pushing(running.host) as (session, subject):
        tag = cosign_tag(subject["digest"], "sig") if kind == "cosign" else fallback_tag(subject["digest"])
        times = 2

        def overwrite(request: Request) -> Answer | None:
            nonlocal times
            if request.method == "PUT" and request.path.endswith(tag) and times:
                times -= 1
                return Answer(201)
            return None

        running.before.append(overwrite)
        one = COSIGNED if kind == "cosign" else BUNDLED
        assert len(attach(session, subject, [one], BLOBS.__getitem__)) == 1
        assert ("team/app", tag) in running.manifests
        times = 100
        del running.manifests["team/app", tag]
        other = COSIGNED_TWICE if kind == "cosign" else BUNDLED_TWICE
        with pytest.raises(FetchError, match="somebody else writes to this tag"):
            attach(session, subject, [other], BLOBS.__getitem__)
