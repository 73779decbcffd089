"""What a signature or attestation of cosign's old scheme proves (cosign ``specs/SIGNATURE_SPEC.md`` and ``ATTESTATION_SPEC.md``).

The signature is checked first and the payload is read after that. A fact is a dictionary of JSON values:

- ``problem``: why it proves nothing, and nothing else; or
- ``digest`` and ``reference`` (a signature), or ``subjects`` and ``predicateType`` (an attestation), with
- ``key``: the fingerprint of the key that made it, ``log``: see :func:`rktpy.trust.log_proofs.examine_entries`, absent where no
  log is trusted, ``certificate``: see :mod:`rktpy.trust.signing_certificates`, absent for signatures by keys.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rktpy.errors import FormatError
from rktpy.formats.oci.artifacts import DSSE_ENVELOPE
from rktpy.formats.oci.digest import sha256_digest
from rktpy.formats.trust import base64_strict, cosign_annotations, cosign_payload, dsse, intoto
from rktpy.formats.trust.cosign_annotations import parse_rekor_bundle, parse_timestamp
from rktpy.formats.trust.evidence import Evidence
from rktpy.formats.trust.members import shown
from rktpy.formats.trust.rekor_entry import parse_body
from rktpy.formats.trust.requirements import Fulcio, KeySource, Requirement, SigstoreBundle, SigstoreSigned
from rktpy.formats.trust.sigstore_bundle import LogEntry
from rktpy.trust.log_proofs import Log, Signed, Unproven, examine_entries, logs_of_keys
from rktpy.trust.public_keys import PublicKey
from rktpy.trust.signing_certificates import Leaf, chain_of_pem, fulcio, leaf_of_pem, pki
from rktpy.trust.sigstore_material import KeylessRoot, policy_certificates, policy_keys, signer_among

FACT_VERSION = 1

_WHAT = "cosign signature"


def examine(
    requirement: Requirement, evidence: Evidence, blob: Callable[[str], bytes], file: Callable[[KeySource], bytes]
) -> dict[str, Any]:
    """What the evidence proves with the requirement's keys and certificates.

    ``blob`` gives the bytes of a digest of the evidence, ``file`` those of a key file of the policy. Raises :class:`ConfigError`
    for a file of the policy that cannot be used; whatever is wrong with the evidence is a ``problem`` of the fact.
    """
    assert isinstance(requirement, SigstoreSigned | SigstoreBundle)
    signer = _Signer(requirement, file)
    try:
        payload = blob(evidence.blob("payload"))
        if evidence.media_type == DSSE_ENVELOPE:
            return _attestation(payload, evidence, signer)
        return _signature(payload, evidence, signer)
    except (FormatError, Unproven) as problem:
        return {"problem": str(problem)}


def _signature(payload: bytes, evidence: Evidence, signer: _Signer) -> dict[str, Any]:
    if len(payload) > cosign_payload.MAX_SIZE:
        raise Unproven(f"the signed payload is larger than {cosign_payload.MAX_SIZE} bytes")
    text = _annotation(evidence, cosign_annotations.SIGNATURE)
    signature = base64_strict.decode(text, _WHAT, "signature", dsse.MAX_SIGNATURE)
    signed = Signed(signature, b"", False, payload, sha256_digest(payload))
    proven = signer.prove(evidence, signed, payload)
    claim = cosign_payload.parse_cosign_payload(payload, "cosign payload")
    return {"digest": claim.digest, "reference": claim.reference, **proven}


def _attestation(data: bytes, evidence: Evidence, signer: _Signer) -> dict[str, Any]:
    envelope = dsse.parse_envelope(data, "attestation")
    message = envelope.signed
    signed = Signed(envelope.signature, b"", False, message, sha256_digest(message), envelope.payload, data)
    proven = signer.prove(evidence, signed, message)
    if envelope.payload_type != dsse.IN_TOTO:
        raise Unproven(f"the envelope holds {shown(envelope.payload_type)!r}, not an in-toto statement")
    statement = intoto.parse_statement(envelope.payload, "in-toto statement")
    return {"subjects": list(statement.subjects), "predicateType": statement.predicate_type, **proven}


def _annotation(evidence: Evidence, name: str) -> str:
    text = evidence.annotation(name)
    if text is None:
        raise Unproven(f"the annotation {name} is missing")
    return text


class _Signer:
    """Who may have signed, by the requirement."""

    def __init__(self, requirement: SigstoreSigned | SigstoreBundle, file: Callable[[KeySource], bytes]) -> None:
        self._requirement = requirement
        self._keys: list[PublicKey] = policy_keys(requirement.keys, file)
        self._root: KeylessRoot | None = None
        self._logs: list[Log] = []
        if isinstance(requirement, SigstoreBundle) and requirement.keyless is not None:
            self._root = KeylessRoot(requirement.keyless, requirement.log_keys, file)
        else:
            sources = requirement.rekor_keys if isinstance(requirement, SigstoreSigned) else requirement.log_keys
            self._logs = logs_of_keys(sources, file)
        self._file = file

    def prove(self, evidence: Evidence, signed: Signed, message: bytes) -> dict[str, Any]:
        """The parts of a fact that do not depend on what was signed, which is ``message``. Raises :class:`Unproven`."""
        if self._keys:
            return self._by_key(evidence, signed, message)
        leaf = leaf_of_pem(_annotation(evidence, cosign_annotations.CERTIFICATE))
        if problem := leaf.key.problem(signed.signature, message):
            raise Unproven(problem)
        signed = signed.replace(verifier=leaf.der, certificate=True)
        proven = {"key": leaf.key.fingerprint}
        if self._root is not None:
            return {**proven, **self._root.fact(leaf, signed, _entries(evidence), _stamps(evidence), signed.envelope or b"")}
        chain = chain_of_pem(evidence.annotation(cosign_annotations.CHAIN))
        assert isinstance(self._requirement, SigstoreSigned)
        if self._requirement.fulcio is not None:
            return {**proven, **self._by_fulcio(self._requirement.fulcio, leaf, chain, signed, evidence)}
        assert self._requirement.pki is not None
        roots = policy_certificates(self._requirement.pki.roots, self._file, "CA certificates")
        if self._requirement.pki.intermediates is not None:
            chain += policy_certificates(self._requirement.pki.intermediates, self._file, "intermediate CA certificates")
        return {**proven, "certificate": pki(leaf, chain, roots)}

    def _by_key(self, evidence: Evidence, signed: Signed, message: bytes) -> dict[str, Any]:
        key = signer_among(self._keys, lambda key: key.problem(signed.signature, message))
        proven: dict[str, Any] = {"key": key.fingerprint}
        if self._logs:
            proven["log"] = examine_entries(_entries(evidence), signed.replace(verifier=key.der), self._logs)
        return proven

    def _by_fulcio(self, wanted: Fulcio, leaf: Leaf, chain: list[Any], signed: Signed, evidence: Evidence) -> dict[str, Any]:
        roots = policy_certificates(wanted.ca, self._file, "CA certificates")
        log = examine_entries(_entries(evidence), signed, self._logs)
        if not log["promised"]:
            raise Unproven("there is no promise of a trusted log, which alone tells when the certificate was used")
        return {"log": log, "certificate": fulcio(leaf, chain, roots, log["promised"][0])}


def _entries(evidence: Evidence) -> list[LogEntry]:
    """The log entry of the annotation, in the form of a bundle's. Raises :class:`FormatError`."""
    text = evidence.annotation(cosign_annotations.REKOR_BUNDLE)
    if text is None:
        return []
    found = parse_rekor_bundle(text, "transparency log entry")
    # The annotation does not repeat what kind of entry it is, so the body has the only word.
    body = parse_body(found.body, "transparency log entry: body")
    log_id = bytes.fromhex(found.log_id)
    return [LogEntry(found.log_index, log_id, body.kind, body.version, found.integrated_time, found.body, found.promise)]


def _stamps(evidence: Evidence) -> list[bytes]:
    text = evidence.annotation(cosign_annotations.TIMESTAMP)
    return [] if text is None else [parse_timestamp(text, "time stamp")]
