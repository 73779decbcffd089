"""Certificates that vouch for a signing key: keyless sigstore, Fulcio as containers/image has it, and a CA of one's own.

A keyless certificate lives for minutes, so what counts is that it was valid when it signed; that time must be proven by a
promise of a trusted log or by a time stamp, and every source that is there must agree (``client-spec.md`` 4.2 and 4.3). Only
certificates of the trusted root lead to a root: others that a bundle carries are ignored.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography import x509

from rktpy.errors import FormatError
from rktpy.formats.rfc3339 import text_of
from rktpy.formats.trust import pem
from rktpy.formats.trust.timestamp_token import token_of_response
from rktpy.formats.trust.trusted_root import Authority, TrustedRoot
from rktpy.trust import timestamp
from rktpy.trust.certificate_log import check_certificate_logged
from rktpy.trust.certificate_path import PathProblem, check_certificate, extended_purposes, find_path, load, validity
from rktpy.trust.log_proofs import Log, Unproven
from rktpy.trust.public_keys import PublicKey
from rktpy.trust.signer_names import claims, names, provider

_CODE_SIGNING = "1.3.6.1.5.5.7.3.3"
_ANY_PURPOSE = "2.5.29.37.0"
_MAX_CHAIN = 10


class Leaf:
    """The certificate of a signer, with its key. Raises :class:`Unproven` when it cannot be read or used."""

    def __init__(self, der: bytes) -> None:
        try:
            self.certificate = load(der, "the signer's certificate")
            self.key = PublicKey(self.certificate.public_key(), "the key of the signer's certificate")
        except (PathProblem, FormatError) as problem:
            raise Unproven(str(problem)) from None
        self.der = der

    def described(self) -> dict[str, Any]:
        """What judging needs to know: names, provider, claims, fingerprint."""
        return {
            "fingerprint": "sha256:" + hashlib.sha256(self.der).hexdigest(),
            "issuer": provider(self.certificate),
            "names": names(self.certificate),
            "claims": claims(self.certificate),
        }


def leaf_of_pem(text: str) -> Leaf:
    """The one certificate of an annotation. Raises :class:`Unproven`."""
    try:
        return Leaf(pem.one_block(text, ("CERTIFICATE",), "the signer's certificate"))
    except FormatError as error:
        raise Unproven(str(error)) from None


def certificates_of_pem(data: bytes | str, what: str) -> list[x509.Certificate]:
    """The certificates of a PEM file. Raises :class:`FormatError`."""
    found: list[x509.Certificate] = []
    for number, (label, der) in enumerate(pem.blocks(data, what)):
        if label != "CERTIFICATE":
            raise FormatError(what, "", f"holds a PEM block {label[:40]!r} where certificates are due")
        try:
            found.append(load(der, f"certificate {number + 1}"))
        except PathProblem as problem:
            raise FormatError(what, "", str(problem)) from None
    return found


def chain_of_pem(text: str | None) -> list[x509.Certificate]:
    """The certificates that a signature brings along: help on the way, no anchors. Raises :class:`Unproven`."""
    if text is None:
        return []
    try:
        found = certificates_of_pem(text, "the certificate chain of the signature")
    except FormatError as error:
        raise Unproven(str(error)) from None
    if len(found) > _MAX_CHAIN:
        raise Unproven(f"the certificate chain of the signature has more than {_MAX_CHAIN} certificates")
    return found


def keyless(
    leaf: Leaf, stamped: bytes, promised: Sequence[int], stamps: Sequence[bytes], root: TrustedRoot, logs: Sequence[Log]
) -> dict[str, Any]:
    """What the trusted root says of a keyless certificate. Raises :class:`Unproven`.

    ``promised`` are the times (seconds since the epoch) of promises of trusted logs, ``stamps`` the DER of time-stamp responses
    over ``stamped`` (the signature), ``logs`` the certificate logs of ``root``.
    """
    times: list[tuple[str, int, int]] = [("transparency log", when, when) for when in promised]
    authorities = [
        timestamp.Authority.from_chain(one.certificates, one.period.start, one.period.end) for one in root.time_authorities
    ]
    for number, response in enumerate(stamps):
        try:
            token = token_of_response(response, "time-stamp response")
        except FormatError as error:
            raise Unproven(f"time stamp {number + 1}: {error}") from None
        fact = timestamp.verify_token(token, stamped, authorities)
        if "problem" in fact:
            raise Unproven(f"time stamp {number + 1}: {fact['problem']}")
        times.append((f"time stamp by {fact['tsa']}", fact["earliest"], fact["latest"]))
    if not times:
        raise Unproven("the time of the signature is not proven: no promise of a trusted log and no time stamp")
    _check_signer(leaf.certificate)
    for source, earliest, latest in times:
        try:
            path = _path(leaf, root.authorities, (earliest, latest))
        except PathProblem as problem:
            raise Unproven(f"at {text_of(earliest)} ({source}): {problem}") from None
        check_certificate_logged(leaf.certificate, path[1], logs)
    return {**leaf.described(), "times": [[source, earliest] for source, earliest, _latest in times]}


def _path(leaf: Leaf, authorities: Sequence[Authority], window: tuple[int, int]) -> tuple[x509.Certificate, ...]:
    # For a problem with the certificate itself, before each authority in turn says that it did not issue it.
    check_certificate(leaf.certificate, window)
    problem = PathProblem("no certificate authority is trusted at that time")
    for authority in authorities:
        if not (authority.period.covers(window[0]) and authority.period.covers(window[1])):
            continue
        try:
            chain = [load(der, "a certificate of the trusted root") for der in authority.certificates]
            return find_path(leaf.certificate, chain[:-1], chain[-1:], window, _CODE_SIGNING)
        except PathProblem as found:
            problem = found
    raise problem


def fulcio(leaf: Leaf, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], when: int) -> dict[str, Any]:
    """What Fulcio's ``roots`` say of a certificate that signed at ``when`` (seconds since the epoch). Raises Unproven."""
    _check_signer(leaf.certificate)
    try:
        find_path(leaf.certificate, chain, roots, (when, when), _CODE_SIGNING)
    except PathProblem as problem:
        raise Unproven(f"at {text_of(when)} (transparency log): {problem}") from None
    return {**leaf.described(), "times": [["transparency log", when]]}


def pki(leaf: Leaf, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> dict[str, Any]:
    """What ``roots`` say of a certificate: ``valid`` lists the periods (first and last second) in which it leads to one of them.

    Raises :class:`Unproven` when there is none.
    """
    purposes = extended_purposes(leaf.certificate)
    if purposes and _CODE_SIGNING not in purposes and _ANY_PURPOSE not in purposes:
        raise Unproven("the signer's certificate is not for code signing")
    _check_usage(leaf.certificate, required=False)
    starts = sorted({validity(one)[0] for one in (leaf.certificate, *others, *roots)})
    last = validity(leaf.certificate)[1]
    periods: list[list[int]] = []
    problem = "no trusted root issued the signer's certificate"
    when = validity(leaf.certificate)[0]
    while when <= last:
        try:
            path = find_path(leaf.certificate, others, roots, (when, when), _CODE_SIGNING)
        except PathProblem as found:
            problem = str(found)
        else:
            end = min(validity(one)[1] for one in path)
            periods.append([when, end])
            when = end + 1
            continue
        later = [start for start in starts if start > when]
        if not later:
            break
        when = later[0]
    if not periods:
        raise Unproven(problem)
    return {**leaf.described(), "valid": periods}


def _check_signer(certificate: x509.Certificate) -> None:
    """The profile of Fulcio's leaves (``fulcio-spec.md``): for signatures and code signing, and no CA."""
    if _CODE_SIGNING not in extended_purposes(certificate):
        raise Unproven("the signer's certificate is not for code signing")
    _check_usage(certificate, required=True)
    try:
        if certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise Unproven("the signer's certificate is that of a CA")
    except x509.ExtensionNotFound:
        pass


def _check_usage(certificate: x509.Certificate, *, required: bool) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        if required:
            raise Unproven("the signer's certificate has no key usage") from None
        return
    if not usage.digital_signature:
        raise Unproven("the key usage of the signer's certificate does not allow signatures")
