"""Ask the verifiers of sigstore signatures about evidence that a test made, as a start asks them."""

from __future__ import annotations

import json
from typing import Any

from rktpy.formats import jsondoc
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.trust.evidence import BUNDLE, COSIGN, Evidence
from rktpy.formats.trust.requirements import (
    Identity,
    Keyless,
    KeySource,
    Requirement,
    SigstoreBundle,
    SigstoreSigned,
    TextMatch,
)
from rktpy.trust.decision import Image, Step
from rktpy.trust.families import family_of
from tests.support.certificates import new_key
from tests.support.sigstore import EMAIL, ISSUER, SIGNED, sign, spki_pem

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = sha256_digest(MANIFEST)
NAME = "docker://registry.example/app:1"
IMAGE = Image("sha256-1", "oci", NAME, DIGEST, "application/vnd.oci.image.manifest.v1+json", len(MANIFEST))
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
OTHER = "sha256:" + "1" * 64
KEY = new_key("P-256", 40)
PEM = spki_pem(KEY)
STRANGER = new_key("P-256", 41)
SLSA = "https://slsa.dev/provenance/v1"
ANY_REPOSITORY = Identity("matchRepository")


def cosign(payload: bytes, annotations: dict[str, str], media_type: str = SIMPLE) -> tuple[Evidence, bytes]:
    """A layer of cosign's tags."""
    pairs = tuple(annotations.items())
    return Evidence(COSIGN, "test", media_type, (("payload", sha256_digest(payload)),), pairs), payload


def bundled(document: dict[str, Any] | bytes) -> tuple[Evidence, bytes]:
    """A bundle."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Evidence(BUNDLE, "test", "application/vnd.dev.sigstore.bundle.v0.3+json", (("bundle", sha256_digest(data)),)), data


def fact_of(requirement: Requirement, found: tuple[Evidence, bytes]) -> dict[str, Any]:
    """What is found out about the evidence; keys stand in the requirement itself."""
    evidence, data = found
    family = family_of(requirement)
    assert family is not None and family.judge.concerns(requirement, evidence)

    def blob(digest: str) -> bytes:
        assert digest == sha256_digest(data)
        return data

    read: list[KeySource] = []

    def file(source: KeySource) -> bytes:
        read.append(source)
        return source.data

    fact = family.examiner.examine(requirement, evidence, blob, file)
    # What examine() reads must be what the memo is told of, or a changed file would go unnoticed.
    assert set(read) <= set(family.judge.material(requirement))
    again: dict[str, Any] = jsondoc.parse_object(jsondoc.dump(fact), "fact")
    assert again == fact
    return again


def ask(requirement: Requirement, found: tuple[Evidence, bytes], image: Image = IMAGE, now: int = SIGNED + 9_000_000) -> Step:
    """Examine and judge one piece of evidence."""
    family = family_of(requirement)
    assert family is not None
    return family.judge.judge(requirement, image, fact_of(requirement, found), now)


def why(requirement: Requirement, found: tuple[Evidence, bytes], image: Image = IMAGE, now: int = SIGNED + 9_000_000) -> str:
    """The reason of a refusal; empty for acceptance."""
    step = ask(requirement, found, image, now)
    assert step.outcome in ("accepts", "rejects")
    assert step.reason and step.reason.isprintable()
    return "" if step.outcome == "accepts" else step.reason


def by_keys(*pems: bytes, logs: tuple[bytes, ...] = (), identity: Identity = ANY_REPOSITORY) -> SigstoreSigned:
    """``sigstoreSigned`` with keys."""
    return SigstoreSigned("test", sources(*pems), rekor_keys=sources(*logs), identity=identity)


def bundle_by_keys(*pems: bytes, log: str = "none", logs: tuple[bytes, ...] = (), predicate: str = "") -> SigstoreBundle:
    """``rktpy:sigstoreBundle`` with keys."""
    return SigstoreBundle("test", sources(*pems), None, predicate, log, sources(*logs))


def keyless(
    root: dict[str, Any],
    *,
    issuer: TextMatch = TextMatch("exact", ISSUER),  # noqa: B008  (a value that nobody can change)
    kind: str = "email",
    subject: TextMatch = TextMatch("exact", EMAIL),  # noqa: B008
    claims: tuple[tuple[str, TextMatch], ...] = (),
    log: str = "none",
    predicate: str = "",
) -> SigstoreBundle:
    """``rktpy:sigstoreBundle`` with a trusted root."""
    source = KeySource(data=json.dumps(root).encode())
    return SigstoreBundle("test", (), Keyless(source, issuer, kind, subject, claims), predicate, log)


def sources(*pems: bytes) -> tuple[KeySource, ...]:
    return tuple(KeySource(data=pem) for pem in pems)


def raw_signature(data: bytes) -> bytes:
    """An ECDSA signature by :data:`KEY` in the form of JWS, which is not that of sigstore."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(sign(KEY, data))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
