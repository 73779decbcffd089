"""Revocation of certificates in Notary Project signatures: OCSP and CRL answers, those of openssl(1) and wrong ones."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from rktpy.errors import FetchError
from rktpy.formats.trust.requirements import KeySource
from rktpy.store.images import united_evidence
from rktpy.trust import notation_facts
from rktpy.trust.evidence import Evidence
from rktpy.trust.notation_revocation import Question
from tests.support.certificates import START, YEAR, Issued, issue, new_key, tsa_chain
from tests.support.notation import NOW, World, code_chain, jws, world
from tests.support.timestamps import make_token

OCSP_URL = "http://ocsp.example/x"
CRL_URL = "http://crl.example/x.crl"
DAY = 86400


def date(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def ocsp_pointer(url: str = OCSP_URL) -> tuple[x509.ExtensionType, bool]:
    where = x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
    return x509.AuthorityInformationAccess([where]), False


def crl_pointer(url: str = CRL_URL) -> tuple[x509.ExtensionType, bool]:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return x509.CRLDistributionPoints([point]), False


def ocsp_answer(
    chain: Sequence[Issued],
    *,
    status: Any = ocsp.OCSPCertStatus.GOOD,
    about: Issued | None = None,
    responder: Issued | None = None,
    enclosed: Sequence[Issued] = (),
    at: int = NOW,
    until: int = NOW + DAY,
    revoked: int | None = None,
    digest: Any = None,
) -> bytes:
    responder = responder or chain[1]
    builder = ocsp.OCSPResponseBuilder().add_response(
        (about or chain[0]).certificate, chain[1].certificate, hashes.SHA1(), status, date(at), date(until),
        date(revoked) if revoked else None, x509.ReasonFlags.key_compromise if revoked else None,
    )  # fmt: skip
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    if enclosed:
        builder = builder.certificates([held.certificate for held in enclosed])
    return builder.sign(responder.key, digest or hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def crl_answer(
    issuer: Issued,
    *revoked: Issued,
    at: int = NOW,
    until: int = NOW + DAY,
    invalid: int = 0,
    reason: x509.ReasonFlags | None = None,
    key: Any = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    digest: Any = None,
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(date(at)).next_update(date(until))
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(date(NOW - DAY))
        if invalid:
            entry = entry.add_extension(x509.InvalidityDate(date(invalid).replace(tzinfo=None)), False)
        if reason:
            entry = entry.add_extension(x509.CRLReason(reason), False)
        builder = builder.add_revoked_certificate(entry.build())
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key or issuer.key, digest or hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.fixture
def pointed() -> list[Issued]:
    return code_chain(extra=[ocsp_pointer(), crl_pointer()])


@pytest.fixture
def trusting(tmp_path: Path, pointed: list[Issued]) -> World:
    return world(tmp_path, pointed)


def test_certificates_that_name_nobody_are_not_revoked(trusting: World) -> None:
    step = trusting.judge(jws(code_chain()))
    assert step.steps[-1].reason == "no certificate names anybody who could revoke it"


def test_answers_that_were_kept_count_at_every_start(trusting: World, pointed: list[Issued]) -> None:
    envelope = jws(pointed)
    reason = trusting.refusal(envelope)
    assert "it is not known whether certificate 'CN=signer" in reason and "nobody who could tell had answered" in reason
    for blobs in ({"ocsp_0": ocsp_answer(pointed)}, {"crl_0": crl_answer(pointed[1])}):
        for now in (NOW, NOW + YEAR):
            step = trusting.judge(envelope, now=now, **blobs)
            assert step.outcome == "accepts"
            assert step.steps[-1].reason == "no certificate was revoked at 2024-12-31T00:00:00Z"
    revoked = ocsp_answer(pointed, status=ocsp.OCSPCertStatus.REVOKED, revoked=NOW - DAY)
    assert "CN=signer" in trusting.refusal(envelope, ocsp_0=revoked)
    assert "was revoked at 2024-12-30T00:00:00Z" in trusting.refusal(envelope, ocsp_0=revoked)
    assert "was revoked at 2024-12-30T00:00:00Z" in trusting.refusal(envelope, crl_0=crl_answer(pointed[1], pointed[0]))
    back = crl_answer(pointed[1], pointed[0], reason=x509.ReasonFlags.remove_from_crl)
    assert trusting.judge(envelope, crl_0=back).outcome == "accepts"
    # The better answer decides.
    assert "was revoked" in trusting.refusal(envelope, ocsp_0=revoked, crl_0=crl_answer(pointed[1]))


def responder(issuer: Issued, *, nocheck: bool = True, **changes: Any) -> Issued:
    settings: dict[str, Any] = {"purposes": [ExtendedKeyUsageOID.OCSP_SIGNING], "key": new_key("P-256", 41)}
    extra = [(x509.OCSPNoCheck(), False)] if nocheck else []
    return issue("CN=Responder", issuer, **(settings | changes), extra=extra)


def test_who_may_answer(trusting: World, pointed: list[Issued]) -> None:
    envelope, middle = jws(pointed), pointed[1]

    def refusal(answer: bytes) -> str:
        return trusting.refusal(envelope, ocsp_0=answer)

    good = responder(middle)
    assert trusting.judge(envelope, ocsp_0=ocsp_answer(pointed, responder=good, enclosed=[good])).outcome == "accepts"
    assert "is not signed by the issuer" in refusal(ocsp_answer(pointed, responder=good))
    foreign = responder(issue("C=US,ST=WA,O=Example,CN=CA", key=new_key("P-256", 42)))
    assert "is not signed by" in refusal(ocsp_answer(pointed, responder=foreign, enclosed=[foreign]))
    unfit = responder(middle, purposes=[ExtendedKeyUsageOID.CODE_SIGNING])
    assert "may not answer for its issuer" in refusal(ocsp_answer(pointed, responder=unfit, enclosed=[unfit]))
    loose = responder(middle, nocheck=False)
    assert "might be revoked itself" in refusal(ocsp_answer(pointed, responder=loose, enclosed=[loose]))
    old = responder(middle, end=START + 5)
    assert "was not valid" in refusal(ocsp_answer(pointed, responder=old, enclosed=[old]))
    other = issue("CN=Other", middle)
    assert "is about another certificate" in refusal(ocsp_answer(pointed, about=other))
    assert "does not know the certificate" in refusal(ocsp_answer(pointed, status=ocsp.OCSPCertStatus.UNKNOWN))
    weak = ocsp_answer(pointed, digest=hashes.SHA224())
    assert "signed with sha224, which is too weak" in refusal(weak)
    assert "cannot be read" in refusal(b"junk")
    failed = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert "answered try_later" in refusal(failed.public_bytes(serialization.Encoding.DER))


def test_lists_that_say_nothing(trusting: World, pointed: list[Issued]) -> None:
    envelope, middle = jws(pointed), pointed[1]

    def refusal(answer: bytes) -> str:
        return trusting.refusal(envelope, crl_0=answer)

    assert "is that of another issuer" in refusal(crl_answer(pointed[2]))
    assert "is not signed by the issuer" in refusal(crl_answer(middle, key=new_key("P-256", 43)))
    assert "cannot be read" in refusal(b"junk")
    assert "signed with sha224" in refusal(crl_answer(middle, digest=hashes.SHA224()))
    delta = x509.FreshestCRL([x509.DistributionPoint([x509.UniformResourceIdentifier(CRL_URL)], None, None, None)])
    assert "has a delta beside it" in refusal(crl_answer(middle, extra=[(delta, False)]))
    assert "critical extension 2.5.29.27" in refusal(crl_answer(middle, extra=[(x509.DeltaCRLIndicator(3), True)]))
    narrow = x509.IssuingDistributionPoint(None, None, False, True, None, False, False)
    assert "critical extension 2.5.29.28" in refusal(crl_answer(middle, extra=[(narrow, True)]))


def test_a_signature_from_before_the_key_went_bad(trusting: World, pointed: list[Issued]) -> None:
    root, middle, signer = tsa_chain()
    trusting.store("tsa", "clock", root)
    trusting.policy(trustStores=["ca:example", "tsa:clock"])
    listed = crl_answer(pointed[1], pointed[0], invalid=NOW - DAY)

    def stamped(when: int) -> bytes:
        return jws(pointed, timestamp=lambda data: make_token(data, signer, [signer, middle], when=when))

    assert trusting.judge(stamped(NOW - 2 * DAY), crl_0=listed).outcome == "accepts"
    assert "was revoked" in trusting.refusal(stamped(NOW - DAY), crl_0=listed)
    assert "was revoked" in trusting.refusal(stamped(NOW - 2 * DAY), crl_0=crl_answer(pointed[1], pointed[0]))
    trusting.policy()
    assert "was revoked" in trusting.refusal(stamped(NOW - 2 * DAY), crl_0=listed)


def test_an_authority_for_time_that_was_revoked(trusting: World) -> None:
    root, middle, signer = tsa_chain(extra=[crl_pointer()])
    trusting.store("tsa", "clock", root)
    trusting.policy(
        trustStores=["ca:example", "tsa:clock"], signatureVerification={"level": "strict", "override": {"revocation": "skip"}}
    )
    envelope = jws(code_chain(), timestamp=lambda data: make_token(data, signer, [signer, middle], when=NOW))
    assert "it is not known whether certificate 'CN=TSA," in trusting.refusal(envelope)
    name = "tsa-clock-crl-0"
    assert trusting.judge(envelope, **{name: crl_answer(middle)}).outcome == "accepts"
    assert "was revoked" in trusting.refusal(envelope, **{name: crl_answer(middle, signer)})


class Network:
    """Answers by URL, and what was asked."""

    def __init__(self, **answers: bytes | None) -> None:
        self.answers = {OCSP_URL: answers.get("ocsp"), CRL_URL: answers.get("crl")}
        self.asked: list[tuple[str, float, bool]] = []

    def __call__(self, question: Question, url: str) -> bytes:
        self.asked.append((url, question.seconds, bool(question.body)))
        answer = self.answers.get(url)
        if answer is None:
            raise FetchError("no answer")
        return answer


def gathered(trusting: World, envelope: bytes, network: Network, now: int = NOW) -> tuple[Evidence, dict[str, bytes]]:
    evidence, blobs = trusting.evidence(envelope)

    def keep(data: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return digest

    def file(source: KeySource) -> bytes:
        return Path(source.path).read_bytes()

    found = notation_facts.ask_about_revocation(trusting.requirement, evidence, blobs.__getitem__, file, network, keep, now)
    return found, {role: blobs[digest] for role, digest in found.blobs if role != "envelope"}


def test_who_is_asked_at_the_fetch(trusting: World, pointed: list[Issued]) -> None:
    envelope = jws(pointed)
    network = Network(ocsp=ocsp_answer(pointed), crl=crl_answer(pointed[1]))
    _, kept = gathered(trusting, envelope, network)
    assert network.asked == [(OCSP_URL, 2.0, True)]
    assert list(kept) == ["ocsp-0"]
    assert trusting.judge(envelope, **{name.replace("-", "_"): data for name, data in kept.items()}).outcome == "accepts"
    # Without OCSP the list counts; what is stale, of the future or of a stranger is no answer.
    for bad in (
        None,
        b"junk",
        ocsp_answer(pointed, until=NOW - 1, at=NOW - DAY),
        ocsp_answer(pointed, at=NOW + DAY, until=NOW + 2 * DAY),
        ocsp_answer(pointed, responder=issue("CN=x", key=new_key("P-256", 44))),
    ):
        network = Network(ocsp=bad, crl=crl_answer(pointed[1]))
        _, kept = gathered(trusting, envelope, network)
        assert [url for url, _, _ in network.asked] == [OCSP_URL, CRL_URL]
        assert network.asked[1][1:] == (5.0, False)
        assert list(kept) == ["crl-0"]
    network = Network(crl=crl_answer(pointed[1], until=NOW - 1, at=NOW - DAY))
    assert gathered(trusting, envelope, network)[1] == {}


def test_strangers_do_not_make_us_call_anybody(trusting: World, pointed: list[Issued]) -> None:
    network = Network(ocsp=ocsp_answer(pointed))
    root = issue("C=US,ST=WA,O=Evil,CN=Root", key=new_key("P-256", 45))
    stranger = [issue("C=US,ST=WA,O=Evil,CN=x", root, extra=[ocsp_pointer()]), root]
    gathered(trusting, jws(stranger), network)
    gathered(trusting, b"junk", network)
    gathered(trusting, jws(pointed, sign=lambda *_: bytes(64)), network)
    trusting.policy(signatureVerification={"level": "strict", "override": {"revocation": "skip"}})
    gathered(trusting, jws(pointed), network)
    assert network.asked == []
    odd = code_chain(extra=[crl_pointer("ldap://crl.example/x")])
    trusting.policy()
    gathered(trusting, jws(odd), network)
    assert network.asked == []
    assert "it is not known whether" in trusting.refusal(jws(odd))


def test_answers_of_openssl(trusting: World, pointed: list[Issued], tmp_path: Path) -> None:
    """An OCSP request of ours, answered by ``openssl ocsp`` from an index, and a list by ``openssl ca``."""
    leaf, middle, _ = pointed
    directory = tmp_path / "ca"
    directory.mkdir()
    (directory / "ca.pem").write_bytes(middle.pem)
    (directory / "ca.key").write_bytes(middle.key_pem)
    (directory / "crlnumber").write_text("01\n")
    (directory / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=it\n[it]\ndatabase={directory}/index.txt\ncrlnumber={directory}/crlnumber\n"
        "default_crl_days=1\ndefault_md=sha256\n"
    )
    serial = f"{leaf.certificate.serial_number:X}"
    serial = serial.rjust(len(serial) + len(serial) % 2, "0")

    def run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)

    def answers(line: str) -> tuple[bytes, bytes]:
        (directory / "index.txt").write_text(line)
        signing = ["-rsigner", f"{directory}/ca.pem", "-rkey", f"{directory}/ca.key"]
        run(
            "ocsp",
            "-index",
            f"{directory}/index.txt",
            "-CA",
            f"{directory}/ca.pem",
            *signing,
            "-reqin",
            f"{directory}/request",
            "-respout",
            f"{directory}/response",
            "-ndays",
            "1",
        )
        run(
            "ca",
            "-config",
            f"{directory}/ca.cnf",
            "-gencrl",
            "-keyfile",
            f"{directory}/ca.key",
            "-cert",
            f"{directory}/ca.pem",
            "-out",
            f"{directory}/crl.pem",
        )
        return (directory / "response").read_bytes(), (directory / "crl.pem").read_bytes()

    class Asking(Network):
        def __call__(self, question: Question, url: str) -> bytes:
            if question.body:
                (directory / "request").write_bytes(question.body)
            return super().__call__(question, url)

    envelope = jws(pointed)
    gathered(trusting, envelope, Asking())
    response, listed = answers(f"V\t340101000000Z\t\t{serial}\tunknown\t/CN=signer\n")
    assert trusting.judge(envelope, ocsp_0=response).outcome == "accepts"
    assert trusting.judge(envelope, crl_0=listed).outcome == "accepts"
    response, listed = answers(f"R\t340101000000Z\t240601000000Z,keyCompromise\t{serial}\tunknown\t/CN=signer\n")
    assert "was revoked at 2024-06-01T00:00:00Z" in trusting.refusal(envelope, ocsp_0=response)
    assert "was revoked at 2024-06-01T00:00:00Z" in trusting.refusal(envelope, crl_0=listed)


def test_what_was_answered_before_gives_way_to_what_is_known_now() -> None:
    def kept(envelope: str, **answers: str) -> dict[str, Any]:
        return Evidence(
            "notation", "registry.example", "application/jose+json", (("envelope", envelope), *answers.items())
        ).to_dict()

    good, silent = kept("sha256:1", ocsp="sha256:2"), kept("sha256:1")
    other = kept("sha256:3", ocsp="sha256:2")
    assert united_evidence((good, other), (silent,)) == (silent, other)
    assert united_evidence((good,), (good,)) == (good,)
    assert united_evidence((good, other), ()) == (good, other)
    # Signatures of other kinds have no answers beside them.
    simple = {"family": "simple-signing", "blobs": {"signature": "sha256:4"}}
    assert united_evidence((simple,), (silent,)) == (silent, simple)
