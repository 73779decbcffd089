"""The framing of an OpenPGP signed message: compressed, one-pass signature, literal data and signature packets (RFC 4880).

GnuPG verifies the signature. What is decided here is which messages it is shown: exactly one signature over exactly one piece of
literal data, so that there is no doubt about what was signed by whom. Cleartext signatures, detached ones, encrypted messages and
messages with further packets are something else.

Cold-path module.
"""

from __future__ import annotations

import zlib

from rktpy.errors import FormatError
from rktpy.formats.openpgp import TAG_SIGNATURE

TAG_ONE_PASS = 4
TAG_COMPRESSED = 8
TAG_LITERAL = 11

#: Of a message, as it comes and unpacked, in bytes: far more than the claims about an image need.
MAX_SIZE = 1 << 20
_CLEARTEXT = b"-----BEGIN PGP SIGNED MESSAGE"
#: Signatures of a binary and of a canonical text document (section 5.2.1).
_DOCUMENT_TYPES = (0, 1)


def check_signed_message(data: bytes, what: str) -> bytes:
    """Check that ``data`` is a binary signed message with one signature; the literal data in it, of which nothing is verified.

    Raises :class:`FormatError`.
    """
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    if data.lstrip().startswith(_CLEARTEXT):
        raise FormatError(what, "", "is a cleartext signature, not a signed message")
    if data.lstrip().startswith(b"-----BEGIN PGP"):
        raise FormatError(what, "", "is armored, not a binary signed message")
    found = _packets(data, what)
    if len(found) == 1 and found[0][0] == TAG_COMPRESSED:
        found = _packets(_decompressed(found[0][1], what), what)
    tags = [tag for tag, _body in found]
    signatures = tags.count(TAG_SIGNATURE)
    if signatures and TAG_LITERAL not in tags:
        raise FormatError(what, "", "is a detached signature, not a signed message")
    if signatures > 1 or tags.count(TAG_ONE_PASS) > 1:
        raise FormatError(what, "", f"has {max(signatures, tags.count(TAG_ONE_PASS))} signatures, one is wanted")
    if tags not in ([TAG_ONE_PASS, TAG_LITERAL, TAG_SIGNATURE], [TAG_SIGNATURE, TAG_LITERAL]):
        raise FormatError(what, "", f"is not a signed message (OpenPGP packets {', '.join(map(str, tags)) or 'none'})")
    bodies = dict(found)
    signature = bodies[TAG_SIGNATURE]
    if _kind(signature) not in _DOCUMENT_TYPES:
        raise FormatError(what, "", f"is not a signature of a document (OpenPGP signature type {_kind(signature)})")
    return _literal(bodies[TAG_LITERAL], what)


def _kind(body: bytes) -> int:
    """The type of a signature packet (sections 5.2.2 and 5.2.3), -1 for none."""
    at = 2 if body[:1] in (b"\2", b"\3") else 1
    return body[at] if len(body) > at else -1


def _literal(body: bytes, what: str) -> bytes:
    """Section 5.9: format, name and date stand before the data."""
    if len(body) < 2 or len(body) < 6 + body[1]:
        raise FormatError(what, "", "truncated literal data")
    return body[6 + body[1] :]


def _decompressed(body: bytes, what: str) -> bytes:
    """Section 5.6. Compressed data is not nested any further: that would be one more packet without a meaning here."""
    algorithm = body[0] if body else -1
    try:
        if algorithm == 0:
            return body[1:]
        if algorithm in (1, 2):
            inflater = zlib.decompressobj(-15 if algorithm == 1 else 15)
            out, complete = inflater.decompress(body[1:], MAX_SIZE + 1), inflater.eof
        elif algorithm == 3:
            import bz2

            bunzip = bz2.BZ2Decompressor()
            out = bunzip.decompress(body[1:], MAX_SIZE + 1)
            complete = bunzip.eof
        else:
            raise FormatError(what, "", f"is compressed by an unknown method ({algorithm})")
    except (zlib.error, OSError, ValueError, EOFError):
        raise FormatError(what, "", "is compressed wrongly") from None
    if len(out) > MAX_SIZE:
        raise FormatError(what, "", f"unpacks to more than {MAX_SIZE} bytes")
    if not complete:
        raise FormatError(what, "", "truncated compressed data")
    return out


def _packets(data: bytes, what: str) -> list[tuple[int, bytes]]:
    """The packets as (tag, body), with partial lengths (section 4.2.2.4) put together; the last may have no length at all."""
    out: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        first = data[at]
        if not first & 0x80:
            raise FormatError(what, "", f"not an OpenPGP packet at byte {at}")
        at += 1
        try:
            if first & 0x40:
                tag = first & 0x3F
                body, at = _new_format(data, at, what)
            else:
                tag = (first & 0x3C) >> 2
                octets = 1 << (first & 0x03)
                if octets == 8:
                    body, at = data[at:], len(data)
                else:
                    if at + octets > len(data):
                        raise IndexError
                    body, at = _slice(data, at + octets, int.from_bytes(data[at : at + octets], "big"))
        except IndexError:
            raise FormatError(what, "", "truncated packet") from None
        out.append((tag, body))
        if len(out) > 16:
            raise FormatError(what, "", "has too many packets for a signed message")
    return out


def _new_format(data: bytes, at: int, what: str) -> tuple[bytes, int]:
    parts: list[bytes] = []
    while True:
        length = data[at]
        at += 1
        partial = 224 <= length < 255
        if partial:
            length = 1 << (length & 0x1F)
        elif length == 255:
            if at + 4 > len(data):
                raise IndexError
            length = int.from_bytes(data[at : at + 4], "big")
            at += 4
        elif length >= 192:
            length = ((length - 192) << 8) + data[at] + 192
            at += 1
        part, at = _slice(data, at, length)
        parts.append(part)
        if not partial:
            return b"".join(parts), at
        if not part:
            raise FormatError(what, "", "packet with an empty part")


def _slice(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise IndexError
    return data[at : at + length], at + length
