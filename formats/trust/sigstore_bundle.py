"""Sigstore bundles, versions 0.1 to 0.3 (sigstore/protobuf-specs ``sigstore_bundle.proto``, as protocol buffers write JSON).

Read strictly: member names in lowerCamelCase only, 64-bit integers as strings, nothing unknown.

Cold-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.artifacts import BUNDLE_TYPE
from rktpy.formats.oci.members import join, shown
from rktpy.formats.trust.cosign_annotations import MAX_TIMESTAMP
from rktpy.formats.trust.dsse import MAX_SIGNATURE, Envelope, envelope_from_dict
from rktpy.formats.trust.fields import Fields
from rktpy.formats.trust.rekor_entry import MAX_BODY
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BASE = "application/vnd.dev.sigstore.bundle+json;version="
VERSIONS = {BUNDLE_TYPE: 3, f"{_BASE}0.1": 1, f"{_BASE}0.2": 2, f"{_BASE}0.3": 3}
"""The media types that are read, and the minor version that each stands for."""

MAX_SIZE = 8 << 20
MAX_CERTIFICATE = 32 << 10
MAX_CERTIFICATES = 10
MAX_ENTRIES = 32
MAX_TIMESTAMPS = 32
MAX_PROOF = 64

HASHES = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}
_LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64}


class InclusionProof(Record):
    """The path from an entry to the root of a tree of ``tree_size`` leaves, and the checkpoint that signs the root."""

    log_index: int
    root_hash: bytes
    tree_size: int
    hashes: tuple[bytes, ...]
    checkpoint: str


class LogEntry(Record):
    """An entry of a transparency log. ``promise`` is the signed entry timestamp, empty when there is none.

    ``integrated_time`` (seconds since the epoch) is worth what the promise is worth: without one it is anybody's claim.
    """

    log_index: int
    log_id: bytes
    kind: str
    version: str
    integrated_time: int
    body: bytes
    promise: bytes = b""
    proof: InclusionProof | None = None


class MessageSignature(Record):
    """A signature over the artifact itself. ``digest`` (``sha256:…``) is what the bundle claims that artifact to be."""

    digest: str
    signature: bytes


class Bundle(Record):
    """A bundle: ``content`` is what was signed, the rest is what it is verified with.

    ``hint`` names a key (None when the bundle has certificates), ``certificates`` are DER with the leaf first, ``timestamps`` are
    the DER of RFC 3161 responses.
    """

    media_type: str
    content: Envelope | MessageSignature
    hint: str | None = None
    certificates: tuple[bytes, ...] = ()
    entries: tuple[LogEntry, ...] = ()
    timestamps: tuple[bytes, ...] = ()

    @property
    def signature(self) -> bytes:
        """The bytes of the signature."""
        return self.content.signature


def parse_bundle(data: bytes, what: str) -> Bundle:
    """Read a bundle; ``what`` names it in errors. Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    known = ("mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope")
    top = Fields(jsondoc.parse_object(data, what), what, "", known)
    media_type = top.text("mediaType")
    version = VERSIONS.get(media_type)
    if version is None:
        raise top.error("mediaType", f"{shown(media_type[:80])!r} is not a supported version of bundle")
    hint, certificates, entries, timestamps = _material(top, version)
    if top.has("messageSignature") == top.has("dsseEnvelope"):
        raise FormatError(what, "", "must hold either messageSignature or dsseEnvelope")
    content: Envelope | MessageSignature
    if top.has("dsseEnvelope"):
        content = envelope_from_dict(top.value("dsseEnvelope"), what, "dsseEnvelope")
        # The specification wants both to be the same; cosign leaves the envelope's empty.
        if hint and content.key_id and hint != content.key_id:
            raise FormatError(what, "dsseEnvelope.signatures[0].keyid", "is not the hint of verificationMaterial.publicKey")
    else:
        content = _message(top.inside("messageSignature", ("messageDigest", "signature")))
    return Bundle(media_type, content, hint, certificates, entries, timestamps)


def _material(top: Fields, version: int) -> tuple[str | None, tuple[bytes, ...], tuple[LogEntry, ...], tuple[bytes, ...]]:
    keys = ("publicKey", "x509CertificateChain", "certificate")
    fields = top.inside("verificationMaterial", (*keys, "tlogEntries", "timestampVerificationData"))
    if sum(fields.has(name) for name in keys) != 1:
        raise top.error("verificationMaterial", "must hold exactly one of publicKey, x509CertificateChain and certificate")
    hint: str | None = None
    certificates: tuple[bytes, ...] = ()
    if fields.has("publicKey"):
        hint = fields.inside("publicKey", ("hint",)).optional_text("hint")
    elif fields.has("certificate"):
        if version < 3:
            raise fields.error("certificate", "has no place in a bundle before version 0.3")
        certificates = (fields.inside("certificate", ("rawBytes",)).data("rawBytes", MAX_CERTIFICATE),)
    else:
        if version >= 3:
            raise fields.error("x509CertificateChain", "has no place in a bundle since version 0.3")
        chain = fields.inside("x509CertificateChain", ("certificates",))
        listed = chain.each("certificates", MAX_CERTIFICATES, ("rawBytes",))
        certificates = tuple(one.data("rawBytes", MAX_CERTIFICATE) for one in listed)
        if not certificates:
            raise chain.error("certificates", "must not be empty")
    known = ("logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof", "canonicalizedBody")
    entries = tuple(_entry(one, version) for one in fields.each("tlogEntries", MAX_ENTRIES, known))
    if len({(entry.log_id, entry.log_index) for entry in entries}) != len(entries):
        raise fields.error("tlogEntries", "holds the same entry twice")
    timestamps: tuple[bytes, ...] = ()
    if fields.has("timestampVerificationData"):
        data = fields.inside("timestampVerificationData", ("rfc3161Timestamps",))
        each = data.each("rfc3161Timestamps", MAX_TIMESTAMPS, ("signedTimestamp",))
        timestamps = tuple(one.data("signedTimestamp", MAX_TIMESTAMP) for one in each)
    return hint, certificates, entries, timestamps


def _entry(fields: Fields, version: int) -> LogEntry:
    kind = fields.inside("kindVersion", ("kind", "version"))
    promise = b""
    if fields.has("inclusionPromise"):
        promise = fields.inside("inclusionPromise", ("signedEntryTimestamp",)).data("signedEntryTimestamp", 4096)
    elif version == 1:
        raise fields.error("inclusionPromise", "is missing, which a bundle of version 0.1 must have")
    proof: InclusionProof | None = None
    if fields.has("inclusionProof"):
        proof = _proof(fields.inside("inclusionProof", ("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")))
    elif version > 1:
        raise fields.error("inclusionProof", "is missing, which a bundle since version 0.2 must have")
    return LogEntry(
        # Protocol buffers leave out a zero, which the first entry of a log has.
        fields.optional_int64("logIndex"),
        fields.inside("logId", ("keyId",)).data("keyId", 64),
        kind.text("kind", 64),
        kind.text("version", 64),
        fields.optional_int64("integratedTime"),
        fields.data("canonicalizedBody", MAX_BODY),
        promise,
        proof,
    )


def _proof(fields: Fields) -> InclusionProof:
    hashes: list[bytes] = []
    for number, item in enumerate(fields.items("hashes", MAX_PROOF)):
        hashes.append(_hash(Fields({"hash": item}, fields.what, join(join(fields.path, "hashes"), number), ("hash",)), "hash"))
    index, size = fields.optional_int64("logIndex"), fields.int64("treeSize")
    if index >= size:
        raise fields.error("logIndex", "is not below treeSize")
    checkpoint = fields.inside("checkpoint", ("envelope",)).text("envelope", 16 << 10)
    return InclusionProof(index, _hash(fields, "rootHash"), size, tuple(hashes), checkpoint)


def _hash(fields: Fields, name: str) -> bytes:
    data = fields.data(name, 64)
    if len(data) != 32:
        raise fields.error(name, "must be 32 bytes")
    return data


def _message(fields: Fields) -> MessageSignature:
    hashed = fields.inside("messageDigest", ("algorithm", "digest"))
    algorithm = HASHES[hashed.one_of("algorithm", tuple(HASHES))]
    digest = hashed.data("digest", 64)
    if len(digest) != _LENGTHS[algorithm]:
        raise hashed.error("digest", f"must be {_LENGTHS[algorithm]} bytes")
    return MessageSignature(f"{algorithm}:{digest.hex()}", fields.data("signature", MAX_SIGNATURE))


def with_key(content: dict[str, Any], hint: str) -> dict[str, Any]:
    """The JSON form of a bundle of version 0.3 by a key: ``content`` has ``dsseEnvelope`` or ``messageSignature``."""
    return {"mediaType": BUNDLE_TYPE, "verificationMaterial": {"publicKey": {"hint": hint}}, **content}
