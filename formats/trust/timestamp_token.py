"""RFC 3161 time-stamp tokens: the CMS structure around a ``TSTInfo``, read strictly as DER.

RFC 3161 section 2.4.2 (TimeStampResp, TSTInfo), RFC 5652 sections 5 and 11 (SignedData, signed attributes), RFC 5035 section 3
(signingCertificateV2), RFC 5816. Nothing is verified here.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import der
from rktpy.formats.der import Element, Members
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Larger tokens are not read, in bytes. An honest one with its certificates has 3 to 8 KiB.
MAX_SIZE = 64 << 10
MAX_CERTIFICATES = 16
_MAX_ATTRIBUTES = 32

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.12"
_SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"

#: Hash functions by OID. SHA-1 and MD5 are named so that they can be refused by name.
HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_WEAK = {"1.3.14.3.2.26": "SHA-1", "1.2.840.113549.2.5": "MD5", "2.16.840.1.101.3.4.2.4": "SHA-224"}


class PssParameters(Record):
    """RSASSA-PSS parameters: hash, hash of MGF1, salt length in bytes."""

    hash: str
    mgf_hash: str
    salt: int


class Token(Record):
    """What a time-stamp token says.

    ``imprint_hash`` and ``imprint`` are the hash function and digest of the stamped bytes; ``seconds`` and ``microseconds`` the
    time since the epoch; ``accuracy`` is in microseconds (0 also when it is not stated). ``info`` is the signed
    ``TSTInfo``, ``digest`` its hash (``digest_hash``) by the signed attributes, ``signed`` the bytes that ``signature`` is over.
    ``certificate_hash`` and ``certificate_digest`` name the signer's certificate, ``certificate_issuer`` is its serial number
    and DER issuer when they are told beside it. The signer is also named by ``serial_issuer`` or by ``key_identifier`` (subject
    key identifier); one of these two is empty. ``algorithm`` is the signature algorithm's OID.
    """

    imprint_hash: str
    imprint: bytes
    seconds: int
    microseconds: int
    accuracy: int
    accuracy_stated: bool
    policy: str
    serial: int
    info: bytes
    digest_hash: str
    digest: bytes
    signed: bytes
    certificate_hash: str
    certificate_digest: bytes
    certificate_issuer: tuple[int, bytes] | None
    serial_issuer: tuple[int, bytes] | None
    key_identifier: bytes
    algorithm: str
    pss: PssParameters | None
    signature: bytes
    certificates: tuple[bytes, ...]


def token_of_response(data: bytes, what: str = "time-stamp response") -> bytes:
    """The token inside of a DER ``TimeStampResp``, the form in which sigstore bundles keep it.

    Raises :class:`FormatError`, also for a response that refuses the request.
    """
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    response = der.parse(data, what).members()
    status = response.take(der.SEQUENCE, "status").members()
    code = status.take(der.INTEGER, "status").integer()
    if code not in (0, 1):
        raise FormatError(what, "status", f"the authority did not grant a time stamp (status {code})")
    status.optional(der.SEQUENCE, "statusString")
    status.optional(der.BIT_STRING, "failInfo")
    status.finish()
    token = response.take(der.SEQUENCE, "timeStampToken")
    response.finish()
    return token.raw


def parse(data: bytes, what: str = "time-stamp token") -> Token:
    """Read a token (a CMS ContentInfo). Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    info = der.parse(data, what).members()
    kind = info.take(der.OID, "contentType")
    if kind.oid() != _SIGNED_DATA:
        raise kind.refuse("is not CMS signed data")
    signed = info.take(der.context(0), "content").inner().members()
    info.finish()
    signed.take(der.INTEGER, "version")
    signed.take(der.SET, "digestAlgorithms")
    tst = _content(signed.take(der.SEQUENCE, "encapContentInfo"))
    certificates: tuple[bytes, ...] = ()
    if found := signed.optional(der.context(0), "certificates"):
        # Attribute certificates and the like have tags of their own, and prove nothing here.
        items = found.items(found.tag, MAX_CERTIFICATES)
        certificates = tuple(item.raw for item in items if item.tag == der.SEQUENCE)
    signed.optional(der.context(1), "crls")
    signers = signed.take(der.SET, "signerInfos")
    signed.finish()
    infos = signers.items(der.SET, MAX_CERTIFICATES)
    if len(infos) != 1:
        raise signers.refuse(f"has {len(infos)} signers, one is due")
    return Token(**_tst_info(tst, what), **_signer_info(infos[0].members()), certificates=certificates)


def hash_of(algorithm: Element) -> str:
    """The hash function that an AlgorithmIdentifier names. Raises :class:`FormatError`."""
    members = algorithm.members()
    oid = members.take(der.OID, "algorithm").oid()
    if null := members.optional(der.NULL, "parameters"):
        _empty(null)
    members.finish()
    name = HASHES.get(oid)
    if name is None:
        raise algorithm.refuse(f"is {_WEAK[oid]}, which is too weak" if oid in _WEAK else f"is the unknown hash function {oid}")
    return name


def _content(element: Element) -> Element:
    members = element.members()
    kind = members.take(der.OID, "eContentType")
    if kind.oid() != _TST_INFO:
        raise kind.refuse("is not a time-stamp token")
    content = members.take(der.context(0), "eContent").inner().expect(der.OCTET_STRING)
    members.finish()
    return content


def _tst_info(content: Element, what: str) -> dict[str, Any]:
    info = der.parse(content.content, f"{what}: TSTInfo").members()
    version = info.take(der.INTEGER, "version")
    if version.integer() != 1:
        raise version.refuse(f"is {version.integer()}, not 1")
    policy = info.take(der.OID, "policy").oid()
    imprint = info.take(der.SEQUENCE, "messageImprint").members()
    imprint_hash = hash_of(imprint.take(der.SEQUENCE, "hashAlgorithm"))
    hashed = imprint.take(der.OCTET_STRING, "hashedMessage")
    imprint.finish()
    serial = info.take(der.INTEGER, "serialNumber").integer()
    seconds, microseconds = info.take(der.GENERALIZED_TIME, "genTime").generalized_time()
    accuracy = info.optional(der.SEQUENCE, "accuracy")
    if ordering := info.optional(der.BOOLEAN, "ordering"):
        ordering.boolean()
    if nonce := info.optional(der.INTEGER, "nonce"):
        nonce.integer()
    info.optional(der.context(0), "tsa")
    if extensions := info.optional(der.context(1), "extensions"):
        _no_critical(extensions)
    info.finish()
    return {
        "imprint_hash": imprint_hash,
        "imprint": hashed.content,
        "seconds": seconds,
        "microseconds": microseconds,
        "accuracy": _accuracy(accuracy) if accuracy else 0,
        "accuracy_stated": accuracy is not None,
        "policy": policy,
        "serial": serial,
        "info": content.content,
    }


def _accuracy(element: Element) -> int:
    members = element.members()
    total = 0
    for tag, name, unit, limit in (
        (der.INTEGER, "seconds", 1_000_000, 10_000_000),
        (der.context(0, constructed=False), "millis", 1000, 999),
        (der.context(1, constructed=False), "micros", 1, 999),
    ):
        if found := members.optional(tag, name):
            value = found.integer()
            if not 0 <= value <= limit:
                raise found.refuse(f"is {value}, which is out of range")
            total += value * unit
    members.finish()
    return total


def _no_critical(extensions: Element) -> None:
    for extension in extensions.items(extensions.tag, _MAX_ATTRIBUTES):
        members = extension.members()
        oid = members.take(der.OID, "extnID").oid()
        critical = members.optional(der.BOOLEAN, "critical")
        members.take(der.OCTET_STRING, "extnValue")
        members.finish()
        if critical and critical.boolean():
            raise extension.refuse(f"is the unknown critical extension {oid}")


def _signer_info(members: Members) -> dict[str, Any]:
    members.take(der.INTEGER, "version")
    serial_issuer: tuple[int, bytes] | None = None
    key_identifier = b""
    if identifier := members.optional(der.context(0, constructed=False), "sid"):
        key_identifier = identifier.content
    else:
        sid = members.take(der.SEQUENCE, "sid").members()
        issuer = sid.take(der.SEQUENCE, "issuer").raw
        serial_issuer = (sid.take(der.INTEGER, "serialNumber").integer(), issuer)
        sid.finish()
    digest_hash = hash_of(members.take(der.SEQUENCE, "digestAlgorithm"))
    attributes = members.take(der.context(0), "signedAttrs")
    algorithm, pss = _algorithm(members.take(der.SEQUENCE, "signatureAlgorithm"))
    signature = members.take(der.OCTET_STRING, "signature").content
    members.optional(der.context(1), "unsignedAttrs")
    members.finish()
    return {
        **_attributes(attributes),
        "digest_hash": digest_hash,
        # RFC 5652 section 5.4: the signature is over the attributes as a SET, not with their tag in the message.
        "signed": bytes((der.SET,)) + attributes.raw[1:],
        "serial_issuer": serial_issuer,
        "key_identifier": key_identifier,
        "algorithm": algorithm,
        "pss": pss,
        "signature": signature,
    }


def _attributes(element: Element) -> dict[str, Any]:
    values: dict[str, Element] = {}
    for attribute in element.items(element.tag, _MAX_ATTRIBUTES):
        members = attribute.members()
        oid = members.take(der.OID, "attrType").oid()
        held = members.take(der.SET, "attrValues")
        members.finish()
        if oid in values:
            raise attribute.refuse(f"is a second attribute {oid}")
        values[oid] = held
    kind = _only(values, _CONTENT_TYPE, "contentType", element).expect(der.OID)
    if kind.oid() != _TST_INFO:
        raise kind.refuse("contentType is not that of the content")
    digest = _only(values, _MESSAGE_DIGEST, "messageDigest", element).expect(der.OCTET_STRING).content
    if _SIGNING_CERTIFICATE_V2 not in values and _SIGNING_CERTIFICATE in values:
        raise element.refuse("name the signer's certificate by SHA-1 only (signingCertificate), which is too weak")
    certificate = _only(values, _SIGNING_CERTIFICATE_V2, "signingCertificateV2", element)
    return {"digest": digest, **_signing_certificate(certificate)}


def _only(values: dict[str, Element], oid: str, name: str, attributes: Element) -> Element:
    held = values.get(oid)
    if held is None:
        raise attributes.refuse(f"lack {name}")
    return held.inner()


def _signing_certificate(element: Element) -> dict[str, Any]:
    members = element.members()
    certificates = members.take(der.SEQUENCE, "certs").items(der.SEQUENCE, MAX_CERTIFICATES)
    members.optional(der.SEQUENCE, "policies")
    members.finish()
    if not certificates:
        raise element.refuse("names no certificate")
    # RFC 5035 section 3: the first one is the signer's, others restrict its path.
    first = certificates[0].members()
    algorithm = first.optional(der.SEQUENCE, "hashAlgorithm")
    digest = first.take(der.OCTET_STRING, "certHash").content
    issuer_serial = first.optional(der.SEQUENCE, "issuerSerial")
    first.finish()
    return {
        "certificate_hash": hash_of(algorithm) if algorithm else "sha256",
        "certificate_digest": digest,
        "certificate_issuer": _issuer_serial(issuer_serial) if issuer_serial else None,
    }


def _issuer_serial(element: Element) -> tuple[int, bytes]:
    members = element.members()
    names = members.take(der.SEQUENCE, "issuer")
    serial = members.take(der.INTEGER, "serialNumber").integer()
    members.finish()
    return serial, names.inner().expect(der.context(4)).inner().expect(der.SEQUENCE).raw


def _algorithm(element: Element) -> tuple[str, PssParameters | None]:
    members = element.members()
    oid = members.take(der.OID, "algorithm").oid()
    if oid != "1.2.840.113549.1.1.10":
        if null := members.optional(der.NULL, "parameters"):
            _empty(null)
        members.finish()
        return oid, None
    parameters = members.take(der.SEQUENCE, "parameters").members()
    members.finish()
    digest = parameters.optional(der.context(0), "hashAlgorithm")
    mask = parameters.optional(der.context(1), "maskGenAlgorithm")
    salt = parameters.optional(der.context(2), "saltLength")
    trailer = parameters.optional(der.context(3), "trailerField")
    parameters.finish()
    if digest is None or mask is None or salt is None or trailer is not None:
        raise element.refuse("has RSA-PSS parameters that default to SHA-1, which is too weak")
    generator = mask.inner().members()
    if generator.take(der.OID, "algorithm").oid() != "1.2.840.113549.1.1.8":
        raise element.refuse("has a mask generation function other than MGF1")
    mgf_hash = hash_of(generator.take(der.SEQUENCE, "parameters"))
    generator.finish()
    length = salt.inner().expect(der.INTEGER).integer()
    if not 0 <= length <= 64:
        raise element.refuse(f"has a salt of {length} bytes")
    return oid, PssParameters(hash_of(digest.inner()), mgf_hash, length)


def _empty(null: Element) -> None:
    if null.content:
        raise null.refuse("is not a DER NULL")


def request(hash_name: str, digest: bytes) -> bytes:
    """A TimeStampReq (RFC 3161 section 2.4.1) for a digest by ``hash_name``, that asks for the authority's certificates."""
    oid = next(oid for oid, name in HASHES.items() if name == hash_name)
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(oid) + der.encode(der.NULL, b""))
    imprint = der.encode(der.SEQUENCE, algorithm + der.encode(der.OCTET_STRING, digest))
    version = der.encode(der.INTEGER, b"\x01")
    return der.encode(der.SEQUENCE, version + imprint + der.encode(der.BOOLEAN, b"\xff"))
