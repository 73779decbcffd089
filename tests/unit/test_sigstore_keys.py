"""Signatures by keys of cosign's old scheme: good ones made by openssl, and attacks with their reasons."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rktpy.errors import ConfigError
from rktpy.formats.trust.requirements import Identity, KeySource, SigstoreBundle, SigstoreSigned
from rktpy.trust.decision import Image
from tests.conftest import need_tool
from tests.support.certificates import new_key
from tests.support.sigstore import (
    Rekor,
    b64,
    bundle,
    dsse_entry,
    envelope,
    hashedrekord,
    intoto_entry,
    intoto_entry_1,
    pae,
    payload,
    sign,
    spki_pem,
    statement,
)
from tests.support.sigstore_policy import (
    DIGEST,
    DSSE,
    IMAGE,
    KEY,
    OTHER,
    PEM,
    SLSA,
    STRANGER,
    ask,
    bundle_by_keys,
    bundled,
    by_keys,
    cosign,
    raw_signature,
    why,
)

SIGNATURE = "dev.cosignproject.cosign/signature"
REKOR = "dev.sigstore.cosign/bundle"


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run([need_tool("openssl"), *arguments], input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


ALGORITHMS: dict[str, list[str]] = {
    "p256": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "p521": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "rsa2048": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ed25519": ["genpkey", "-algorithm", "ed25519"],
}


def openssl_signed(tmp_path: Path, algorithm: str, data: bytes, digest: str) -> tuple[bytes, bytes]:
    """A new key's public PEM, and its signature over ``data``, by openssl alone."""
    private = tmp_path / "private.pem"
    private.write_bytes(openssl(*ALGORITHMS[algorithm]))
    public = openssl("pkey", "-in", str(private), "-pubout")
    (tmp_path / "data").write_bytes(data)
    if algorithm == "ed25519":
        signature = openssl("pkeyutl", "-sign", "-inkey", str(private), "-rawin", "-in", str(tmp_path / "data"))
    else:
        signature = openssl("dgst", f"-{digest}", "-sign", str(private), str(tmp_path / "data"))
    return public, signature


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("p256", "sha256"),
        ("p384", "sha384"),
        ("p384", "sha256"),
        ("p521", "sha512"),
        ("p521", "sha256"),
        ("rsa2048", "sha256"),
        ("ed25519", ""),
    ],
)
def test_each_kind_of_key(tmp_path: Path, algorithm: str, digest: str) -> None:
    data = payload(DIGEST)
    public, signature = openssl_signed(tmp_path, algorithm, data, digest)
    assert why(by_keys(public), cosign(data, {SIGNATURE: b64(signature)})) == ""
    content = statement(DIGEST)
    public, signature = openssl_signed(tmp_path, algorithm, pae(content), digest)
    assert (
        why(bundle_by_keys(public), bundled(bundle({"publicKey": {"hint": ""}}, dsseEnvelope=envelope(content, signature)))) == ""
    )


@pytest.mark.parametrize(
    ("algorithm", "digest", "reason"),
    [
        ("p256", "sha512", "does not fit what it should sign"),
        ("rsa2048", "sha512", "does not fit what it should sign"),
        ("rsa2048", "sha1", "does not fit what it should sign"),
    ],
)
def test_hashes_that_do_not_belong_to_the_key(tmp_path: Path, algorithm: str, digest: str, reason: str) -> None:
    data = payload(DIGEST)
    public, signature = openssl_signed(tmp_path, algorithm, data, digest)
    assert reason in why(by_keys(public), cosign(data, {SIGNATURE: b64(signature)}))


def test_rsa_with_pss_is_refused(tmp_path: Path) -> None:
    private = tmp_path / "private.pem"
    private.write_bytes(openssl(*ALGORITHMS["rsa2048"]))
    public = openssl("pkey", "-in", str(private), "-pubout")
    data = payload(DIGEST)
    signature = openssl("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sign", str(private), stdin=data)
    assert "does not fit" in why(by_keys(public), cosign(data, {SIGNATURE: b64(signature)}))


def old(data: bytes | None = None, key: Any = KEY, **annotations: str) -> Any:
    data = payload(DIGEST) if data is None else data
    return cosign(data, {SIGNATURE: b64(sign(key, data)), **annotations})


GOOD = payload(DIGEST)
BAD_OLD = [
    ("wrong key", old(key=STRANGER), "does not fit what it should sign (checked with the key sha256:"),
    ("tampered payload", cosign(GOOD + b" ", {SIGNATURE: b64(sign(KEY, GOOD))}), "does not fit what it should sign"),
    ("another digest", old(payload(OTHER)), f"it is about {OTHER}, not about the image's manifest {DIGEST}"),
    (
        "another repository",
        old(payload(DIGEST, "registry.example/evil")),
        "the signature is for the repository registry.example/evil, not for registry.example/app",
    ),
    ("no repository", old(payload(DIGEST, "")), "the signature names ''"),
    ("raw ECDSA", cosign(GOOD, {SIGNATURE: b64(raw_signature(GOOD))}), "r and s side by side, where ASN.1 DER is due"),
    ("garbage", cosign(GOOD, {SIGNATURE: b64(b"garbage")}), "the ECDSA signature is not ASN.1 DER"),
    ("no signature", cosign(GOOD, {}), "the annotation dev.cosignproject.cosign/signature is missing"),
    ("not base64", cosign(GOOD, {SIGNATURE: "?"}), "cosign signature: signature: is not base64"),
    ("base64 with line ends", cosign(GOOD, {SIGNATURE: b64(sign(KEY, GOOD)) + "\n"}), "is not base64"),
    ("huge signature", cosign(GOOD, {SIGNATURE: "A" * 20000}), "is larger than 8192 bytes"),
    ("huge payload", old(b" " * (1 << 20) + GOOD), "the signed payload is larger than 1048576 bytes"),
    (
        "duplicate members",
        old(GOOD[:-1] + b', "optional": null}'),
        "cosign payload: duplicate member 'optional'",
    ),
    (
        "unknown member",
        old(payload(DIGEST, extra=1)),
        "cosign payload: extra: is not known here",
    ),
    (
        "unknown critical member",
        old(json.dumps({"critical": {**json.loads(GOOD)["critical"], "more": 1}, "optional": {}}).encode()),
        "cosign payload: critical.more: is not known here",
    ),
    (
        "another type",
        old(GOOD.replace(b"cosign container image signature", b"atomic container signature")),
        "critical.type: 'atomic container signature' is not supported",
    ),
    ("optional is a list", old(payload(DIGEST, optional=[])), "optional: must be an object or null"),
    ("not JSON", old(b"{"), "cosign payload: not JSON"),
]


@pytest.mark.parametrize(("found", "reason"), [case[1:] for case in BAD_OLD], ids=[case[0] for case in BAD_OLD])
def test_attacks_on_the_old_scheme(found: Any, reason: str) -> None:
    assert reason in why(by_keys(PEM), found)


def test_one_of_several_keys() -> None:
    other = spki_pem(STRANGER)
    assert why(by_keys(other, PEM), old()) == ""
    third = new_key("P-256", 42)
    assert "it is by none of the 2 keys of the policy" in why(by_keys(other, PEM), old(key=third))


def test_what_cosign_writes_besides() -> None:
    assert why(by_keys(PEM), old(payload(DIGEST, optional={"creator": "me", "timestamp": 1}))) == ""


def test_identities() -> None:
    strict = by_keys(PEM, identity=Identity())
    assert "without a tag or digest" in why(strict, old())
    assert why(strict, old(payload(DIGEST, "registry.example/app:1"))) == ""
    fixed = by_keys(PEM, identity=Identity("exactRepository", "registry.example/evil"))
    assert why(fixed, old(payload(DIGEST, "registry.example/evil"))) == ""


def test_a_signature_of_the_index_is_none_of_the_platforms_image() -> None:
    image = IMAGE.replace(index_digest=OTHER)
    assert f"it is about the index {OTHER}, which does not vouch for" in why(by_keys(PEM), old(payload(OTHER)), image)
    content = statement(OTHER)
    found = bundled(bundle({"publicKey": {}}, dsseEnvelope=envelope(content, sign(KEY, pae(content)))))
    assert "it is about the index" in why(bundle_by_keys(PEM), found, image)


def test_an_image_without_a_known_digest_is_refused() -> None:
    image = Image("sha256-1", "oci", IMAGE.name)
    assert "digest of the image's manifest is not known" in why(by_keys(PEM), old(), image)


BAD_KEYS = [
    (b"", "is not PEM"),
    (PEM + PEM, "must hold one PEM block, not 2"),
    (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key that can be read"),
    (spki_pem(new_key("P-224", 1)), "is not a supported key"),
    (spki_pem(new_key("K-256", 1)), "is not a supported key"),
    (spki_pem(new_key("RSA-1024", 1)), "is not a supported key"),
    (PEM.replace(b"PUBLIC", b"PRIVATE"), "is a PEM block 'PRIVATE KEY', PUBLIC KEY or RSA PUBLIC KEY is wanted"),
]


@pytest.mark.parametrize(("pem", "reason"), BAD_KEYS)
def test_broken_keys_of_a_policy_are_its_fault(pem: bytes, reason: str) -> None:
    for requirement in (by_keys(pem), by_keys(PEM, logs=(pem,))):
        with pytest.raises(ConfigError) as error:
            why(requirement, old())
        assert reason in str(error.value)
        assert "key in the policy" in str(error.value)


# Transparency log of the old scheme

LOG = Rekor()
LOG_PEM = spki_pem(LOG.key)


def logged(body: dict[str, Any], signature: bytes, log: Rekor = LOG, **changes: Any) -> Any:
    return cosign(GOOD, {SIGNATURE: b64(signature), REKOR: log.annotation(body, **changes)})


def test_a_promise_of_the_log() -> None:
    signature = sign(KEY, GOOD)
    good = logged(hashedrekord(signature, PEM, GOOD), signature)
    requirement = by_keys(PEM, logs=(LOG_PEM,))
    assert why(requirement, good) == ""
    assert "trusted logs give 1 promise" in ask(requirement, good).steps[-1].reason
    assert "there is no promise by a trusted transparency log" in why(requirement, old())
    # Without log keys nobody looks at it.
    assert why(by_keys(PEM), old(**{REKOR: "{}"})) == ""


def test_attacks_on_the_promise() -> None:
    signature = sign(KEY, GOOD)
    again = sign(KEY, GOOD)
    assert signature != again
    body = hashedrekord(signature, PEM, GOOD)
    stranger = Rekor(key=new_key("P-256", 21))
    document = json.loads(LOG.annotation(body))
    cases = [
        (logged(body, signature, ordered=False), "the log did not sign the promise"),
        (
            logged(body, signature, stranger),
            "no promise by a trusted transparency log (only entries of 1 log not trusted)",
        ),
        (logged(hashedrekord(again, PEM, GOOD), signature), "is of another signature"),
        (logged(hashedrekord(signature, spki_pem(STRANGER), GOOD), signature), "is of another key"),
        (logged(hashedrekord(signature, PEM, b"other"), signature), "is of another artifact"),
        (logged(dsse_entry(signature, PEM, GOOD), signature), "is of an envelope, not of this signature's artifact"),
    ]
    for change, reason in (
        ({"integratedTime": 1}, "the log did not sign the promise"),
        ({"logIndex": 8}, "the log did not sign the promise"),
        ({"integratedTime": "1"}, "Payload.integratedTime: must be an integer"),
        ({"integratedTime": -1}, "Payload.integratedTime: must be an integer"),
        ({"integratedTime": 1 << 60}, "has no canonical form"),
        ({"more": 1}, "Payload.more: is not known here"),
    ):
        text = json.dumps({**document, "Payload": {**document["Payload"], **change}})
        cases.append((cosign(GOOD, {SIGNATURE: b64(signature), REKOR: text}), reason))
    for found, reason in cases:
        assert reason in why(by_keys(PEM, logs=(LOG_PEM,)), found)


def test_members_of_the_annotation_may_stand_in_any_order() -> None:
    signature = sign(KEY, GOOD)
    document = json.loads(LOG.annotation(hashedrekord(signature, PEM, GOOD)))
    payload_members = dict(reversed(document["Payload"].items()))
    text = json.dumps({"Payload": payload_members, "SignedEntryTimestamp": document["SignedEntryTimestamp"]}, indent=1)
    assert why(by_keys(PEM, logs=(LOG_PEM,)), cosign(GOOD, {SIGNATURE: b64(signature), REKOR: text})) == ""


# Attestations of the old scheme


def attested(digest: str = DIGEST, kind: str = SLSA, key: Any = KEY, **changes: Any) -> Any:
    content = statement(digest, kind)
    return cosign(json.dumps(envelope(content, sign(key, pae(content)), **changes)).encode(), {}, DSSE)


def test_attestations_of_the_old_scheme() -> None:
    wanted = bundle_by_keys(PEM, predicate=SLSA)
    assert why(wanted, attested()) == ""
    assert "it attests https://spdx.dev/Document, not https://slsa.dev/provenance/v1" in why(
        wanted, attested(kind="https://spdx.dev/Document")
    )
    assert f"it is about {OTHER}" in why(wanted, attested(OTHER))
    assert "does not fit" in why(wanted, attested(key=STRANGER))
    assert "exactly one signature, not 0" in why(wanted, attested(signatures=[]))


def test_an_attestation_in_the_log() -> None:
    content = statement(DIGEST, SLSA)
    signature = sign(KEY, pae(content))
    for body in (dsse_entry(signature, PEM, content), intoto_entry(signature, PEM, content)):
        found = cosign(json.dumps(envelope(content, signature)).encode(), {REKOR: LOG.annotation(body)}, DSSE)
        assert why(bundle_by_keys(PEM, predicate=SLSA, log="promise", logs=(LOG_PEM,)), found) == ""
    data = json.dumps(envelope(content, signature)).encode()
    wanted = bundle_by_keys(PEM, predicate=SLSA, log="promise", logs=(LOG_PEM,))
    assert why(wanted, cosign(data, {REKOR: LOG.annotation(intoto_entry_1(PEM, data))}, DSSE)) == ""
    # The same envelope with a space more is not what was logged.
    spaced = {REKOR: LOG.annotation(intoto_entry_1(PEM, data + b" "))}
    assert "is of another artifact" in why(wanted, cosign(data, spaced, DSSE))
    assert "is of another key" in why(
        wanted, cosign(data, {REKOR: LOG.annotation(intoto_entry_1(spki_pem(STRANGER), data))}, DSSE)
    )
    wrong = cosign(
        json.dumps(envelope(content, signature)).encode(), {REKOR: LOG.annotation(dsse_entry(signature, PEM, b"x"))}, DSSE
    )
    assert "is of another artifact" in why(bundle_by_keys(PEM, predicate=SLSA, log="promise", logs=(LOG_PEM,)), wrong)


def test_signatures_are_no_attestations() -> None:
    from rktpy.trust import bundle as family
    from rktpy.trust import cosign as old_family

    signature, attestation = old()[0], attested()[0]
    assert family.concerns(bundle_by_keys(PEM), signature)
    assert not family.concerns(bundle_by_keys(PEM), attestation)
    assert family.concerns(bundle_by_keys(PEM, predicate=SLSA), attestation)
    assert not family.concerns(bundle_by_keys(PEM, predicate=SLSA), signature)
    assert old_family.concerns(by_keys(PEM), signature)
    assert not old_family.concerns(by_keys(PEM), attestation)
    assert not old_family.concerns(by_keys(PEM), bundled({})[0])
    assert not family.concerns(by_keys(PEM), bundled({})[0])
    assert why(bundle_by_keys(PEM), old()) == ""


def test_facts_are_told_apart_by_what_the_files_are_for() -> None:
    """The memo knows the files' digests only, so what each is for must be told beside them."""
    from rktpy.trust.sigstore_checks import aspects, material

    a, b = KeySource(data=b"a"), KeySource(data=b"b")
    requirements = [
        SigstoreSigned("x", (a, b)),
        SigstoreSigned("x", (a,), rekor_keys=(b,)),
        SigstoreBundle("x", (a, b)),
        SigstoreBundle("x", (a,), log_keys=(b,)),
    ]
    told = [(aspects(one), tuple(source.data for source in material(one))) for one in requirements]
    assert len(set(told)) == len(told)


def test_judging_needs_no_cryptography() -> None:
    code = (
        "import sys; from rktpy.trust import cosign, bundle, keyless; from rktpy.formats.trust.requirements import TextMatch;"
        "assert keyless.matches(TextMatch('prefix', 'a'), 'ab');"
        "bad = {'cryptography', 'json', 're', 'hashlib', 'enum', 'typing'} & set(sys.modules); assert not bad, bad"
    )
    import sys

    from tests.conftest import ROOT

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
