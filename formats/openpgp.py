"""OpenPGP framing: ASCII armor, packets and key fingerprints (RFC 4880 sections 4, 5.5, 6 and 12.2).

Only the framing is read here. Signatures are verified by GnuPG; what this module decides is which bytes may be handed to it: a
detached signature holds signature packets and nothing else, and a key file holds exactly the primary key that its name promises.

Hot-path module.
"""

from __future__ import annotations

import binascii
from _sha1 import sha1

from rktpy.errors import FormatError
from rktpy.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TAG_SIGNATURE = 2
TAG_PUBLIC_KEY = 6
TAG_PUBLIC_SUBKEY = 14
TAG_USER_ID = 13
TAG_SECRET_KEYS = (5, 7)

#: More than any honest key with its certifications needs, in bytes.
MAX_SIZE = 4 << 20
#: Signatures in one file that are worth GnuPG's time.
MAX_SIGNATURES = 64


class PublicKey(Record):
    """A transferable public key (RFC 4880 section 11.1): what a person reviews before trusting it.

    Fingerprints are lower-case hex of the primary key and of its subkeys; ``identities`` are the user IDs.
    """

    fingerprint: str
    subkeys: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()


def dearmor(data: bytes, what: str) -> bytes:
    """The binary form of ``data``, which may be armored or binary already.

    Several armor blocks in one file are joined. Text around a block is not accepted, nor are cleartext signatures. Raises
    :class:`FormatError`.
    """
    if len(data) > MAX_SIZE:
        raise FormatError(what, "", f"is larger than {MAX_SIZE} bytes")
    text = data.lstrip(b" \t\r\n")
    if not text.startswith(b"-----BEGIN "):
        return data
    out: list[bytes] = []
    lines = iter(text.splitlines())
    for line in lines:
        line = line.strip()
        if not line:
            continue
        if not (line.startswith(b"-----BEGIN PGP ") and line.endswith(b"-----")):
            raise FormatError(what, "", "text outside of an armor block")
        kind = line[15:-5]
        if kind not in (b"SIGNATURE", b"PUBLIC KEY BLOCK"):
            found = kind.decode("ascii", "replace").lower()
            raise FormatError(what, "", f"a {found} where a detached signature or public key is wanted")
        out.append(_armor_block(lines, kind, what))
    if not out:
        raise FormatError(what, "", "empty")
    return b"".join(out)


def _armor_block(lines: Iterator[bytes], kind: bytes, what: str) -> bytes:
    body: list[bytes] = []
    checksum: bytes | None = None
    in_headers = True
    for raw in lines:
        line = raw.strip()
        if in_headers:
            if not line:
                in_headers = False
                continue
            if b": " in line:
                continue
            in_headers = False
        if line == b"-----END PGP " + kind + b"-----":
            try:
                decoded = binascii.a2b_base64(b"".join(body), strict_mode=True) if body else b""
            except binascii.Error:
                raise FormatError(what, "", "broken base64 in the armor") from None
            if checksum is not None and checksum != binascii.b2a_base64(_crc24(decoded), newline=False):
                raise FormatError(what, "", "armor checksum does not match")
            if not decoded:
                raise FormatError(what, "", "empty armor block")
            return decoded
        if line.startswith(b"=") and len(line) == 5:
            checksum = line[1:]
        elif checksum is not None and line:
            raise FormatError(what, "", "data after the armor checksum")
        else:
            body.append(line)
    raise FormatError(what, "", "armor block without an end")


def _crc24(data: bytes) -> bytes:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc.to_bytes(3, "big")


def packets(data: bytes, what: str) -> list[tuple[int, bytes]]:
    """The packets of a binary OpenPGP message as (tag, body). Partial and indeterminate lengths are refused.

    Raises :class:`FormatError`.
    """
    out: list[tuple[int, bytes]] = []
    at = 0
    end = len(data)
    while at < end:
        first = data[at]
        if not first & 0x80:
            raise FormatError(what, "", f"not an OpenPGP packet at byte {at}")
        at += 1
        try:
            if first & 0x40:  # new format, RFC 4880 section 4.2.2
                tag = first & 0x3F
                length = data[at]
                at += 1
                if 192 <= length < 224:
                    length = ((length - 192) << 8) + data[at] + 192
                    at += 1
                elif length == 255:
                    length = int.from_bytes(data[at : at + 4], "big")
                    at += 4
                elif length >= 224:
                    raise FormatError(what, "", "packet with a partial length")
            else:  # old format, section 4.2.1
                tag = (first & 0x3C) >> 2
                size = first & 0x03
                if size == 3:
                    raise FormatError(what, "", "packet of indeterminate length")
                octets = 1 << size
                length = int.from_bytes(data[at : at + octets], "big")
                at += octets
        except IndexError:
            raise FormatError(what, "", "truncated packet") from None
        if at + length > end:
            raise FormatError(what, "", "truncated packet")
        out.append((tag, data[at : at + length]))
        at += length
    return out


def check_detached(data: bytes, what: str) -> bytes:
    """Return the binary form of a detached signature: one or more signature packets over binary data and nothing else.

    A signed message or a cleartext signature would let its own content be verified instead of the image; a signature over text
    (type 1) fits every file that differs in line ends only. Raises :class:`FormatError`.
    """
    binary = dearmor(data, what)
    found = packets(binary, what)
    if not found:
        raise FormatError(what, "", "no valid signatures found in signature file")
    if len(found) > MAX_SIGNATURES:
        raise FormatError(what, "", f"holds {len(found)} packets, at most {MAX_SIGNATURES} signatures are looked at")
    for tag, body in found:
        if tag != TAG_SIGNATURE:
            raise FormatError(what, "", f"not a detached signature (OpenPGP packet {tag})")
        kind = _signature_type(body)
        if kind:
            raise FormatError(what, "", f"not a signature over binary data (OpenPGP signature type {kind})")
    return binary


def _signature_type(body: bytes) -> int:
    """RFC 4880 sections 5.2.2 and 5.2.3; 0 is a signature of a binary document, and whatever GnuPG is left to refuse."""
    at = 2 if body[:1] in (b"\2", b"\3") else 1
    return body[at] if len(body) > at else 0


def parse_public_key(data: bytes, what: str) -> PublicKey:
    """Read one transferable public key, armored or binary. Raises :class:`FormatError`."""
    keys = parse_public_keys(data, what)
    if len(keys) != 1:
        raise FormatError(what, "", f"holds {len(keys)} primary keys, one is wanted")
    return keys[0]


def parse_public_keys(data: bytes, what: str) -> list[PublicKey]:
    """Read a sequence of transferable public keys. Raises :class:`FormatError`."""
    keys: list[PublicKey] = []
    for tag, body in packets(dearmor(data, what), what):
        if tag in TAG_SECRET_KEYS:
            raise FormatError(what, "", "holds a secret key; export the public key")
        if tag == TAG_PUBLIC_KEY:
            keys.append(PublicKey(_fingerprint(body, what)))
        elif not keys:
            raise FormatError(what, "", "does not start with a public key")
        elif tag == TAG_PUBLIC_SUBKEY:
            keys[-1] = keys[-1].replace(subkeys=(*keys[-1].subkeys, _fingerprint(body, what)))
        elif tag == TAG_USER_ID:
            keys[-1] = keys[-1].replace(identities=(*keys[-1].identities, body.decode("utf-8", "backslashreplace")))
    if not keys:
        raise FormatError(what, "", "missing openpgp entity")
    return keys


def _fingerprint(body: bytes, what: str) -> str:
    # RFC 4880 section 12.2: version 4 hashes 0x99, the two-octet length and the packet body.
    if not body or body[0] != 4:
        raise FormatError(what, "", f"key of version {body[0] if body else '?'}, only version 4 is supported")
    digest: str = sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest()
    return digest
