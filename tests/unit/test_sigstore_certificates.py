"""``sigstoreSigned`` with certificates, as containers/image has it: Fulcio with a promise of the log, and a CA of one's own."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from rktpy.errors import ConfigError
from rktpy.formats.trust.requirements import PKI, Fulcio, KeySource, SigstoreSigned
from tests.support.certificates import END, START, YEAR, Issued, issue, new_key
from tests.support.sigstore import (
    EMAIL,
    ISSUER,
    SIGNED,
    Deployment,
    Rekor,
    b64,
    hashedrekord,
    payload,
    sign,
    spki_pem,
)
from tests.support.sigstore_policy import ANY_REPOSITORY, DIGEST, OTHER, ask, cosign, sources, why

KEY = new_key("P-256", 50)
CODE = [ExtendedKeyUsageOID.CODE_SIGNING]
GOOD = payload(DIGEST)


@pytest.fixture(scope="module")
def sigstore() -> Deployment:
    return Deployment()


def annotated(leaf: Issued, data: bytes = GOOD, key: Any = KEY, chain: bytes = b"", **more: str) -> Any:
    annotations = {
        "dev.cosignproject.cosign/signature": b64(sign(key, data)),
        "dev.sigstore.cosign/certificate": leaf.pem.decode(),
    }
    if chain:
        annotations["dev.sigstore.cosign/chain"] = chain.decode()
    return cosign(data, annotations | more)


def logged(
    sigstore: Deployment, leaf: Issued, *, when: int = SIGNED, log: Rekor | None = None, data: bytes = GOOD, **body: Any
) -> Any:
    found = annotated(leaf, data, chain=body.pop("chain", sigstore.middle.pem + sigstore.root.pem))
    signature = dict(found[0].annotations)["dev.cosignproject.cosign/signature"]
    import base64

    entry = hashedrekord(base64.b64decode(signature), body.get("verifier", leaf.pem), body.get("artifact", data))
    pairs = (*found[0].annotations, ("dev.sigstore.cosign/bundle", (log or sigstore.rekor).annotation(entry, when=when)))
    return found[0].replace(annotations=pairs), data


def by_fulcio(sigstore: Deployment, ca: bytes = b"", email: str = EMAIL, issuer: str = ISSUER) -> SigstoreSigned:
    fulcio = Fulcio(KeySource(data=ca or sigstore.root.pem), issuer, email)
    return SigstoreSigned("test", (), fulcio, None, sources(spki_pem(sigstore.rekor.key)), ANY_REPOSITORY)


def test_fulcio(sigstore: Deployment) -> None:
    step = ask(by_fulcio(sigstore), logged(sigstore, sigstore.leaf(KEY)))
    assert step.outcome == "accepts"
    assert [one.rule for one in step.steps] == ["signature", "image", "identity", "signer", "transparency log"]
    # The intermediate may stand in the policy instead of the signature.
    both = sigstore.root.pem + sigstore.middle.pem
    assert why(by_fulcio(sigstore, both), logged(sigstore, sigstore.leaf(KEY), chain=b"")) == ""


def test_attacks_on_fulcio(sigstore: Deployment) -> None:
    wanted = by_fulcio(sigstore)
    leaf = sigstore.leaf(KEY)
    evil = issue("O=sigstore,CN=root", key=new_key("P-256", 70))
    stranger = Rekor(key=new_key("P-256", 60))
    cases = [
        (annotated(leaf), "there is no promise of a trusted log"),
        (logged(sigstore, leaf, log=stranger), "there is no promise of a trusted log"),
        (logged(sigstore, leaf, when=SIGNED + 601), "expired at"),
        (logged(sigstore, leaf, when=SIGNED - 61), "is not valid before"),
        (logged(sigstore, leaf, verifier=sigstore.leaf(KEY).pem), "is of another certificate"),
        (logged(sigstore, leaf, verifier=spki_pem(KEY)), "is of another certificate"),
        (logged(sigstore, leaf, artifact=b"x"), "is of another artifact"),
        (logged(sigstore, leaf, chain=b""), "no trusted root issued certificate"),
        (logged(sigstore, sigstore.leaf(KEY, by=evil), chain=evil.pem), "is not signed by"),
        (logged(sigstore, leaf, data=payload(OTHER)), f"it is about {OTHER}"),
        (logged(sigstore, sigstore.leaf(new_key("P-256", 51))), "does not fit what it should sign"),
        (logged(sigstore, sigstore.leaf(KEY, purposes=[])), "is not for code signing"),
        (
            logged(sigstore, sigstore.leaf(KEY, email="bob@example.com")),
            f"the certificate is not for the address '{EMAIL}' (it has bob@example.com)",
        ),
        (logged(sigstore, sigstore.leaf(KEY, uri="https://x.example/")), "(it has none)"),
        (logged(sigstore, sigstore.leaf(KEY, issuer="https://x.example")), "the identity comes from 'https://x.example'"),
        (logged(sigstore, sigstore.leaf(KEY, issuer="")), "does not name the issuer"),
        (logged(sigstore, leaf, chain=sigstore.middle.pem * 11), "has more than 10 certificates"),
    ]
    for found, reason in cases:
        assert reason in why(wanted, found), reason


def test_broken_certificates_of_the_policy(sigstore: Deployment) -> None:
    found = logged(sigstore, sigstore.leaf(KEY))
    for ca, reason in ((b"x", "is not PEM"), (spki_pem(KEY), "holds a PEM block 'PUBLIC KEY' where certificates are due")):
        with pytest.raises(ConfigError, match="CA certificates in the policy") as error:
            why(by_fulcio(sigstore, ca), found)
        assert reason in str(error.value)


# A CA of one's own

ROOT = issue("O=Example,CN=root", key=new_key("P-256", 80))
MIDDLE = issue("O=Example,CN=middle", ROOT, key=new_key("P-256", 81), ca=True, start=START + 2 * YEAR, end=END - YEAR)
NAMES = x509.SubjectAlternativeName(
    [
        x509.RFC822Name("dev@example.com"),
        x509.DNSName("build.example.com"),
        x509.DNSName("*.ci.example.com"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    ]
)
LEAF = issue("O=Example,CN=dev", MIDDLE, key=KEY, purposes=CODE, extra=[(NAMES, False)])
NOW = START + 3 * YEAR


def by_pki(*, roots: bytes = ROOT.pem, middles: bytes = b"", email: str = "dev@example.com", host: str = "") -> SigstoreSigned:
    others = KeySource(data=middles) if middles else None
    pki = PKI(KeySource(data=roots), others, email, host)
    return SigstoreSigned("test", (), None, pki, (), ANY_REPOSITORY)


def test_a_ca_of_ones_own() -> None:
    assert why(by_pki(middles=MIDDLE.pem), annotated(LEAF), now=NOW) == ""
    assert why(by_pki(), annotated(LEAF, chain=MIDDLE.pem + ROOT.pem), now=NOW) == ""
    assert "no trusted root issued certificate" in why(by_pki(), annotated(LEAF), now=NOW)
    direct = issue("O=Example,CN=dev", ROOT, key=KEY, extra=[(NAMES, False)])
    assert why(by_pki(), annotated(direct), now=NOW) == ""


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (START + 2 * YEAR - 1, "is not valid yet"),
        (START + 2 * YEAR, ""),
        (END - YEAR, ""),
        (END - YEAR + 1, "has expired"),
    ],
)
def test_the_clock_counts_for_every_certificate(now: int, state: str) -> None:
    """The fact is the same at any time; the clock is asked when it is judged."""
    told = why(by_pki(middles=MIDDLE.pem), annotated(LEAF), now=now)
    assert state in told
    assert bool(told) == bool(state)


def test_one_certificate_after_another() -> None:
    """Two intermediates that follow each other give two periods, with a gap that belongs to none."""
    first = issue("O=Example,CN=middle", ROOT, key=new_key("P-256", 81), ca=True, start=START, end=START + YEAR)
    second = issue("O=Example,CN=middle", ROOT, key=new_key("P-256", 81), ca=True, start=START + 2 * YEAR, end=START + 3 * YEAR)
    wanted = by_pki(middles=first.pem + second.pem)
    for now, accepted in ((START, True), (START + YEAR, True), (START + YEAR + 1, False), (START + 2 * YEAR, True)):
        assert (why(wanted, annotated(LEAF), now=now) == "") == accepted, now
    assert "has expired" in why(wanted, annotated(LEAF), now=START + 3 * YEAR + 1)


def test_names_of_a_ca_of_ones_own() -> None:
    def told(**names: str) -> str:
        return why(by_pki(middles=MIDDLE.pem, **names), annotated(LEAF), now=NOW)

    assert "not for the address 'other@example.com' (it has dev@example.com)" in told(email="other@example.com")
    for host in ("build.example.com", "BUILD.example.com", "a.ci.example.com", "192.0.2.1"):
        assert told(email="", host=host) == "", host
    for host in ("example.com", "ci.example.com", "a.b.ci.example.com", "192.0.2.2", "xbuild.example.com"):
        assert f"the certificate is not for the host '{host}'" in told(email="", host=host), host
    assert "not for the host" in told(host="other.example.com")


def test_attacks_on_a_ca_of_ones_own() -> None:
    wanted = by_pki(middles=MIDDLE.pem)
    server = [ExtendedKeyUsageOID.SERVER_AUTH]
    no_ca = issue("O=Example,CN=middle", ROOT, key=new_key("P-256", 81), ca=False)
    cases = [
        (wanted, issue("O=Example,CN=dev", MIDDLE, key=KEY, purposes=server, extra=[(NAMES, False)]), "not for code signing"),
        (
            wanted,
            issue("O=Example,CN=dev", MIDDLE, key=KEY, usage=("key_encipherment",), extra=[(NAMES, False)]),
            "does not allow signatures",
        ),
        (wanted, issue("O=Example,CN=dev", key=KEY, ca=False, extra=[(NAMES, False)]), "no trusted root issued certificate"),
        (by_pki(middles=no_ca.pem), LEAF, "is not a CA"),
        (by_pki(roots=issue("O=Example,CN=root", key=new_key("P-256", 82)).pem, middles=MIDDLE.pem), LEAF, "is not signed by"),
    ]
    for requirement, leaf, reason in cases:
        assert reason in why(requirement, annotated(leaf), now=NOW), reason
    assert "does not fit" in why(wanted, annotated(LEAF, key=new_key("P-256", 51)), now=NOW)
    assert f"it is about {OTHER}" in why(wanted, annotated(LEAF, payload(OTHER)), now=NOW)
