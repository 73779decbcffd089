"""Make Notary Project signatures: a JWS or COSE envelope by a key and its certificates, and the manifest that refers to the
image.

notaryproject/specifications ``signature-specification.md``, ``signature-envelope-jws.md``, ``signature-envelope-cose.md``; OCI
image-spec 1.1 ``manifest.md`` (``subject``). What is made here is read back and verified before it is given out, so a key that
does not fit its certificate, or a certificate that verifiers would refuse, is an error at once.

Cold path: imports ``cryptography``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rktpy import __version__
from rktpy.errors import ConfigError, FormatError
from rktpy.formats import cbor, jsondoc
from rktpy.formats.cbor import Tagged
from rktpy.formats.rfc3339 import text_of
from rktpy.formats.trust import base64_strict, pem
from rktpy.formats.trust.notation import cose, jws
from rktpy.formats.trust.notation.envelope import (
    AGENT_NAME,
    ARTIFACT_TYPE,
    AUTHENTIC_TIME_NAME,
    COSE_TYPE,
    EXPIRY_NAME,
    JWS_TYPE,
    PAYLOAD_TYPE,
    SCHEME_NAME,
    TIME_NAME,
    TIMESTAMP_NAME,
    X509,
    Target,
)
from rktpy.record import Record
from rktpy.trust.certificate_path import PathProblem, load, name_of, validity
from rktpy.trust.notation_chain import algorithm_of, check_chain
from rktpy.trust.notation_facts import verify

THUMBPRINT_NAME = "io.cncf.notary.x509chain.thumbprint#S256"
_CREATED_NAME = "org.opencontainers.image.created"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = b"{}"
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


class Signer(Record):
    """A private key with its certificates (DER, leaf first, root last), ready to sign. ``algorithm`` is what the key decides."""

    key: Any
    chain: tuple[bytes, ...]
    algorithm: str


class Signature(Record):
    """A signature that was made: the envelope and its media type, and the annotations that belong on its manifest."""

    media_type: str
    envelope: bytes
    annotations: tuple[tuple[str, str], ...]


def load_signer(key: bytes, certificates: bytes, now: int, password: bytes | None = None) -> Signer:
    """A signer from a PEM private key and its PEM certificates, leaf first, root last.

    Raises :class:`ConfigError` when they do not fit each other, may not sign artifacts, or are not valid at ``now`` (seconds
    since the epoch).
    """
    try:
        private = load_pem_private_key(key, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"cannot read the signing key: {_line(error)}") from None
    try:
        ders = [der for label, der in pem.blocks(certificates, "signing certificates") if label == "CERTIFICATE"]
        if not ders:
            raise ConfigError("signing certificates: there is no certificate")
        chain = [load(der, f"certificate {number} of the chain") for number, der in enumerate(ders)]
        check_chain(chain)
        algorithm = algorithm_of(chain[0])
    except FormatError as error:
        raise ConfigError(str(error)) from None
    except PathProblem as problem:
        raise ConfigError(f"signing certificates: {problem}") from None
    for certificate in chain:
        starts, ends = validity(certificate)
        if not starts <= now <= ends:
            raise ConfigError(f"signing certificates: certificate {name_of(certificate)} is not valid now")
    signer = Signer(private, tuple(ders), algorithm)
    try:
        verify(chain[0].public_key(), algorithm, _sign(signer, b"test"), b"test")
    except PathProblem:
        raise ConfigError(f"the signing key is not that of certificate {name_of(chain[0])}") from None
    return signer


def sign(
    target: Target,
    signer: Signer,
    now: int,
    *,
    media_type: str = JWS_TYPE,
    expiry: int = 0,
    scheme: str = X509,
    timestamp: Callable[[bytes], bytes] | None = None,
) -> Signature:
    """Sign an image's manifest.

    ``now`` and ``expiry`` are seconds since the epoch (0: it does not expire). ``media_type`` chooses the envelope,
    ``timestamp`` gets the signature and returns an RFC 3161 token for it. Raises :class:`ConfigError` for another media type.
    """
    if expiry and expiry <= now:
        raise ConfigError(f"the signature would have expired at {text_of(expiry)}")
    if media_type == JWS_TYPE:
        envelope = _jws(target, signer, now, expiry, scheme, timestamp)
        jws.parse(envelope)
    elif media_type == COSE_TYPE:
        envelope = _cose(target, signer, now, expiry, scheme, timestamp)
        cose.parse(envelope)
    else:
        raise ConfigError(f"{media_type!r} is neither {JWS_TYPE} nor {COSE_TYPE}")
    prints = [hashlib.sha256(der).hexdigest() for der in signer.chain]
    annotations = ((THUMBPRINT_NAME, jsondoc.dump(prints).decode()), (_CREATED_NAME, text_of(now)))
    return Signature(media_type, envelope, annotations)


def referrer_manifest(target: Target, signature: Signature) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """The manifest under which a registry keeps the signature, and the blobs that it needs: pairs of media type and bytes."""
    blobs = (("application/vnd.oci.empty.v1+json", _EMPTY), (signature.media_type, signature.envelope))
    config, layer = [_descriptor(media_type, data) for media_type, data in blobs]
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": [layer],
        "subject": {"mediaType": target.media_type, "digest": target.digest, "size": target.size},
        "annotations": dict(signature.annotations),
    }
    return jsondoc.dump(manifest), blobs


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def _payload(target: Target) -> bytes:
    artifact: dict[str, Any] = {"mediaType": target.media_type, "digest": target.digest, "size": target.size}
    if target.annotations:
        artifact["annotations"] = dict(target.annotations)
    return jsondoc.dump({"targetArtifact": artifact})


def _signed_names(scheme: str, expiry: int) -> tuple[str, list[str]]:
    """The name of the signing time in a scheme, and the critical names."""
    time_name = TIME_NAME if scheme == X509 else AUTHENTIC_TIME_NAME
    critical = [SCHEME_NAME]
    if scheme != X509:
        critical.append(AUTHENTIC_TIME_NAME)
    if expiry:
        critical.append(EXPIRY_NAME)
    return time_name, critical


def _jws(target: Target, signer: Signer, now: int, expiry: int, scheme: str, timestamp: Callable[[bytes], bytes] | None) -> bytes:
    time_name, critical = _signed_names(scheme, expiry)
    headers: dict[str, Any] = {
        "alg": signer.algorithm,
        "crit": critical,
        "cty": PAYLOAD_TYPE,
        SCHEME_NAME: scheme,
        time_name: text_of(now),
    }
    if expiry:
        headers[EXPIRY_NAME] = text_of(expiry)
    protected, payload = jws.encode_url(jsondoc.dump(headers)), jws.encode_url(_payload(target))
    signature = _sign(signer, f"{protected}.{payload}".encode("ascii"))
    header: dict[str, Any] = {"x5c": [base64_strict.encode(der) for der in signer.chain], AGENT_NAME: _agent()}
    if timestamp is not None:
        header[TIMESTAMP_NAME] = base64_strict.encode(timestamp(signature))
    return jsondoc.dump({"payload": payload, "protected": protected, "header": header, "signature": jws.encode_url(signature)})


def _cose(
    target: Target, signer: Signer, now: int, expiry: int, scheme: str, timestamp: Callable[[bytes], bytes] | None
) -> bytes:
    time_name, critical = _signed_names(scheme, expiry)
    number = {name: label for label, name in cose.ALGORITHMS.items()}[signer.algorithm]
    headers: dict[int | str, Any] = {
        1: number,
        2: critical,
        3: PAYLOAD_TYPE,
        SCHEME_NAME: scheme,
        time_name: Tagged(cbor.TAG_TIME, now),
    }
    if expiry:
        headers[EXPIRY_NAME] = Tagged(cbor.TAG_TIME, expiry)
    protected, payload = cbor.encode(headers), _payload(target)
    signature = _sign(signer, cose.signed_bytes(protected, payload))
    unprotected: dict[int | str, Any] = {33: list(signer.chain), AGENT_NAME: _agent()}
    if timestamp is not None:
        unprotected[TIMESTAMP_NAME] = timestamp(signature)
    return cbor.encode(Tagged(cbor.TAG_SIGN1, [protected, unprotected, payload, signature]))


def _sign(signer: Signer, data: bytes) -> bytes:
    digest = _HASHES[signer.algorithm[2:]]
    key = signer.key
    if isinstance(key, rsa.RSAPrivateKey) and signer.algorithm.startswith("PS"):
        return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey) and signer.algorithm.startswith("ES"):
        size = (key.curve.key_size + 7) // 8
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    raise ConfigError(f"the signing key is not of the kind of its certificate, which is for {signer.algorithm}")


def _agent() -> str:
    return f"rktpy/{__version__}"


def _line(error: Exception) -> str:
    text = str(error)
    return text if text.isprintable() else ascii(text)[1:-1]
