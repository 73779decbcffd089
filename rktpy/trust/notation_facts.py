"""What a Notary Project signature proves, for each trust store that the trust policy names.

Everything that needs cryptography is done here and put down as JSON values; :mod:`rktpy.trust.notation` judges them. A fact
depends on the envelope, the answers about revocation that were kept beside it, the trust policy's text and the certificates in
the trust stores, and on nothing else.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509 import Certificate

from rktpy.errors import ConfigError, FormatError
from rktpy.formats.trust import pem
from rktpy.formats.trust.notation import cose, jws
from rktpy.formats.trust.notation.envelope import COSE_TYPE, JWS_TYPE, Envelope
from rktpy.formats.trust.requirements import KeySource, Notation
from rktpy.trust.certificate_path import PathProblem, load, validity
from rktpy.trust.evidence import Evidence
from rktpy.trust.notation_chain import algorithm_of, check_anchor, check_chain
from rktpy.trust.notation_revocation import Question, gather, states
from rktpy.trust.notation_store import Store, policy_source, read_policy, stores_of
from rktpy.trust.timestamp import Authority, verify_token_with_path

FACT_VERSION = 1
#: The prefix of the blobs with what was answered about a time-stamping authority's certificates.
TSA_PREFIX = "tsa-"

_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_TYPES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "SERIALNUMBER",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.17": "POSTALCODE",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}


def examine(
    requirement: Notation, evidence: Evidence, blob: Callable[[str], bytes], file: Callable[[KeySource], bytes]
) -> dict[str, Any]:
    """The fact about one signature.

    ``policy`` are the statements of the trust policy. ``problem`` is why the envelope is worth nothing; without one there are
    ``scheme``, ``signedAt``, ``expiry`` (seconds since the epoch), ``target`` (mediaType, digest, size), ``subject`` (pairs),
    ``certificates`` (subject, starts, ends), ``stores`` (by ``type:name``: problem, empty if the chain leads there), ``broken``
    (stores that cannot be used), ``timestamps`` (by ``tsa:name``: what :func:`rktpy.trust.timestamp.verify_token` found, and
    ``revocation``) and ``revocation`` (see :func:`rktpy.trust.notation_revocation.states`).

    Raises :class:`ConfigError` for a broken trust policy.
    """
    source = policy_source(requirement)
    statements = read_policy(file(source), source.path)
    stores = stores_of(requirement, statements)
    fact: dict[str, Any] = {"policy": [statement.to_dict() for statement in statements]}
    try:
        envelope = read_envelope(evidence, blob)
        chain = _verified_chain(envelope)
    except FormatError as error:
        return {**fact, "problem": str(error)}
    except PathProblem as problem:
        return {**fact, "problem": str(problem)}
    return {
        **fact,
        "scheme": envelope.scheme,
        "signedAt": envelope.signed_at,
        "expiry": envelope.expiry,
        "target": {
            "mediaType": envelope.target.media_type,
            "digest": envelope.target.digest,
            "size": envelope.target.size,
        },
        "subject": _subject(chain[0]),
        "certificates": [_told(certificate) for certificate in chain],
        "stores": {store.key: _trusted_by(store, chain, file) for store in stores if store.kind != "tsa"},
        "broken": _broken(stores, file),
        "timestamps": _timestamps(envelope, stores, evidence, blob, file),
        "revocation": states(chain, evidence, blob),
    }


def ask_about_revocation(
    requirement: Notation,
    evidence: Evidence,
    blob: Callable[[str], bytes],
    file: Callable[[KeySource], bytes],
    ask: Callable[[Question, str], bytes],
    keep: Callable[[bytes], str],
    now: int,
) -> Evidence:
    """Ask whether the certificates of a signature, and of its time stamp, are revoked; the evidence with the answers.

    Only for chains that lead to a trust store: strangers must not make us call addresses of their choice. ``ask`` sends a
    question to a URL and may raise :class:`rktpy.errors.FetchError`; ``keep`` stores an answer and returns its digest; ``now``
    is in seconds since the epoch. Raises :class:`ConfigError` for a broken trust policy.
    """
    source = policy_source(requirement)
    statements = read_policy(file(source), source.path)
    if not any(statement.level != "skip" and statement.action("revocation") != "skip" for statement in statements):
        return evidence
    stores = stores_of(requirement, statements)
    try:
        envelope = read_envelope(evidence, blob)
        chain = _verified_chain(envelope)
    except (FormatError, PathProblem):
        return evidence
    if any(not _trusted_by(store, chain, file) for store in stores if store.kind != "tsa"):
        evidence = gather(chain, evidence, ask, keep, now)
        for store in stores:
            if store.kind == "tsa" and envelope.timestamp:
                path = _stamped(envelope, store, file)[1]
                evidence = gather(path, evidence, ask, keep, now, f"{TSA_PREFIX}{store.name}-") if path else evidence
    return evidence


def read_envelope(evidence: Evidence, blob: Callable[[str], bytes]) -> Envelope:
    """The envelope of a piece of evidence. Raises :class:`FormatError`."""
    if evidence.media_type == JWS_TYPE:
        return jws.parse(blob(evidence.blob("envelope")))
    if evidence.media_type == COSE_TYPE:
        return cose.parse(blob(evidence.blob("envelope")))
    raise FormatError("notation signature", "mediaType", f"{evidence.media_type[:80]!r} is neither {JWS_TYPE} nor {COSE_TYPE}")


def _verified_chain(envelope: Envelope) -> list[Certificate]:
    chain = [load(der, f"certificate {number} of the chain") for number, der in enumerate(envelope.certificates)]
    due = algorithm_of(chain[0])
    if envelope.algorithm != due:
        raise PathProblem(f"the algorithm is {envelope.algorithm}, but the signer's key is for {due}")
    check_chain(chain)
    verify(chain[0].public_key(), envelope.algorithm, envelope.signature, envelope.signed)
    return chain


def verify(key: object, algorithm: str, signature: bytes, signed: bytes) -> None:
    """Check a signature in the form of JWS and COSE: PSS with a salt as long as the hash, ECDSA as r and s side by side.

    Raises :class:`PathProblem`.
    """
    digest = _HASHES[algorithm[2:]]
    try:
        if algorithm.startswith("PS") and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
            return
        if algorithm.startswith("ES") and isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                form = "it looks like DER" if signature[:1] == b"\x30" else f"it has {len(signature)} bytes"
                raise PathProblem(f"the signature must be r and s of {size} bytes each, and {form}")
            r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
            key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(digest))
            return
    except InvalidSignature:
        raise PathProblem("the signature does not fit the signed bytes and the signer's key") from None
    raise PathProblem(f"the algorithm {algorithm} does not fit the signer's key")


def _told(certificate: Certificate) -> dict[str, Any]:
    starts, ends = validity(certificate)
    return {"subject": certificate.subject.rfc4514_string(), "starts": starts, "ends": ends}


def _subject(certificate: Certificate) -> list[list[str]]:
    pairs: list[list[str]] = []
    for attribute in certificate.subject:
        oid = attribute.oid.dotted_string
        value = attribute.value
        pairs.append([_TYPES.get(oid, oid), value if isinstance(value, str) else value.hex()])
    return pairs


def _anchors(store: Store, file: Callable[[KeySource], bytes]) -> list[Certificate]:
    """The certificates of a store. Raises :class:`PathProblem`."""
    if store.problem:
        raise PathProblem(store.problem)
    found: list[Certificate] = []
    for path in store.files:
        try:
            data = file(KeySource(path=path))
            ders = [data]
            if data.lstrip().startswith(b"-----BEGIN"):
                ders = [der for label, der in pem.blocks(data, path) if label == "CERTIFICATE"]
        except (FormatError, ConfigError) as error:
            raise PathProblem(f"trust store {store.key}: {error}") from None
        if not ders:
            raise PathProblem(f"trust store {store.key}: {path} holds no certificate")
        for der in ders:
            certificate = load(der, f"trust store {store.key}: {path}")
            if problem := check_anchor(certificate, store.kind):
                raise PathProblem(f"trust store {store.key}: {path} {problem}")
            found.append(certificate)
    return found


def _trusted_by(store: Store, chain: Sequence[Certificate], file: Callable[[KeySource], bytes]) -> str:
    """Why the chain does not lead to a certificate of the store; empty if it does."""
    try:
        anchors = _anchors(store, file)
    except PathProblem as problem:
        return str(problem)
    if any(certificate in anchors for certificate in chain):
        return ""
    return f"no certificate of the chain is in the trust store {store.key}"


def _broken(stores: Sequence[Store], file: Callable[[KeySource], bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for store in stores:
        try:
            _anchors(store, file)
        except PathProblem as problem:
            found[store.key] = str(problem)
    return found


def _timestamps(
    envelope: Envelope,
    stores: Sequence[Store],
    evidence: Evidence,
    blob: Callable[[str], bytes],
    file: Callable[[KeySource], bytes],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for store in stores:
        if store.kind != "tsa":
            continue
        if not envelope.timestamp:
            found[store.key] = {"problem": "there is no time stamp"}
            continue
        fact, path = _stamped(envelope, store, file)
        if path:
            fact["revocation"] = states(path, evidence, blob, f"{TSA_PREFIX}{store.name}-")
        found[store.key] = fact
    return found


def _stamped(
    envelope: Envelope, store: Store, file: Callable[[KeySource], bytes]
) -> tuple[dict[str, Any], tuple[Certificate, ...]]:
    try:
        anchors = _anchors(store, file)
    except PathProblem as problem:
        return {"problem": str(problem)}, ()
    from cryptography.hazmat.primitives.serialization import Encoding

    authority = Authority(tuple([anchor.public_bytes(Encoding.DER) for anchor in anchors]))
    return verify_token_with_path(envelope.timestamp, envelope.signature, [authority])
