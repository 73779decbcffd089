"""Revocation of the certificates in a Notary Project signature: by OCSP (RFC 6960) first, by CRL (RFC 5280 section 5) otherwise.

notaryproject/specifications ``trust-store-trust-policy.md``, "Certificate Revocation Evaluation". Whoever fetches an image asks
(:func:`gather`), and keeps the answers, which are signed, beside the signature as further blobs of the evidence. A start asks
nobody: what was answered then is what is known. See docs/adr/0031.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import Certificate, ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from rktpy.errors import FetchError, FormatError
from rktpy.record import Record
from rktpy.trust.certificate_path import UNREADABLE, PathProblem, check_issued, extended_purposes, name_of, validity
from rktpy.trust.evidence import Evidence

#: How long to wait for one answer, in seconds, and how large it may be, in bytes.
OCSP_SECONDS = 2.0
CRL_SECONDS = 5.0
MAX_OCSP = 64 << 10
MAX_CRL = 4 << 20
_MAX_URLS = 4
#: Clocks differ; an answer may come from this many seconds in the future.
_SKEW = 300

NONE = "none"
GOOD = "good"
REVOKED = "revoked"
UNAVAILABLE = "unavailable"


class Question(Record):
    """What to ask about one certificate of a chain. ``body`` is an OCSP request, or empty for a CRL that is simply fetched."""

    role: str
    urls: tuple[str, ...]
    body: bytes
    seconds: float
    limit: int


def questions(chain: Sequence[Certificate], prefix: str = "") -> list[tuple[Question, ...]]:
    """For each certificate of a chain (leaf first, with its root) what to ask, the better question first.

    Roots answer to nobody. ``prefix`` begins the roles of the answers' blobs.
    """
    found: list[tuple[Question, ...]] = []
    for number, certificate in enumerate(chain[:-1]):
        asked: list[Question] = []
        # A pointer that cannot be followed is a pointer all the same: then nothing is known.
        if names := _ocsp_names(certificate):
            body = _request(certificate, chain[number + 1])
            asked.append(Question(f"{prefix}ocsp-{number}", _http(names), body, OCSP_SECONDS, MAX_OCSP))
        if (points := _crl_points(certificate)) is not None:
            asked.append(Question(f"{prefix}crl-{number}", _http(points), b"", CRL_SECONDS, MAX_CRL))
        found.append(tuple(asked))
    return found


def gather(
    chain: Sequence[Certificate],
    evidence: Evidence,
    ask: Callable[[Question, str], bytes],
    keep: Callable[[bytes], str],
    now: int,
    prefix: str = "",
) -> Evidence:
    """Ask about every certificate of a chain and return the evidence with the answers as further blobs.

    ``ask`` sends a question to one URL and may raise :class:`FetchError`; ``keep`` stores an answer and returns its digest;
    ``now`` is the clock in seconds since the epoch. Nothing is kept that says nothing, is not signed by who may, or is out of
    date.
    """
    blobs = dict(evidence.blobs)
    for number, asked in enumerate(questions(chain, prefix)):
        for question in asked:
            answer = _first_answer(question, chain[number], chain[number + 1], ask, now)
            if answer:
                blobs[question.role] = keep(answer)
                break
    return evidence.replace(blobs=tuple(blobs.items()))


def _first_answer(
    question: Question, certificate: Certificate, issuer: Certificate, ask: Callable[[Question, str], bytes], now: int
) -> bytes:
    for url in question.urls:
        try:
            data = ask(question, url)
            state = _read(question.role, data, certificate, issuer)
        except (FetchError, PathProblem):
            continue
        if state["from"] <= now + _SKEW and (not state["until"] or now <= state["until"]):
            return data
    return b""


def states(
    chain: Sequence[Certificate], evidence: Evidence, blob: Callable[[str], bytes], prefix: str = ""
) -> list[dict[str, Any]]:
    """What the kept answers say of each certificate, as JSON values: ``certificate`` (its subject) and ``status``.

    ``none``: it names nobody who could be asked. ``good`` and ``revoked`` come with ``from`` (when it was so, seconds since the
    epoch); ``revoked`` with ``at`` and, when it is told, ``invalid`` (since when the key must not be believed). ``unavailable``
    comes with ``reason``.
    """
    held = dict(evidence.blobs)
    found: list[dict[str, Any]] = []
    for number, asked in enumerate(questions(chain, prefix)):
        name = chain[number].subject.rfc4514_string()
        state: dict[str, Any] = {"status": NONE}
        if asked:
            state = {"status": UNAVAILABLE, "reason": "nobody who could tell had answered when the image was fetched"}
        for question in asked:
            if question.role in held:
                try:
                    state = _read(question.role, blob(held[question.role]), chain[number], chain[number + 1])
                except (PathProblem, FormatError) as problem:
                    state = {"status": UNAVAILABLE, "reason": str(problem)}
                break
        found.append({"certificate": name, **state})
    return found


def _read(role: str, data: bytes, certificate: Certificate, issuer: Certificate) -> dict[str, Any]:
    if "ocsp-" in role:
        return _read_ocsp(data, certificate, issuer)
    return _read_crl(data, certificate, issuer)


def _read_ocsp(data: bytes, certificate: Certificate, issuer: Certificate) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response = ocsp.load_der_ocsp_response(data)
            if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
                raise PathProblem(f"the OCSP responder answered {response.response_status.name.lower()}")
            _check_responder(response, issuer)
            _check_subject(response, certificate, issuer)
            until = response.next_update_utc
            state: dict[str, Any] = {
                "from": int(response.this_update_utc.timestamp()),
                "until": int(until.timestamp()) if until else 0,
            }
            status = response.certificate_status
            if status == ocsp.OCSPCertStatus.GOOD:
                return {"status": GOOD, **state}
            if status != ocsp.OCSPCertStatus.REVOKED:
                raise PathProblem("the OCSP responder does not know the certificate")
            at = response.revocation_time_utc
            state["at"] = int(at.timestamp()) if at else 0
            for single in response.single_extensions:
                if isinstance(single.value, x509.InvalidityDate):
                    state["invalid"] = int(single.value.invalidity_date_utc.timestamp())
            return {"status": REVOKED, **state}
    except UNREADABLE as error:
        raise PathProblem(f"the OCSP response cannot be read: {_line(error)}") from None


def _check_subject(response: ocsp.OCSPResponse, certificate: Certificate, issuer: Certificate) -> None:
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, response.hash_algorithm)
    due = builder.build()
    same = (response.serial_number, response.issuer_key_hash, response.issuer_name_hash)
    if same != (due.serial_number, due.issuer_key_hash, due.issuer_name_hash):
        raise PathProblem("the OCSP response is about another certificate")


def _check_responder(response: ocsp.OCSPResponse, issuer: Certificate) -> None:
    """RFC 6960 section 4.2.2.2: the issuer itself, or whom it certified for it."""
    digest = response.signature_hash_algorithm
    if digest is not None and not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise PathProblem(f"the OCSP response is signed with {digest.name}, which is too weak")
    if _signed_by(response, issuer):
        return
    produced = int(response.produced_at_utc.timestamp())
    for certificate in response.certificates:
        if not _signed_by(response, certificate):
            continue
        check_issued(certificate, issuer)
        name = name_of(certificate)
        if ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string not in extended_purposes(certificate):
            raise PathProblem(f"certificate {name} may not answer for its issuer")
        try:
            certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)
        except x509.ExtensionNotFound:
            raise PathProblem(f"the OCSP responder {name} might be revoked itself (it has no OCSP no-check)") from None
        starts, ends = validity(certificate)
        if not starts <= produced <= ends:
            raise PathProblem(f"certificate {name} of the OCSP responder was not valid")
        return
    raise PathProblem("the OCSP response is not signed by the issuer or whom it named")


def _signed_by(response: ocsp.OCSPResponse, certificate: Certificate) -> bool:
    key = certificate.public_key()
    digest = response.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(response.signature, response.tbs_response_bytes)
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _read_crl(data: bytes, certificate: Certificate, issuer: Certificate) -> dict[str, Any]:
    try:
        if data.startswith(b"-----BEGIN"):
            crl = x509.load_pem_x509_crl(data)
        else:
            crl = x509.load_der_x509_crl(data)
        if crl.issuer != certificate.issuer:
            raise PathProblem("the revocation list is that of another issuer")
        digest = crl.signature_hash_algorithm
        if digest is not None and not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
            raise PathProblem(f"the revocation list is signed with {digest.name}, which is too weak")
        key = issuer.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise PathProblem("the issuer's key is of an unknown kind")
        if not crl.is_signature_valid(key):
            raise PathProblem("the revocation list is not signed by the issuer")
        for extension in crl.extensions:
            if extension.oid.dotted_string == "2.5.29.46":
                raise PathProblem("the revocation list has a delta beside it, which is not supported")
            # An issuing distribution point may narrow the list to other certificates; a delta is no list by itself.
            if extension.critical:
                raise PathProblem(f"the revocation list has the critical extension {extension.oid.dotted_string}")
        until = crl.next_update_utc
        state: dict[str, Any] = {
            "from": int(crl.last_update_utc.timestamp()),
            "until": int(until.timestamp()) if until else 0,
        }
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None:
            return {"status": GOOD, **state}
        state["at"] = int(entry.revocation_date_utc.timestamp())
        for single in entry.extensions:
            if isinstance(single.value, x509.InvalidityDate):
                state["invalid"] = int(single.value.invalidity_date_utc.timestamp())
            elif isinstance(single.value, x509.CRLReason):
                if single.value.reason == x509.ReasonFlags.remove_from_crl:
                    return {"status": GOOD, **state}
            elif single.critical:
                raise PathProblem("the revocation list has an entry with an unknown critical extension")
        return {"status": REVOKED, **state}
    except UNREADABLE as error:
        raise PathProblem(f"the revocation list cannot be read: {_line(error)}") from None


def _request(certificate: Certificate, issuer: Certificate) -> bytes:
    # SHA-1 only names the certificate here, and it is the one hash that every responder knows (RFC 5019 section 2.1.1).
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1()).build()
    return request.public_bytes(serialization.Encoding.DER)


def _ocsp_names(certificate: Certificate) -> list[x509.GeneralName]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return [entry.access_location for entry in access if entry.access_method == AuthorityInformationAccessOID.OCSP]


def _crl_points(certificate: Certificate) -> list[x509.GeneralName] | None:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return None
    return [name for point in points for name in point.full_name or ()]


def _http(names: Sequence[x509.GeneralName]) -> tuple[str, ...]:
    found = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    return tuple([url for url in found if url.startswith(("http://", "https://"))][:_MAX_URLS])


def _line(error: Exception) -> str:
    text = str(error)
    return text if text.isprintable() else ascii(text)[1:-1]
