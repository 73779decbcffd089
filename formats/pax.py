"""Extended headers of pax archives (POSIX.1-2001) and the GNU sparse formats that are written with them.

Hot-path module: imports only ``binascii``.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64

from rktpy.errors import ArchiveError
from rktpy.formats.tar_fields import pax_number, printable

Records = dict[bytes, bytes]

_SPARSE_OFFSET = b"GNU.sparse.offset"
_SPARSE_LENGTH = b"GNU.sparse.numbytes"
SPARSE_MAP = b"GNU.sparse.map"
_CHARSETS = (b"", b"BINARY", b"ISO-IR 10646 2000 UTF-8")
_NO_NUL = (b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name")


def parse_records(data: bytes) -> Records:
    """The records of one extended header; of a repeated key the last one counts.

    A record is ``<length> <key>=<value>\\n`` where length counts the whole record. The pairs of GNU sparse format 0.0 repeat
    their keys by design: they are gathered into a ``GNU.sparse.map`` as format 0.1 has it. Names are bytes; ``hdrcharset`` may
    say UTF-8 or BINARY, anything else is refused. Raises :class:`ArchiveError`.
    """
    records: Records = {}
    position = 0
    total = len(data)
    pairs: list[bytes] = []
    while position < total:
        space = data.find(b" ", position, position + 21)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break  # some writers count their padding
            raise ArchiveError("pax header: a record has no length")
        end = position + int(digits)
        equals = data.find(b"=", space + 1, end)
        if end > total or equals < 0 or data[end - 1] != 10:
            raise ArchiveError("pax header: a record is malformed")
        key = data[space + 1 : equals]
        value = data[equals + 1 : end - 1]
        if b"\0" in key or not key or (key in _NO_NUL and b"\0" in value):
            raise ArchiveError(f"pax header: record {printable(key)} holds a NUL byte or has no name")
        if key in (_SPARSE_OFFSET, _SPARSE_LENGTH):
            if (key == _SPARSE_OFFSET) != (len(pairs) % 2 == 0):
                raise ArchiveError("pax header: sparse offsets and lengths do not alternate")
            pairs.append(value)
        else:
            records[key] = value
        position = end
    if pairs:
        records[SPARSE_MAP] = b",".join(pairs)
    if records.get(b"hdrcharset", b"") not in _CHARSETS:
        raise ArchiveError(f"pax header: character set {printable(records[b'hdrcharset'])} is not supported")
    return records


def extended_attributes(records: Records) -> dict[bytes, bytes]:
    """The extended attributes in ``records``: SCHILY.xattr.* (raw values), else LIBARCHIVE.xattr.* (base64, %-encoded names)."""
    found: dict[bytes, bytes] = {}
    for key, value in records.items():
        if key.startswith(b"SCHILY.xattr."):
            name = key[13:]
        elif key.startswith(b"LIBARCHIVE.xattr."):
            name = _percent_decoded(key[17:])
            if name in found or b"SCHILY.xattr." + name in records:
                continue
            try:
                value = a2b_base64(value + b"=" * (-len(value) % 4))
            except Base64Error:
                raise ArchiveError(f"pax header: {printable(key)} is not base64") from None
        else:
            continue
        if not name or b"\0" in name:
            raise ArchiveError("pax header: an extended attribute has no valid name")
        found[name] = value
    return found


def _percent_decoded(name: bytes) -> bytes:
    first, *rest = name.split(b"%")
    parts = [first]
    for part in rest:
        try:
            parts.append(bytes.fromhex(part[:2].decode("ascii")) + part[2:])
        except (ValueError, UnicodeDecodeError):
            parts.append(b"%" + part)
    return b"".join(parts)


def sparse_map(value: bytes) -> list[tuple[int, int]]:
    """The (offset, length) pairs of a GNU.sparse.map record. Raises :class:`ArchiveError`."""
    if not value:
        return []
    numbers = [pax_number(part, "sparse map") for part in value.split(b",")]
    if len(numbers) % 2:
        raise ArchiveError("pax header: the sparse map has an odd number of values")
    return list(zip(numbers[::2], numbers[1::2], strict=True))
