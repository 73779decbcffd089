"""What a sigstore bundle proves (sigstore/protobuf-specs ``sigstore_bundle.proto``, architecture-docs ``client-spec.md`` 4).

A fact is as in :mod:`rktpy.trust.cosign_facts`; a signature over the manifest itself has ``digest`` but no ``reference``, since
it names no repository. Its digest is what the signature was checked with: judging compares it with the digest of the image.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from rktpy.errors import FormatError
from rktpy.formats.trust import base64_strict, dsse, intoto
from rktpy.formats.trust.dsse import Envelope
from rktpy.formats.trust.evidence import COSIGN, Evidence
from rktpy.formats.trust.members import shown
from rktpy.formats.trust.requirements import KeySource, Requirement, SigstoreBundle
from rktpy.formats.trust.sigstore_bundle import Bundle, parse_bundle
from rktpy.trust import cosign_facts
from rktpy.trust.log_proofs import Log, Signed, Unproven, examine_entries, logs_of_keys
from rktpy.trust.public_keys import PublicKey
from rktpy.trust.signing_certificates import Leaf
from rktpy.trust.sigstore_material import KeylessRoot, policy_keys, signer_among

FACT_VERSION = 1


def examine(
    requirement: Requirement, evidence: Evidence, blob: Callable[[str], bytes], file: Callable[[KeySource], bytes]
) -> dict[str, Any]:
    """What the evidence proves with the requirement's keys or trusted root.

    ``blob`` gives the bytes of a digest of the evidence, ``file`` those of a key file of the policy. Raises
    :class:`ConfigError` for a file of the policy that cannot be used; whatever is wrong with the evidence is a ``problem`` of
    the fact.
    """
    assert isinstance(requirement, SigstoreBundle)
    if evidence.family == COSIGN:
        return cosign_facts.examine(requirement, evidence, blob, file)
    keys = policy_keys(requirement.keys, file)
    logs = logs_of_keys(requirement.log_keys, file)
    root = KeylessRoot(requirement.keyless, requirement.log_keys, file) if requirement.keyless is not None else None
    try:
        bundle = parse_bundle(blob(evidence.blob("bundle")), "bundle")
        proven = _by_certificate(bundle, root) if root is not None else _by_key(bundle, keys, logs)
        return {**_content(bundle), **proven}
    except (FormatError, Unproven) as problem:
        return {"problem": str(problem)}


def _content(bundle: Bundle) -> dict[str, Any]:
    """What a bundle says, once its signature is good. Raises :class:`FormatError`."""
    content = bundle.content
    if not isinstance(content, Envelope):
        return {"digest": content.digest}
    if content.payload_type != dsse.IN_TOTO:
        raise Unproven(f"the envelope holds {shown(content.payload_type)!r}, not an in-toto statement")
    statement = intoto.parse_statement(content.payload, "in-toto statement")
    return {"subjects": list(statement.subjects), "predicateType": statement.predicate_type}


def _problem(bundle: Bundle, key: PublicKey) -> str:
    content = bundle.content
    if isinstance(content, Envelope):
        return key.problem(content.signature, content.signed)
    return key.problem_with_digest(content.signature, content.digest)


def _signed(bundle: Bundle, verifier: bytes, certificate: bool) -> Signed:
    content = bundle.content
    if isinstance(content, Envelope):
        return Signed(content.signature, verifier, certificate, content.signed, "", content.payload)
    return Signed(content.signature, verifier, certificate, None, content.digest)


def _by_key(bundle: Bundle, keys: Sequence[PublicKey], logs: Sequence[Log]) -> dict[str, Any]:
    if bundle.hint is None:
        raise Unproven("the bundle is signed with a certificate, but a key is wanted")
    named = _key_of_hint(bundle.hint)
    if named and all(named != key.fingerprint for key in keys):
        raise Unproven(f"the bundle is made with the key {named}, which is not one of the policy")
    key = signer_among(keys, lambda key: _problem(bundle, key))
    proven: dict[str, Any] = {"key": key.fingerprint}
    if logs:
        proven["log"] = examine_entries(bundle.entries, _signed(bundle, key.der, False), logs)
    return proven


def _by_certificate(bundle: Bundle, root: KeylessRoot) -> dict[str, Any]:
    if not bundle.certificates:
        raise Unproven("the bundle is signed with a key, but a certificate is wanted")
    leaf = Leaf(bundle.certificates[0])
    if problem := _problem(bundle, leaf.key):
        raise Unproven(problem)
    fact = root.fact(leaf, _signed(bundle, leaf.der, True), bundle.entries, bundle.timestamps)
    return {"key": leaf.key.fingerprint, **fact}


def _key_of_hint(hint: str) -> str:
    """The fingerprint that a hint is the base64 of, empty for hints of another form."""
    try:
        data = base64_strict.decode(hint, "hint", "", 64)
    except FormatError:
        return ""
    return f"sha256:{data.hex()}" if len(data) == hashlib.sha256().digest_size else ""
