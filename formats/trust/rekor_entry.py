"""Entries of the Rekor transparency log: what their bodies say was signed, by whom, and over what.

Rekor's ``pkg/types``: hashedrekord 0.0.1, dsse 0.0.1, intoto 0.0.1 and 0.0.2; Rekor 2's ``hashedrekord.proto``: hashedrekord
0.0.2. The body is what the log's hashes are over, so it is read strictly: a member that is not known is an error.

Cold-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.members import join, shown
from rktpy.formats.trust import base64_strict, pem
from rktpy.formats.trust.fields import Fields
from rktpy.record import Record

#: Largest body in bytes. Rekor takes larger ones, but those of signatures of images hold digests only.
MAX_BODY = 256 << 10
_MAX_SIGNATURE = 8192
_MAX_VERIFIER = 64 << 10

#: The digest is of the artifact that was signed: the payload, or the encoding of an envelope under Rekor 2.
ARTIFACT = "artifact"
#: The digest is of the payload inside a DSSE envelope.
ENVELOPE_PAYLOAD = "payload"
#: The digest is of the JSON of a DSSE envelope, byte for byte, so that it covers the signature.
ENVELOPE = "envelope"

_HASHES = {"sha256": 32, "sha384": 48, "sha512": 64}
_HASHES_V2 = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


class RekorBody(Record):
    """What an entry binds together.

    ``verifier`` is the DER of the public key or certificate, ``certificate`` says which. ``digest`` (``sha256:…``) is that of the
    ``covers`` (:data:`ARTIFACT`, :data:`ENVELOPE_PAYLOAD` or :data:`ENVELOPE`; with the last, ``signature`` is empty).
    """

    kind: str
    version: str
    signature: bytes
    verifier: bytes
    certificate: bool
    covers: str
    digest: str

    @property
    def second_generation(self) -> bool:
        """Whether it is of Rekor 2, which promises nothing and knows no time."""
        return self.kind == "hashedrekord" and self.version == "0.0.2"


def parse_body(data: bytes, what: str) -> RekorBody:
    """Read the body of an entry; ``what`` names it in errors. Raises :class:`FormatError`."""
    if len(data) > MAX_BODY:
        raise FormatError(what, "", f"is larger than {MAX_BODY} bytes")
    top = Fields(jsondoc.parse_object(data, what), what, "", ("apiVersion", "kind", "spec"))
    kind, version = top.text("kind"), top.text("apiVersion")
    reader = _READERS.get((kind, version))
    if reader is None:
        raise FormatError(what, "kind", f"{shown(f'{kind} {version}'[:80])!r} is not a supported kind of entry")
    return reader(top, kind, version)


def _hashedrekord(top: Fields, kind: str, version: str) -> RekorBody:
    spec = top.inside("spec", ("data", "signature"))
    signature = spec.inside("signature", ("content", "publicKey"))
    key = signature.inside("publicKey", ("content",))
    verifier, certificate = _pem_verifier(key, "content")
    digest = _digest(spec.inside("data", ("hash",)).inside("hash", ("algorithm", "value")))
    return RekorBody(kind, version, signature.data("content", _MAX_SIGNATURE), verifier, certificate, ARTIFACT, digest)


def _hashedrekord_2(top: Fields, kind: str, version: str) -> RekorBody:
    record = top.inside("spec", ("hashedRekordV002",)).inside("hashedRekordV002", ("data", "signature"))
    hashed = record.inside("data", ("algorithm", "digest"))
    algorithm = _HASHES_V2[hashed.one_of("algorithm", tuple(_HASHES_V2))]
    digest = hashed.data("digest", 64)
    if len(digest) != _HASHES[algorithm]:
        raise hashed.error("digest", f"must be {_HASHES[algorithm]} bytes")
    signature = record.inside("signature", ("content", "verifier"))
    verifier = signature.inside("verifier", ("publicKey", "x509Certificate", "keyDetails"))
    verifier.text("keyDetails")
    if verifier.has("publicKey") == verifier.has("x509Certificate"):
        raise signature.error("verifier", "must hold either publicKey or x509Certificate")
    name = "x509Certificate" if verifier.has("x509Certificate") else "publicKey"
    material = verifier.inside(name, ("rawBytes",)).data("rawBytes", _MAX_VERIFIER)
    return RekorBody(
        kind,
        version,
        signature.data("content", _MAX_SIGNATURE),
        material,
        name == "x509Certificate",
        ARTIFACT,
        f"{algorithm}:{digest.hex()}",
    )


def _dsse(top: Fields, kind: str, version: str) -> RekorBody:
    spec = top.inside("spec", ("envelopeHash", "payloadHash", "signatures"))
    # The envelope's own hash is over JSON that nobody canonicalised; what it would bind is bound by signature and payload.
    _digest(spec.inside("envelopeHash", ("algorithm", "value")))
    signatures = spec.each("signatures", 16, ("signature", "verifier"))
    if len(signatures) != 1:
        raise spec.error("signatures", f"must hold exactly one signature, not {len(signatures)}")
    verifier, certificate = _pem_verifier(signatures[0], "verifier")
    signature = signatures[0].data("signature", _MAX_SIGNATURE)
    digest = _digest(spec.inside("payloadHash", ("algorithm", "value")))
    return RekorBody(kind, version, signature, verifier, certificate, ENVELOPE_PAYLOAD, digest)


def _intoto_1(top: Fields, kind: str, version: str) -> RekorBody:
    spec = top.inside("spec", ("content", "publicKey"))
    content = spec.inside("content", ("hash", "payloadHash"))
    if content.has("payloadHash"):
        _digest(content.inside("payloadHash", ("algorithm", "value")))
    verifier, certificate = _pem_verifier(spec, "publicKey")
    digest = _digest(content.inside("hash", ("algorithm", "value")))
    return RekorBody(kind, version, b"", verifier, certificate, ENVELOPE, digest)


def _intoto_2(top: Fields, kind: str, version: str) -> RekorBody:
    content = top.inside("spec", ("content",)).inside("content", ("envelope", "hash", "payloadHash"))
    _digest(content.inside("hash", ("algorithm", "value")))
    envelope = content.inside("envelope", ("payloadType", "signatures"))
    envelope.text("payloadType")
    signatures = envelope.each("signatures", 16, ("keyid", "publicKey", "sig"))
    if len(signatures) != 1:
        raise envelope.error("signatures", f"must hold exactly one signature, not {len(signatures)}")
    one = signatures[0]
    verifier, certificate = _pem_verifier(one, "publicKey")
    # This kind encodes the envelope's base64 text once more.
    inner = one.data("sig", 2 * _MAX_SIGNATURE).decode("latin-1")
    signature = base64_strict.decode(inner, one.what, join(one.path, "sig"), _MAX_SIGNATURE)
    digest = _digest(content.inside("payloadHash", ("algorithm", "value")))
    return RekorBody(kind, version, signature, verifier, certificate, ENVELOPE_PAYLOAD, digest)


_READERS = {
    ("hashedrekord", "0.0.1"): _hashedrekord,
    ("hashedrekord", "0.0.2"): _hashedrekord_2,
    ("dsse", "0.0.1"): _dsse,
    ("intoto", "0.0.1"): _intoto_1,
    ("intoto", "0.0.2"): _intoto_2,
}


def _digest(fields: Fields) -> str:
    algorithm = fields.one_of("algorithm", tuple(_HASHES))
    return f"{algorithm}:{fields.hexadecimal('value', _HASHES[algorithm])}"


def _pem_verifier(fields: Fields, name: str) -> tuple[bytes, bool]:
    """The DER inside a base64 member that holds PEM, and whether it is a certificate."""
    text = fields.data(name, _MAX_VERIFIER)
    try:
        found = pem.blocks(text, "")
    except FormatError as error:
        raise fields.error(name, error.problem) from None
    if len(found) != 1 or found[0][0] not in ("PUBLIC KEY", "CERTIFICATE"):
        raise fields.error(name, "must hold one PEM block, a public key or a certificate")
    return found[0][1], found[0][0] == "CERTIFICATE"
