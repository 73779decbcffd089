"""What transparency logs prove of bundles: promises, inclusion proofs, checkpoints, and forgeries of each."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.support.certificates import new_key
from tests.support.sigstore import (
    Rekor,
    b64,
    bundle,
    dsse_entry,
    envelope,
    hashedrekord,
    hashedrekord_2,
    intoto_entry,
    intoto_entry_1,
    pae,
    sign,
    spki,
    spki_pem,
    statement,
)
from tests.support.sigstore_policy import (
    DIGEST,
    KEY,
    PEM,
    bundle_by_keys,
    bundled,
    why,
)

LOG = Rekor()
LOG_PEM = spki_pem(LOG.key)
CONTENT = statement(DIGEST)
HINT = {"publicKey": {"hint": b64(hashlib.sha256(spki(KEY)).digest())}}


def in_log(*entries: dict[str, Any], content: bytes = CONTENT, signature: bytes = b"") -> Any:
    inner = envelope(content, signature)
    return bundled(bundle({**HINT, "tlogEntries": list(entries)}, dsseEnvelope=inner))


ENVELOPE_SIGNATURE = sign(KEY, pae(CONTENT))
BODY = dsse_entry(ENVELOPE_SIGNATURE, PEM, CONTENT)
BODY_2 = hashedrekord_2(ENVELOPE_SIGNATURE, pae(CONTENT), key=spki(KEY))


@pytest.mark.parametrize(
    ("entry", "satisfies"),
    [
        (LOG.entry(BODY), {"promise", "inclusion", "any"}),
        (LOG.entry(BODY, promise=False), {"inclusion", "any"}),
        (LOG.entry(BODY_2, promise=False), {"inclusion", "any"}),
        (LOG.entry(intoto_entry(ENVELOPE_SIGNATURE, PEM, CONTENT)), {"promise", "inclusion", "any"}),
    ],
)
def test_what_the_log_must_show(entry: dict[str, Any], satisfies: set[str]) -> None:
    found = in_log(entry, signature=ENVELOPE_SIGNATURE)
    for log in ("promise", "inclusion", "any"):
        reason = why(bundle_by_keys(PEM, log=log, logs=(LOG_PEM,)), found)
        assert (reason == "") == (log in satisfies), reason
        assert reason == "" or "by a trusted transparency log" in reason


def test_old_bundles_promise_and_newer_ones_prove() -> None:
    document = json.loads(in_log(LOG.entry(BODY, proof=False), signature=ENVELOPE_SIGNATURE)[1])
    assert "inclusionProof: is missing" in why(bundle_by_keys(PEM), bundled(document))
    document["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
    assert why(bundle_by_keys(PEM, log="promise", logs=(LOG_PEM,)), bundled(document)) == ""
    entry = LOG.entry(BODY, promise=False)
    document["verificationMaterial"]["tlogEntries"] = [entry]
    assert "inclusionPromise: is missing" in why(bundle_by_keys(PEM), bundled(document))


def changed(entry: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(entry))
    at = copy
    *way, last = place.split(".")
    for name in way:
        at = at[name]
    at[last] = value
    return copy


ENTRY = LOG.entry(BODY)
PROOF = ENTRY["inclusionProof"]
HASHES = PROOF["hashes"]
EVIL = new_key("P-256", 22)
BAD_ENTRIES = [
    (
        "a hash of the proof",
        changed(ENTRY, "inclusionProof.hashes", [b64(bytes(32)), *HASHES[1:]]),
        "does not lead to its root hash",
    ),
    ("a hash too few", changed(ENTRY, "inclusionProof.hashes", HASHES[1:]), "the wrong number of hashes"),
    ("a hash too many", changed(ENTRY, "inclusionProof.hashes", [*HASHES, HASHES[0]]), "the wrong number of hashes"),
    ("another place", changed(ENTRY, "inclusionProof.logIndex", "3"), "does not lead to its root hash"),
    ("index beyond the tree", changed(ENTRY, "inclusionProof.logIndex", "6"), "is not below treeSize"),
    ("another root", changed(ENTRY, "inclusionProof.rootHash", b64(bytes(32))), "does not lead to its root hash"),
    ("short hash", changed(ENTRY, "inclusionProof.rootHash", b64(bytes(31))), "rootHash: must be 32 bytes"),
    (
        "a checkpoint of another tree",
        changed(ENTRY, "inclusionProof.checkpoint.envelope", LOG.checkpoint(7, base64.b64decode(PROOF["rootHash"]))),
        "the checkpoint is of another tree",
    ),
    ("a checkpoint by another key", LOG.entry(BODY, checkpoint_key=EVIL), "the checkpoint is not signed by the log"),
    (
        "a checkpoint that is none",
        changed(ENTRY, "inclusionProof.checkpoint.envelope", "x\n"),
        "checkpoint: is not a signed note",
    ),
    ("a promise for another time", changed(ENTRY, "integratedTime", "1748736001"), "the log did not sign the promise"),
    ("a promise for another place", changed(ENTRY, "logIndex", "1"), "the log did not sign the promise"),
    ("a promise over unordered JSON", LOG.entry(BODY, ordered=False), "the log did not sign the promise"),
    ("a number for a string", changed(ENTRY, "logIndex", 102), "logIndex: must be a string of decimal digits"),
    ("a leading zero", changed(ENTRY, "logIndex", "0102"), "logIndex: must be a string of decimal digits"),
    ("too large a number", changed(ENTRY, "logIndex", "9223372036854775808"), "logIndex: is larger than 2^63-1"),
    (
        "another kind than the body's",
        changed(ENTRY, "kindVersion.version", "0.0.2"),
        "is said to be dsse 0.0.2 but its body is dsse",
    ),
    ("another artifact", LOG.entry(dsse_entry(ENVELOPE_SIGNATURE, PEM, b"x")), "is of another artifact"),
    ("another signature", LOG.entry(dsse_entry(b"x", PEM, CONTENT)), "is of another signature"),
    ("another key", LOG.entry(dsse_entry(ENVELOPE_SIGNATURE, spki_pem(EVIL), CONTENT)), "is of another key"),
    (
        "the artifact of an envelope",
        LOG.entry(hashedrekord(ENVELOPE_SIGNATURE, PEM, pae(CONTENT))),
        "is of an artifact, not of an",
    ),
    (
        "another artifact of Rekor 2",
        LOG.entry(hashedrekord_2(ENVELOPE_SIGNATURE, CONTENT, key=spki(KEY))),
        "is of another artifact",
    ),
    ("a promise of Rekor 2", LOG.entry(BODY_2), "has a promise, which logs of the second generation do not give"),
    ("the bytes of an envelope", LOG.entry(intoto_entry_1(PEM, b"x")), "which only cosign's tags keep"),
    ("an unknown kind", LOG.entry({**BODY, "kind": "rpm"}), "'rpm 0.0.1' is not a supported kind of entry"),
    ("an unknown member of the body", LOG.entry({**BODY, "more": 1}), "body: more: is not known here"),
    (
        "two signatures",
        LOG.entry({**BODY, "spec": {**BODY["spec"], "signatures": BODY["spec"]["signatures"] * 2}}),
        "exactly one",
    ),
]


@pytest.mark.parametrize(("entry", "reason"), [case[1:] for case in BAD_ENTRIES], ids=[case[0] for case in BAD_ENTRIES])
def test_attacks_on_log_entries(entry: dict[str, Any], reason: str) -> None:
    """What a trusted log is said to have signed must be right even where the other kind of proof would do."""
    found = in_log(entry, signature=ENVELOPE_SIGNATURE)
    for log in ("promise", "inclusion", "any"):
        assert reason in why(bundle_by_keys(PEM, log=log, logs=(LOG_PEM,)), found)


def test_the_first_entry_of_a_log() -> None:
    """Protocol buffers leave zeros out."""
    log = Rekor(others=0)
    entry = log.entry(BODY, promise=False)
    assert entry["inclusionProof"]["logIndex"] == "0"
    del entry["inclusionProof"]["logIndex"], entry["logIndex"]
    assert why(bundle_by_keys(PEM, log="inclusion", logs=(LOG_PEM,)), in_log(entry, signature=ENVELOPE_SIGNATURE)) == ""


def test_the_same_entry_twice() -> None:
    assert "holds the same entry twice" in why(bundle_by_keys(PEM), in_log(ENTRY, ENTRY, signature=ENVELOPE_SIGNATURE))


def test_logs_with_an_ed25519_key_name_themselves_as_rekor_2_does() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    log = Rekor(key=Ed25519PrivateKey.generate(), origin="log2.example.com", name="log2.example.com")
    found = in_log(log.entry(BODY_2, promise=False), signature=ENVELOPE_SIGNATURE)
    assert why(bundle_by_keys(PEM, log="inclusion", logs=(spki_pem(log.key),)), found) == ""
    other = Rekor(key=log.key, origin="log2.example.com", name="elsewhere.example.com")
    entry = other.entry(BODY_2, promise=False)
    entry["logId"] = {"keyId": b64(log.log_id)}
    assert "not signed by the log" in why(
        bundle_by_keys(PEM, log="inclusion", logs=(spki_pem(log.key),)), in_log(entry, signature=ENVELOPE_SIGNATURE)
    )


@pytest.mark.parametrize("size", range(1, 34))
def test_trees_of_each_size(size: int) -> None:
    from rktpy.formats.trust.merkle import leaf_hash, root_from_proof
    from tests.support.sigstore import tree_path, tree_root

    leaves = [bytes([number]) for number in range(size)]
    for index in range(size):
        proof = tuple(tree_path(index, leaves))
        assert root_from_proof(leaf_hash(leaves[index]), index, size, proof) == tree_root(leaves)
        assert root_from_proof(leaf_hash(leaves[index]), index, size, (*proof, bytes(32))) is None
        if proof:
            assert root_from_proof(leaf_hash(leaves[index]), index, size, proof[:-1]) is None
        for other in range(size):
            if other != index:
                assert root_from_proof(leaf_hash(leaves[index]), other, size, proof) != tree_root(leaves)
