"""Proofs of transparency logs: promises, inclusion proofs, checkpoints, and that an entry is of this very signature.

The steps of sigstore/architecture-docs ``client-spec.md`` 4.4, ``rekor-spec.md`` and ``rekor-v2-spec.md`` 6.1.4. An entry of a
log that is not trusted proves nothing and is passed over; what a trusted log is said to have signed must be right in every part,
whether the policy asks for it or not: a bundle with one forged proof has no claim to be believed for the rest.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.trust import base64_strict
from rktpy.formats.trust.canonical_json import canonical
from rktpy.formats.trust.checkpoint import Checkpoint, NoteSignature, parse_checkpoint
from rktpy.formats.trust.members import shown
from rktpy.formats.trust.merkle import leaf_hash, root_from_proof
from rktpy.formats.trust.rekor_entry import ENVELOPE, ENVELOPE_PAYLOAD, RekorBody, parse_body
from rktpy.formats.trust.requirements import KeySource
from rktpy.formats.trust.sigstore_bundle import InclusionProof, LogEntry
from rktpy.formats.trust.trusted_root import LogInstance, Period
from rktpy.record import Record
from rktpy.trust.public_keys import PublicKey, from_der, from_pem

_ED25519 = b"\x01"
_RSA = b"\xffPKIX-RSA-PKCS#1v1.5"
#: The kinds of key of a trusted root that are understood, and what :class:`PublicKey` calls them.
_DETAILS = {
    "PKIX_ECDSA_P256_SHA_256": "ecdsa-p256",
    "PKIX_ECDSA_P384_SHA_384": "ecdsa-p384",
    "PKIX_ECDSA_P521_SHA_512": "ecdsa-p521",
    "PKIX_ED25519": "ed25519",
    "PKIX_RSA_PKCS1V15_2048_SHA256": "rsa-2048",
    "PKIX_RSA_PKCS1V15_3072_SHA256": "rsa-3072",
    "PKIX_RSA_PKCS1V15_4096_SHA256": "rsa-4096",
    "PKIX_RSA_PKCS1V5": "rsa-",
    "PKCS1_RSA_PKCS1V5": "rsa-",
}


class Unproven(Exception):
    """Why something that was presented as a proof is none. The text is one line in lower case."""


class Log:
    """A log that is trusted: its key, since when and until when, and the identifiers under which entries name it."""

    def __init__(self, key: PublicKey, period: Period | None = None, log_id: bytes = b"") -> None:
        self.key = key
        self.period = period or Period()
        self.id = log_id or bytes.fromhex(key.fingerprint.removeprefix("sha256:"))

    def is_named(self, log_id: bytes, origin: str) -> bool:
        """Whether an entry with this log ID, whose checkpoint has this ``origin``, is of this log."""
        if log_id == self.id:
            return True
        # Rekor 2 names itself by the key ID of its checkpoints, whole or cut to four bytes.
        return bool(origin) and len(log_id) in (4, 32) and any(one.startswith(log_id) for one in self._note_ids(origin))

    def signed_note(self, checkpoint: Checkpoint) -> bool:
        """Whether this log signed the checkpoint."""
        return any(self._signed(checkpoint, one) for one in checkpoint.signatures)

    def _signed(self, checkpoint: Checkpoint, line: NoteSignature) -> bool:
        if checkpoint.origin != line.name and not checkpoint.origin.startswith(f"{line.name} - "):
            return False
        hints = [hashlib.sha256(self.key.der).digest(), *self._note_ids(line.name)]
        return any(one[:4] == line.hint for one in hints) and not self.key.problem(line.signature, checkpoint.text)

    def _note_ids(self, name: str) -> list[bytes]:
        """C2SP ``signed-note.md``, "Signatures"; for ECDSA it is the hash of the key alone."""
        prefix = name.encode("utf-8") + b"\n"
        if self.key.raw:
            return [hashlib.sha256(prefix + _ED25519 + self.key.raw).digest()]
        if self.key.kind.startswith("rsa-"):
            return [hashlib.sha256(prefix + _RSA + self.key.der).digest()]
        return []


class Signed(Record):
    """What an entry must be of. ``verifier`` is the DER of the key, or of the leaf when ``certificate`` is true.

    ``artifact`` are the bytes that were signed, None when only their ``digest`` (``sha256:…``) is known; ``payload`` is that of a
    DSSE envelope, and ``envelope`` its JSON as it was made, None otherwise.
    """

    signature: bytes
    verifier: bytes
    certificate: bool
    artifact: bytes | None = None
    digest: str = ""
    payload: bytes | None = None
    envelope: bytes | None = None


def logs_of_keys(sources: Sequence[KeySource], file: Callable[[KeySource], bytes]) -> list[Log]:
    """The logs whose public keys a policy names. Raises :class:`ConfigError`."""
    return [Log(policy_key(source, file, "log key")) for source in sources]


def policy_key(source: KeySource, file: Callable[[KeySource], bytes], kind: str) -> PublicKey:
    """A public key that a policy names; ``kind`` says what for. Raises :class:`ConfigError`."""
    try:
        return from_pem(file(source), f"{kind} {source.path}" if source.path else f"{kind} in the policy")
    except FormatError as error:
        raise ConfigError(str(error)) from None


def logs_of_root(instances: Sequence[LogInstance], what: str) -> list[Log]:
    """The usable logs of a trusted root; those with unknown kinds of keys are left out. Raises :class:`FormatError`."""
    logs: list[Log] = []
    for instance in instances:
        kind = _DETAILS.get(instance.key_details)
        if kind is None:
            continue
        where = f"{what}: key of log {instance.log_id.hex()}"
        key = from_der(instance.key, where, pkcs1=instance.key_details.startswith("PKCS1_"))
        if not key.kind.startswith(kind):
            raise FormatError(where, "", f"is {key.kind}, not {instance.key_details}")
        logs.append(Log(key, instance.period, instance.log_id))
    return logs


def examine_entries(entries: Sequence[LogEntry], signed: Signed, logs: Sequence[Log]) -> dict[str, Any]:
    """What the entries prove of a signature, as JSON values.

    ``promised`` are the times (seconds since the epoch) at which logs promised to include it, ``included`` counts inclusion
    proofs, ``unknown`` are the IDs of logs that are not trusted. Raises :class:`Unproven` for an entry of a trusted log that is
    not right.
    """
    promised: list[int] = []
    included = 0
    unknown: list[str] = []
    for number, entry in enumerate(entries):
        where = f"log entry {number + 1}"
        try:
            checkpoint = parse_checkpoint(entry.proof.checkpoint, where, "checkpoint") if entry.proof else None
            log = _log_of(entry, checkpoint, logs)
            if log is None:
                unknown.append(entry.log_id.hex())
                continue
            body = parse_body(entry.body, f"{where}: body")
            _check_binding(entry, body, signed)
            if entry.promise:
                _check_promise(entry, body, log)
                promised.append(entry.integrated_time)
            if entry.proof and checkpoint:
                _check_inclusion(entry, entry.proof, checkpoint, log)
                included += 1
            if not entry.promise and not entry.proof:
                raise Unproven("has neither a promise nor an inclusion proof")
        except FormatError as error:
            raise Unproven(str(error)) from None
        except Unproven as problem:
            raise Unproven(f"{where}: {problem}") from None
    return {"promised": promised, "included": included, "unknown": unknown}


def _log_of(entry: LogEntry, checkpoint: Checkpoint | None, logs: Sequence[Log]) -> Log | None:
    origin = checkpoint.origin if checkpoint else ""
    for log in logs:
        if log.is_named(entry.log_id, origin):
            return log
    return None


def _check_binding(entry: LogEntry, body: RekorBody, signed: Signed) -> None:
    if (entry.kind, entry.version) != (body.kind, body.version):
        raise Unproven(f"is said to be {shown(f'{entry.kind} {entry.version}')} but its body is {body.kind} {body.version}")
    if body.covers != ENVELOPE and body.signature != signed.signature:
        raise Unproven("is of another signature")
    if body.certificate != signed.certificate or body.verifier != signed.verifier:
        raise Unproven(f"is of another {'certificate' if signed.certificate else 'key'}")
    algorithm, _, encoded = body.digest.partition(":")
    if body.covers == ENVELOPE:
        if signed.envelope is None:
            raise Unproven("is of the bytes of an envelope, which only cosign's tags keep")
        expected = hashlib.new(algorithm, signed.envelope).hexdigest()
    elif body.covers == ENVELOPE_PAYLOAD:
        if signed.payload is None:
            raise Unproven("is of an envelope, not of this signature's artifact")
        expected = hashlib.new(algorithm, signed.payload).hexdigest()
    elif signed.payload is not None and not body.second_generation:
        raise Unproven("is of an artifact, not of an envelope")
    elif signed.artifact is not None:
        expected = hashlib.new(algorithm, signed.artifact).hexdigest()
    else:
        expected = signed.digest.removeprefix(f"{algorithm}:")
    if encoded != expected:
        raise Unproven("is of another artifact")


def _check_promise(entry: LogEntry, body: RekorBody, log: Log) -> None:
    if body.second_generation:
        raise Unproven("has a promise, which logs of the second generation do not give")
    payload = {
        "body": base64_strict.encode(entry.body),
        "integratedTime": entry.integrated_time,
        "logID": entry.log_id.hex(),
        "logIndex": entry.log_index,
    }
    if problem := log.key.problem(entry.promise, canonical(payload, "signed entry timestamp")):
        raise Unproven(f"the log did not sign the promise: {problem}")
    if not log.period.covers(entry.integrated_time):
        raise Unproven("the log's key was not valid at the time of the promise")


def _check_inclusion(entry: LogEntry, proof: InclusionProof, checkpoint: Checkpoint, log: Log) -> None:
    root = root_from_proof(leaf_hash(entry.body), proof.log_index, proof.tree_size, proof.hashes)
    if root is None:
        raise Unproven("the inclusion proof has the wrong number of hashes")
    if root != proof.root_hash:
        raise Unproven("the inclusion proof does not lead to its root hash")
    if (checkpoint.size, checkpoint.root) != (proof.tree_size, proof.root_hash):
        raise Unproven("the checkpoint is of another tree than the inclusion proof")
    if not log.signed_note(checkpoint):
        raise Unproven("the checkpoint is not signed by the log")
