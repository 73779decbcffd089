"""``trusted_root.json``: the keys and certificates of a sigstore deployment (protobuf-specs ``sigstore_trustroot.proto``).

The file is pinned by the policy and never refreshed by rktpy. It is read as strictly as a bundle, but logs whose kind of key is
not known are kept for the caller to pass over: a deployment may list newer logs beside those that matter.

Cold-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError
from rktpy.formats import jsondoc
from rktpy.formats.oci.members import join, shown
from rktpy.formats.rfc3339 import seconds_of
from rktpy.formats.trust.fields import Fields
from rktpy.record import Record

MEDIA_TYPES = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
)
MAX_SIZE = 4 << 20
_MAX_INSTANCES = 100
_MAX_CHAIN = 10

#: The end of a period that has none, in seconds since the epoch: later than any certificate can say (RFC 5280: 9999-12-31).
FOREVER = 253402300800


class Period(Record):
    """A period of validity, both ends included, in seconds since the epoch."""

    start: int = 0
    end: int = FOREVER

    def covers(self, when: int) -> bool:
        """Whether ``when`` lies in it."""
        return self.start <= when <= self.end


class LogInstance(Record):
    """A transparency log: its identifier, the DER of its public key and the name of that key's kind."""

    log_id: bytes
    key: bytes
    key_details: str
    period: Period
    base_url: str = ""


class Authority(Record):
    """A certificate authority: DER certificates, the trust anchor last. For time stamps the first may be the signer's."""

    certificates: tuple[bytes, ...]
    period: Period


class TrustedRoot(Record):
    """What is trusted of a deployment: logs of signatures and of certificates, issuers of certificates and of time stamps."""

    logs: tuple[LogInstance, ...]
    certificate_logs: tuple[LogInstance, ...]
    authorities: tuple[Authority, ...]
    time_authorities: tuple[Authority, ...]


def parse_trusted_root(data: bytes, what: str) -> TrustedRoot:
    """Read the file; ``what`` names it in errors. Raises :class:`FormatError`."""
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    known = ("mediaType", "tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
    top = Fields(jsondoc.parse_object(data, what), what, "", known)
    top.one_of("mediaType", MEDIA_TYPES)
    return TrustedRoot(
        _logs(top, "tlogs"),
        _logs(top, "ctlogs"),
        _authorities(top, "certificateAuthorities"),
        _authorities(top, "timestampAuthorities"),
    )


def _logs(top: Fields, name: str) -> tuple[LogInstance, ...]:
    known = ("baseUrl", "hashAlgorithm", "publicKey", "logId", "checkpointKeyId", "operator")
    found: list[LogInstance] = []
    for one in top.each(name, _MAX_INSTANCES, known):
        one.one_of("hashAlgorithm", ("SHA2_256",))
        key = one.inside("publicKey", ("rawBytes", "keyDetails", "validFor"))
        if one.has("checkpointKeyId"):
            one.inside("checkpointKeyId", ("keyId",)).data("keyId", 64)
        one.optional_text("operator")
        found.append(
            LogInstance(
                one.inside("logId", ("keyId",)).data("keyId", 64),
                key.data("rawBytes", 16 << 10),
                key.text("keyDetails", 64),
                _period(key, "validFor"),
                one.optional_text("baseUrl"),
            )
        )
    return tuple(found)


def _authorities(top: Fields, name: str) -> tuple[Authority, ...]:
    found: list[Authority] = []
    for one in top.each(name, _MAX_INSTANCES, ("subject", "uri", "certChain", "validFor", "operator")):
        if one.has("subject"):
            subject = one.inside("subject", ("organization", "commonName"))
            subject.optional_text("organization")
            subject.optional_text("commonName")
        one.optional_text("uri")
        one.optional_text("operator")
        chain = one.inside("certChain", ("certificates",))
        certificates = tuple(each.data("rawBytes", 32 << 10) for each in chain.each("certificates", _MAX_CHAIN, ("rawBytes",)))
        if not certificates:
            raise chain.error("certificates", "must not be empty")
        found.append(Authority(certificates, _period(one, "validFor")))
    return tuple(found)


def _period(fields: Fields, name: str) -> Period:
    if not fields.has(name):
        return Period()
    period = fields.inside(name, ("start", "end"))
    start = _time(period, "start") if period.has("start") else 0
    return Period(start, _time(period, "end") if period.has("end") else FOREVER)


def _time(fields: Fields, name: str) -> int:
    text = fields.text(name, 64)
    try:
        return seconds_of(text)
    except ValueError:
        raise FormatError(
            fields.what, join(fields.path, name), f"{shown(text)!r} is not a time like 2026-01-02T03:04:05Z"
        ) from None
