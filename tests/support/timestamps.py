"""Time-stamp tokens for tests: by openssl(1), and built here byte by byte so that every part can be made wrong."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.support.certificates import Issued

OIDS = {
    "sha1": "1.3.14.3.2.26",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CLASSES: dict[str, Any] = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER element, encoded independently of the reader under test."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def oid(dotted: str) -> bytes:
    first, second, *rest = (int(part) for part in dotted.split("."))
    out = b""
    for arc in (first * 40 + second, *rest):
        part = bytes((arc & 0x7F,))
        while arc := arc >> 7:
            part = bytes((arc & 0x7F | 0x80,)) + part
        out += part
    return tlv(6, out)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def hash_algorithm(name: str) -> bytes:
    return sequence(oid(OIDS[name]), tlv(5))


def attribute(kind: str, value: bytes) -> bytes:
    return sequence(oid(kind), tlv(0x31, value))


def make_token(
    message: bytes,
    signer: Issued,
    certificates: Sequence[Issued],
    *,
    when: int,
    fraction: bytes = b"",
    accuracy: bytes = b"",
    imprint_hash: str = "sha256",
    digest: str = "sha256",
    ess_hash: str = "sha256",
    ess_version: int = 2,
    issuer_serial: bool = False,
    by_key_identifier: bool = False,
    named: Issued | None = None,
    salt: int | None = None,
    change_info: Callable[[bytes], bytes] = bytes,
    change_signature: Callable[[bytes], bytes] = bytes,
    info_extra: bytes = b"",
    drop: Sequence[str] = (),
    content_type: str = TST_INFO,
    signers: int = 1,
) -> bytes:
    """A token over ``message`` at ``when`` (seconds since the epoch). ``change_info`` alters the content after it was signed."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(when)).encode() + fraction + b"Z"
    info = sequence(
        integer(1),
        oid("1.2.3.4"),
        sequence(hash_algorithm(imprint_hash), tlv(4, hashlib.new(imprint_hash, message).digest())),
        integer(77),
        tlv(0x18, stamp),
        accuracy,
        info_extra,
    )
    named = named or signer
    issuer = named.certificate.issuer.public_bytes()
    pair = sequence(sequence(tlv(0xA4, issuer)), integer(named.certificate.serial_number)) if issuer_serial else b""
    digest_of_certificate = hashlib.new(ess_hash if ess_version == 2 else "sha1", named.der).digest()
    algorithm_of_id = hash_algorithm(ess_hash) if ess_version == 2 and ess_hash != "sha256" else b""
    ess = sequence(sequence(sequence(algorithm_of_id, tlv(4, digest_of_certificate), pair)))
    attributes = {
        "contentType": attribute("1.2.840.113549.1.9.3", oid(content_type)),
        "messageDigest": attribute("1.2.840.113549.1.9.4", tlv(4, hashlib.new(digest, info).digest())),
        "signingCertificate": attribute("1.2.840.113549.1.9.16.2.47" if ess_version == 2 else "1.2.840.113549.1.9.16.2.12", ess),
    }
    signed = b"".join(value for key, value in attributes.items() if key not in drop)
    algorithm, signature = _sign(signer.key, tlv(0x31, signed), digest, salt)
    if by_key_identifier:
        from cryptography import x509

        held = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        sid = tlv(0x80, held)
    else:
        sid = sequence(signer.certificate.issuer.public_bytes(), integer(signer.certificate.serial_number))
    signer_info = sequence(
        integer(3 if by_key_identifier else 1),
        sid,
        hash_algorithm(digest),
        tlv(0xA0, signed),
        algorithm,
        tlv(4, change_signature(signature)),
    )
    return sequence(
        oid("1.2.840.113549.1.7.2"),
        tlv(
            0xA0,
            sequence(
                integer(3),
                tlv(0x31, hash_algorithm(digest)),
                sequence(oid(TST_INFO), tlv(0xA0, tlv(4, change_info(info)))),
                tlv(0xA0, *(certificate.der for certificate in certificates)) if certificates else b"",
                tlv(0x31, *([signer_info] * signers)),
            ),
        ),
    )


def _sign(key: Any, data: bytes, digest: str, salt: int | None) -> tuple[bytes, bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        if salt is None:
            return sequence(oid("1.2.840.113549.1.1.1"), tlv(5)), key.sign(data, padding.PKCS1v15(), _CLASSES[digest])
        parameters = sequence(
            tlv(0xA0, hash_algorithm(digest)),
            tlv(0xA1, sequence(oid("1.2.840.113549.1.1.8"), hash_algorithm(digest))),
            tlv(0xA2, integer(salt)),
        )
        scheme = padding.PSS(padding.MGF1(_CLASSES[digest]), salt)
        return sequence(oid("1.2.840.113549.1.1.10"), parameters), key.sign(data, scheme, _CLASSES[digest])
    number = {"sha1": "1", "sha256": "3.2", "sha384": "3.3", "sha512": "3.4"}[digest]
    return sequence(oid(f"1.2.840.10045.4.{number}")), key.sign(data, ec.ECDSA(_CLASSES[digest]))


_CONFIG = """
[tsa]
default_tsa = it
[it]
dir = {directory}
serial = {directory}/serial
crypto_device = builtin
signer_cert = {directory}/signer.pem
certs = {directory}/chain.pem
signer_key = {directory}/signer.key
signer_digest = {digest}
default_policy = 1.2.3.4.1
digests = sha1, sha256, sha384, sha512
{accuracy}
ordering = yes
tsa_name = yes
ess_cert_id_chain = {whole}
ess_cert_id_alg = {ess}
"""


def openssl_response(
    directory: Path,
    message: bytes,
    signer: Issued,
    chain: Sequence[Issued],
    *,
    imprint: str = "sha256",
    with_certificates: bool = True,
    **settings: Any,
) -> bytes:
    """A TimeStampResp that ``openssl ts`` made, now."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "message").write_bytes(message)
    query = directory / "query"
    wanted = ("-cert",) if with_certificates else ()
    _openssl("ts", "-query", "-data", str(directory / "message"), f"-{imprint}", *wanted, "-out", str(query))
    return openssl_reply(directory, query.read_bytes(), signer, chain, **settings)


def openssl_reply(
    directory: Path,
    query: bytes,
    signer: Issued,
    chain: Sequence[Issued],
    *,
    digest: str = "sha256",
    ess: str = "sha256",
    whole: bool = False,
    accuracy: str = "accuracy = secs:1, millisecs:500, microsecs:100",
) -> bytes:
    """The answer of ``openssl ts`` to a TimeStampReq."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "serial").write_text("01\n")
    (directory / "signer.pem").write_bytes(signer.pem)
    (directory / "signer.key").write_bytes(signer.key_pem)
    (directory / "chain.pem").write_bytes(b"".join(certificate.pem for certificate in chain))
    (directory / "query").write_bytes(query)
    config = _CONFIG.format(directory=directory, digest=digest, ess=ess, whole="yes" if whole else "no", accuracy=accuracy)
    (directory / "ts.cnf").write_text(config)
    names = ("-config", "ts.cnf"), ("-queryfile", "query"), ("-out", "reply")
    _openssl("ts", "-reply", *[word for flag, name in names for word in (flag, str(directory / name))])
    return (directory / "reply").read_bytes()


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
