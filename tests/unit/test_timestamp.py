"""RFC 3161 time-stamp tokens: those of openssl(1), and a table of wrong ones, each refused with its own reason."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from rktpy.errors import FormatError
from rktpy.formats.trust import timestamp_token
from rktpy.trust.timestamp import Authority, verify_token
from tests.support.certificates import END, START, YEAR, Issued, issue, new_key, tsa_chain
from tests.support.timestamps import integer, make_token, oid, openssl_response, sequence, tlv

MESSAGE = b"the bytes of a signature"
WHEN = START + YEAR


@pytest.fixture(scope="module")
def tsa() -> tuple[Issued, Issued, Issued]:
    return tsa_chain()


def authority(root: Issued, *others: Issued, **changes: Any) -> Authority:
    return Authority((root.der,), tuple(other.der for other in others)).replace(**changes)


def problem(token: bytes, *authorities: Authority, message: bytes = MESSAGE) -> str:
    fact = verify_token(token, message, authorities)
    assert list(fact) == ["problem"], fact
    text = fact["problem"]
    assert text.isprintable() and text[0].islower()
    return str(text)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA-2048"])
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_what_openssl_stamps_is_believed(tmp_path: Path, kind: str, digest: str) -> None:
    root, middle, signer = tsa_chain(kind=kind)
    before = int(time.time())
    response = openssl_response(tmp_path, MESSAGE, signer, [middle], imprint=digest, digest=digest, ess=digest)
    after = int(time.time())
    fact = verify_token(timestamp_token.token_of_response(response), MESSAGE, [authority(root)])
    assert "problem" not in fact, fact
    assert before <= fact["time"] <= after
    # One and a half seconds and 100 microseconds of accuracy around the time.
    assert (fact["earliest"], fact["latest"]) == (fact["time"] - 2, fact["time"] + 2)
    assert fact["tsa"] == "CN=TSA,O=Time,ST=WA,C=US"
    assert fact["certificate"] == signer.certificate.fingerprint(hashes.SHA256()).hex()
    assert fact["root"] == root.certificate.fingerprint(hashes.SHA256()).hex()


def test_a_token_without_certificates_and_one_that_names_the_whole_chain(tmp_path: Path) -> None:
    root, middle, signer = tsa_chain()
    bare = openssl_response(tmp_path / "bare", MESSAGE, signer, [middle], with_certificates=False)
    token = timestamp_token.token_of_response(bare)
    assert "is not there" in problem(token, authority(root))
    assert "time" in verify_token(token, MESSAGE, [authority(root, middle, signer=signer.der)])
    whole = openssl_response(tmp_path / "whole", MESSAGE, signer, [middle], whole=True)
    assert "time" in verify_token(timestamp_token.token_of_response(whole), MESSAGE, [authority(root)])


def test_a_token_of_openssl_with_a_weak_hash_is_refused(tmp_path: Path) -> None:
    root, middle, signer = tsa_chain()
    imprint = openssl_response(tmp_path / "a", MESSAGE, signer, [middle], imprint="sha1")
    assert "SHA-1, which is too weak" in problem(timestamp_token.token_of_response(imprint), authority(root))
    ess = openssl_response(tmp_path / "b", MESSAGE, signer, [middle], ess="sha1")
    assert "SHA-1 only" in problem(timestamp_token.token_of_response(ess), authority(root))


def test_forms_that_are_right(tsa: tuple[Issued, Issued, Issued]) -> None:
    root, middle, signer = tsa
    chain = [signer, middle]
    trusted = authority(root)
    for changes in (
        {},
        {"issuer_serial": True},
        {"by_key_identifier": True},
        {"fraction": b".25"},
        {"info_extra": tlv(1, b"\xff") + integer(-9) + tlv(0xA0, tlv(0xA4, signer.certificate.subject.public_bytes()))},
        {"imprint_hash": "sha512", "digest": "sha384", "ess_hash": "sha512"},
    ):
        settings: dict[str, Any] = changes
        assert verify_token(make_token(MESSAGE, signer, chain, when=WHEN, **settings), MESSAGE, [trusted])["time"] == WHEN
    plain = make_token(MESSAGE, signer, chain, when=WHEN)
    other = authority(issue("C=US,ST=WA,O=Other,CN=Root", key=new_key("P-256", 3)))
    assert "time" in verify_token(plain, MESSAGE, [other, trusted])
    rsa_root, rsa_middle, rsa_signer = tsa_chain(kind="RSA-2048")
    pss = make_token(MESSAGE, rsa_signer, [rsa_middle, rsa_signer], when=WHEN, salt=32)
    assert "time" in verify_token(pss, MESSAGE, [authority(rsa_root)])
    chained = Authority.from_chain([signer.der, middle.der, root.der], START, END)
    assert "time" in verify_token(plain, MESSAGE, [chained])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"change_info": lambda info: info[:-3] + b"01Z"}, "the message digest does not match the content"),
        ({"change_signature": lambda held: held[:-1] + bytes((held[-1] ^ 1,))}, "the signature is wrong"),
        ({"change_signature": lambda held: b""}, "the signature is wrong"),
        ({"imprint_hash": "sha1"}, "is SHA-1, which is too weak"),
        ({"digest": "sha1"}, "is SHA-1, which is too weak"),
        ({"ess_version": 1}, "by SHA-1 only"),
        ({"drop": ["contentType"]}, "lack contentType"),
        ({"drop": ["messageDigest"]}, "lack messageDigest"),
        ({"drop": ["signingCertificate"]}, "lack signingCertificateV2"),
        ({"content_type": "1.2.840.113549.1.7.1"}, "contentType is not that of the content"),
        ({"signers": 2}, "has 2 signers, one is due"),
        ({"signers": 0}, "has 0 signers, one is due"),
        ({"info_extra": tlv(0xA1, sequence(oid("1.2.3"), tlv(1, b"\xff"), tlv(4)))}, "unknown critical extension 1.2.3"),
        ({"info_extra": tlv(4)}, "has members that do not belong there"),
        ({"accuracy": sequence(tlv(0x80, b"\x03\xe8"))}, "is 1000, which is out of range"),
        ({"fraction": b".50"}, "a fraction of a second that is not DER"),
        ({"when": END + 1}, "expired at 2034-01-01T00:00:00Z"),
        ({"when": END, "accuracy": sequence(integer(1))}, "expired at"),
        ({"when": START - 1}, "is not valid before 2024-01-01T00:00:00Z"),
        ({"when": START, "accuracy": sequence(integer(1))}, "is not valid before"),
    ],
)
def test_a_wrong_token_is_refused(tsa: tuple[Issued, Issued, Issued], changes: dict[str, Any], reason: str) -> None:
    root, middle, signer = tsa
    token = make_token(MESSAGE, signer, [signer, middle], **({"when": WHEN} | changes))
    assert reason in problem(token, authority(root))


def test_a_token_over_other_bytes_or_of_an_authority_that_is_not_trusted(tsa: tuple[Issued, Issued, Issued]) -> None:
    root, middle, signer = tsa
    token = make_token(MESSAGE, signer, [signer, middle], when=WHEN)
    assert "is over other bytes" in problem(token, authority(root), message=MESSAGE + b".")
    assert "no time-stamping authority is trusted" in problem(token)
    stranger = issue("C=US,ST=WA,O=Other,CN=Root", key=new_key("P-256", 3))
    assert "no trusted root issued certificate" in problem(token, authority(stranger))
    namesake = issue("C=US,ST=WA,O=Time,CN=TSA Root", key=new_key("P-256", 4))
    assert "is not signed by" in problem(token, authority(namesake))
    early = authority(root, starts=WHEN + 1)
    assert f"was not trusted at {time.strftime('%Y', time.gmtime(WHEN))}" in problem(token, early)
    assert "was not trusted at" in problem(token, authority(root, ends=WHEN - 1))
    assert "is not that of the trusted authority" in problem(token, authority(root, signer=middle.der))
    # Whoever holds the intermediate's certificate only, holds no root.
    assert "no trusted root" in problem(token, Authority((), (middle.der, root.der)))


def test_the_signer_is_the_one_that_the_attributes_name(tsa: tuple[Issued, Issued, Issued]) -> None:
    root, middle, signer = tsa
    twin = tsa_chain()[2]
    token = make_token(MESSAGE, signer, [signer, middle, twin], when=WHEN, named=twin)
    assert "is not the one that signingCertificateV2 names" in problem(token, authority(root))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purposes": []}, "does not have timeStamping as its only extended key usage"),
        ({"purposes": [ExtendedKeyUsageOID.CODE_SIGNING]}, "does not have timeStamping as its only"),
        (
            {"purposes": [ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH]},
            "does not have timeStamping as its only",
        ),
        ({"purposes_critical": False}, "is not critical"),
        ({"usage": ["key_encipherment"]}, "does not allow signatures"),
        ({"digest": hashes.SHA224()}, "is signed with sha224, which is too weak"),
        ({"key": new_key("P-224")}, "weak curve secp224r1"),
        (
            {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]},
            "critical extension 1.2.3.4",
        ),
        ({"end": START + 10}, "expired at"),
    ],
)
def test_a_certificate_that_may_not_stamp_is_refused(changes: dict[str, Any], reason: str) -> None:
    root, middle, signer = tsa_chain(**changes)
    token = make_token(MESSAGE, signer, [signer, middle], when=WHEN)
    assert reason in problem(token, authority(root))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ca": False, "usage": ["key_cert_sign"]}, "is not a CA"),
        ({"usage": ["crl_sign"]}, "may not sign certificates"),
        ({"usage": []}, "has no key usage"),
        ({"purposes": [ExtendedKeyUsageOID.CODE_SIGNING]}, "is not for this purpose"),
        ({"end": START + 10}, "expired at"),
    ],
)
def test_an_intermediate_that_may_not_issue_is_refused(changes: dict[str, Any], reason: str) -> None:
    root = issue("C=US,ST=WA,O=Time,CN=TSA Root", key=new_key("P-256", 10))
    middle = issue("C=US,ST=WA,O=Time,CN=TSA CA", root, key=new_key("P-256", 11), **({"ca": True} | changes))
    signer = issue("C=US,ST=WA,O=Time,CN=TSA", middle, purposes=[ExtendedKeyUsageOID.TIME_STAMPING], purposes_critical=True)
    token = make_token(MESSAGE, signer, [signer, middle], when=WHEN)
    assert reason in problem(token, authority(root))


def test_a_path_length_is_kept(tsa: tuple[Issued, Issued, Issued]) -> None:
    root = issue("C=US,ST=WA,O=Time,CN=TSA Root", key=new_key("P-256", 10), path_length=0)
    middle, signer = tsa[1], tsa[2]
    token = make_token(MESSAGE, signer, [signer, middle], when=WHEN)
    assert "allows only 0 CAs below itself" in problem(token, authority(root))


def test_certificates_that_multiply_paths_do_not_stall(tsa: tuple[Issued, Issued, Issued]) -> None:
    # Ten CAs of one name that certify one another: the paths among them are many.
    keys = [new_key("P-256", 20 + number) for number in range(10)]
    made = [
        issue("CN=Loop", Issued(issue("CN=Loop", key=keys[other]).certificate, keys[other]), key=keys[number], ca=True)
        for number in range(4)
        for other in range(4)
        if number != other
    ]
    signer = issue("CN=TSA", made[0], purposes=[ExtendedKeyUsageOID.TIME_STAMPING], purposes_critical=True)
    token = make_token(MESSAGE, signer, [signer, *made], when=WHEN)
    assert "gave up the search" in problem(token, authority(tsa[0]))


def test_a_response_that_grants_nothing() -> None:
    with pytest.raises(FormatError, match="did not grant"):
        timestamp_token.token_of_response(sequence(sequence(integer(2))))
    with pytest.raises(FormatError, match="timeStampToken: is missing"):
        timestamp_token.token_of_response(sequence(sequence(integer(0))))


def test_oversized_and_broken_tokens(tsa: tuple[Issued, Issued, Issued]) -> None:
    root, middle, signer = tsa
    token = make_token(MESSAGE, signer, [signer, middle], when=WHEN)
    assert "is larger than 65536 bytes" in problem(token + b"\0" * 65536, authority(root))
    assert "has bytes after its end" in problem(token + b"\0", authority(root))
    assert "is cut off" in problem(token[:-1], authority(root))
    assert "is empty" in problem(b"", authority(root))
    indefinite = b"\x30\x80" + token[4:] + b"\0\0"
    assert "indefinite" in problem(indefinite, authority(root))
    flood = make_token(MESSAGE, signer, [signer] * 17, when=WHEN)
    assert "holds more than 16 elements" in problem(flood, authority(root))


def test_every_flipped_byte_is_refused_or_changes_nothing_that_was_proved(tsa: tuple[Issued, Issued, Issued]) -> None:
    root, middle, signer = tsa
    token = make_token(MESSAGE, signer, [signer, middle], when=WHEN)
    good = verify_token(token, MESSAGE, [authority(root)])
    for position in range(0, len(token)):
        for bit in (0x01, 0x80):
            changed = bytearray(token)
            changed[position] ^= bit
            fact = verify_token(bytes(changed), MESSAGE, [authority(root)])
            assert "problem" in fact or fact == good, (position, bit)
