"""Streaming reader of tar archives: v7, ustar, GNU and pax, as found in ACIs and OCI layers.

Sources: POSIX.1-1988 (ustar) and POSIX.1-2001 (pax), the GNU tar manual ("Tar Internals"), libarchive's tar(5) for v7, star and
the LIBARCHIVE records. Where they leave room this reader does what Go's ``archive/tar`` does, because every OCI layer has been
read by it before it reaches us:

- Header checksums must be right, as the sum of unsigned or of signed bytes.
- The size field of links, directories, devices and fifos is ignored: no data follows them.
- An archive ends at two zero blocks, at one zero block that ends the stream, or at the end of the stream on an entry boundary.
  What follows the two zero blocks is not looked at: padding, garbage, or a concatenated archive alike.
- A stream that ends inside a header or inside data is truncated, which is an error. It may end inside the padding behind the data
  of its last entry: umoci writes such layers.
- Unknown entry types, multi-volume parts, negative sizes, sizes of 2**63 and more, and metadata of over 1 MiB are errors.

Names are bytes as they stand in the archive, with no clean-up: resolving them safely is the business of who writes files.

Hot-path module, and the loop that every entry of every image goes through: kept flat on purpose.
"""

from __future__ import annotations

from struct import Struct

from rktpy.errors import ArchiveError
from rktpy.formats.pax import SPARSE_MAP, Records, extended_attributes, parse_records, sparse_map
from rktpy.formats.tar_entry import TarEntry as TarEntry
from rktpy.formats.tar_fields import BLOCK, checksum_matches, number, pax_number, pax_time, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

METADATA_LIMIT = 1 << 20
"""Most bytes of extended headers, long names and sparse maps for one entry."""

GLOBALS_LIMIT = 64 << 10  # the same of global extended headers, which are kept and looked through at every entry

MAX_SIZE = (1 << 63) - 1
"""Largest file size in bytes that an offset can express."""

_READ = 1 << 18
_MAX_ID = 0xFFFFFFFE  # the last one, (uid_t) -1, means "leave as it is" to chown
_MAX_SECONDS = 1 << 60
_ZEROS = bytes(BLOCK)
_unpack = Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x").unpack
_TYPES = {
    b"0": "file",
    b"\0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
    b"7": "file",
    b"S": "file",
}


_NUMBERS = 4096
"""How many different number fields are remembered."""


class TarReader:
    """Reads entries in the order of the stream, without seeking.

    ``read(n)`` gives 1 to n bytes, or ``b""`` at the end of the stream; it may give less than it was asked for. ``what`` names
    the archive in errors. Every method raises :class:`ArchiveError` for malformed input.
    """

    def __init__(self, read: Callable[[int], bytes], what: str = "tar archive") -> None:
        self._source = read
        self._what = what
        self._buffer: bytes = b""
        self._position: int = 0
        self._left: int = 0  # bytes of data of the current entry that were not read yet
        self._padding = 0
        self._globals: Records = {}
        self._globals_size = 0
        self._metadata = 0
        # Modes, owners and times of header fields: few different ones make up an archive.
        self._numbers: dict[bytes, int] = {}
        self._ended = False

    def next(self) -> TarEntry | None:
        """The next entry, or None at the end of the archive. Data of the entry before that were not read are skipped."""
        if self._ended:
            return None
        if self._left or self._padding:
            self._skip(self._left)
            whole = self._skip_padding(self._padding)
            self._left = self._padding = 0
            if not whole:
                self._ended = True
                return None
        long_name = long_link = None
        records: Records | None = None
        self._metadata = 0
        while True:
            end = self._position + BLOCK
            if end <= len(self._buffer):
                header = self._buffer[self._position : end]
                self._position = end
            else:
                header = self._take(BLOCK, at_end_of_entry=True)
            if not header or (header[0] == 0 and header == _ZEROS):
                if records is not None or long_name is not None or long_link is not None:
                    raise ArchiveError(f"{self._what}: ends between an extended header and its entry")
                self._ended = True
                if header and self._take(BLOCK, at_end_of_entry=True) not in (b"", _ZEROS):
                    raise ArchiveError(f"{self._what}: a single zero block in the middle")
                return None
            (
                name,
                mode,
                uid,
                gid,
                size,
                mtime,
                checksum,
                flag,
                link,
                magic,
                _version,
                uname,
                gname,
                major,
                minor,
                prefix,
            ) = _unpack(header)
            if not checksum_matches(header, checksum):
                raise ArchiveError(f"{self._what}: bad header checksum (not a tar archive, or damaged)")
            kind = _TYPES.get(flag)
            if kind is not None:
                break
            length = number(size, "size")
            if flag == b"x" or flag == b"X":
                records = parse_records(self._meta(length))
            elif flag == b"g":
                self._add_globals(parse_records(self._meta(length)))
            elif flag == b"L":
                long_name = self._meta(length).split(b"\0", 1)[0]
            elif flag == b"K":
                long_link = self._meta(length).split(b"\0", 1)[0]
            elif flag == b"V":
                self._meta(length)  # volume label: informative only
            else:
                shown = printable(name.split(b"\0", 1)[0])
                raise ArchiveError(f"{self._what}: {shown}: unsupported entry type {printable(flag)}")
        if magic == b"ustar\0":
            if prefix[0]:
                if header[508:] == b"tar\0":
                    prefix = prefix[:131]  # star keeps access and change times behind a shorter prefix
                name = prefix.split(b"\0", 1)[0] + b"/" + name.split(b"\0", 1)[0]
            else:
                name = name.split(b"\0", 1)[0]
        else:
            name = name.split(b"\0", 1)[0]
        if long_name is not None:
            name = long_name
        link = link.split(b"\0", 1)[0] if long_link is None else long_link
        numbers = self._numbers
        entry = TarEntry(
            name,
            kind,
            (numbers[mode] if mode in numbers else self._number(mode, "mode")) & 0o7777,
            numbers[uid] if uid in numbers else self._number(uid, "user id"),
            numbers[gid] if gid in numbers else self._number(gid, "group id"),
            number(size, "size") if kind == "file" else 0,
            (numbers[mtime] if mtime in numbers else self._number(mtime, "modification time")) * 1_000_000_000,
            link,
            0,
            0,
            None,
            None,
            uname.split(b"\0", 1)[0],
            gname.split(b"\0", 1)[0],
        )
        if kind == "char" or kind == "block":
            entry.major = number(major, "device number")
            entry.minor = number(minor, "device number")
        stored = entry.size
        if records is not None or self._globals:
            stored = self._extend(entry, records or {})
        if flag == b"S":
            if entry.sparse is not None or stored != entry.size:
                raise ArchiveError(f"{self._what}: {printable(entry.name)}: two sparse formats at once")
            self._old_sparse(entry, header)
        self._check(entry, stored, flag)
        if kind == "file":
            self._padding = -stored % BLOCK
            if entry.sparse is not None and stored != sum(length for _, length in entry.sparse):
                raise ArchiveError(f"{self._what}: {printable(entry.name)}: sparse map and size disagree")
            self._left = stored
        return entry

    def chunk(self, n: int) -> bytes | memoryview:
        """Up to ``n`` bytes of data of the current entry, as it comes, without copying; empty when all has been read."""
        left = self._left
        if not left:
            return b""
        position = self._position
        available = len(self._buffer) - position
        if not available:
            self._fill()
            position = 0
            available = len(self._buffer)
        n = min(n, left, available)
        self._left = left - n
        self._position = position + n
        if n <= 4096:
            return self._buffer[position : position + n]
        return memoryview(self._buffer)[position : position + n]

    def read(self, n: int = -1) -> bytes:
        """Exactly ``n`` bytes of data of the current entry, fewer only at the end of its data; all that is left without ``n``."""
        left = self._left
        if n < 0 or n > left:
            n = left
        end = self._position + n
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            self._left = left - n
            return data
        parts: list[bytes | memoryview] = []
        while n:
            part = self.chunk(n)
            n -= len(part)
            parts.append(part)
        return b"".join(parts)

    @property
    def remaining(self) -> int:
        """How many bytes of data of the current entry have not been read."""
        return self._left

    def _number(self, field: bytes, what: str) -> int:
        if len(self._numbers) >= _NUMBERS:
            self._numbers.clear()
        value = self._numbers[field] = number(field, what)
        return value

    def _fill(self) -> None:
        self._buffer = self._source(_READ)
        self._position = 0
        if not self._buffer:
            raise ArchiveError(f"{self._what}: truncated")

    def _take(self, n: int, at_end_of_entry: bool = False) -> bytes:
        """Exactly ``n`` bytes of the stream; with ``at_end_of_entry`` nothing at all is allowed too."""
        rest = self._buffer[self._position :]
        self._position = len(self._buffer)
        if len(rest) >= n:
            self._position -= len(rest) - n
            return rest[:n]
        parts = [rest]
        missing = n - len(rest)
        while missing > 0:
            data = self._source(_READ)
            if not data:
                if at_end_of_entry and missing == n:
                    return b""
                raise ArchiveError(f"{self._what}: truncated")
            self._buffer = data
            self._position = min(missing, len(data))
            parts.append(data[: self._position])
            missing -= self._position
        return b"".join(parts)

    def _skip(self, n: int) -> None:
        while n > len(self._buffer) - self._position:
            n -= len(self._buffer) - self._position
            self._fill()
        self._position += n

    def _skip_padding(self, n: int) -> bool:
        """Pass over the bytes that fill the last block of an entry; false when the stream ends there."""
        n -= len(self._buffer) - self._position
        while n > 0:
            self._buffer = self._source(_READ)
            self._position = len(self._buffer)
            if not self._buffer:
                return False
            n -= len(self._buffer)
        self._position = len(self._buffer) + n
        return True

    def _meta(self, length: int) -> bytes:
        self._metadata += max(length, BLOCK)
        if length < 0 or self._metadata > METADATA_LIMIT:
            raise ArchiveError(f"{self._what}: extended headers of one entry are larger than {METADATA_LIMIT} bytes")
        return self._take(length + -length % BLOCK)[:length]

    def _add_globals(self, records: Records) -> None:
        for key, value in records.items():
            self._globals_size += len(value) - len(self._globals[key]) if key in self._globals else len(key) + len(value)
            self._globals[key] = value
        if self._globals_size > GLOBALS_LIMIT:
            raise ArchiveError(f"{self._what}: global extended headers are larger than {GLOBALS_LIMIT} bytes")

    def _extend(self, entry: TarEntry, records: Records) -> int:
        """Apply pax records to ``entry``; returns the size of its data in the archive."""
        if self._globals:
            records = {**self._globals, **records}
        attributes = False
        for key, value in records.items():
            if key.startswith((b"SCHILY.xattr.", b"LIBARCHIVE.xattr.")):
                attributes = True  # these may have an empty value
            elif not value:
                continue  # an empty value takes back a global one: the header's own value stands
            elif key == b"path":
                entry.name = value
            elif key == b"linkpath":
                entry.link = value
            elif key == b"mtime":
                entry.mtime_ns = pax_time(value, "mtime")
            elif key == b"size":
                if entry.type == "file":
                    entry.size = pax_number(value, "size")
            elif key == b"uid":
                entry.uid = pax_number(value, "uid")
            elif key == b"gid":
                entry.gid = pax_number(value, "gid")
            elif key == b"uname":
                entry.uname = value
            elif key == b"gname":
                entry.gname = value
            elif key == b"SCHILY.devmajor":
                entry.major = pax_number(value, "device number")
            elif key == b"SCHILY.devminor":
                entry.minor = pax_number(value, "device number")
        if attributes:
            entry.xattrs = extended_attributes(records)
        stored = entry.size
        if entry.type == "file" and stored <= MAX_SIZE:
            stored = self._pax_sparse(entry, records, stored)
        return stored

    def _pax_sparse(self, entry: TarEntry, records: Records, stored: int) -> int:
        name = records.get(b"GNU.sparse.name")
        if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
            self._left = stored
            regions: list[tuple[int, int]] = []
            for _ in range(self._sparse_line()):
                offset = self._sparse_line()
                regions.append((offset, self._sparse_line()))
            entry.sparse = regions
            used = stored - self._left
            if used % BLOCK:
                self.read(BLOCK - used % BLOCK)
            stored = self._left
        elif SPARSE_MAP in records or b"GNU.sparse.size" in records:
            entry.sparse = sparse_map(records.get(SPARSE_MAP, b""))
        elif b"GNU.sparse.major" in records:
            raise ArchiveError(f"{self._what}: {printable(entry.name)}: unknown sparse format")
        else:
            return stored
        real = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
        if real is None:
            raise ArchiveError(f"{self._what}: {printable(entry.name)}: sparse file without its size")
        entry.size = pax_number(real, "sparse size")
        if name:
            entry.name = name
        return stored

    def _sparse_line(self) -> int:
        """One number of the map that sparse format 1.0 keeps in front of the data."""
        digits = b""
        while True:
            digit = self.read(1)
            if digit == b"\n":
                return pax_number(digits, "sparse map")
            digits += digit
            self._metadata += 1
            if not digit or len(digits) > 20 or self._metadata > METADATA_LIMIT:
                raise ArchiveError(f"{self._what}: malformed sparse map")

    def _old_sparse(self, entry: TarEntry, header: bytes) -> None:
        """Format 'S' of GNU tar: the map stands in the header and in the blocks behind it."""
        regions: list[tuple[int, int]] = []
        block, start, count, more = header, 386, 4, 482
        entry.sparse = regions
        while True:
            for at in range(start, start + 24 * count, 24):
                if not block[at + 12]:
                    break
                regions.append((number(block[at : at + 12], "sparse map"), number(block[at + 12 : at + 24], "sparse map")))
            if not block[more]:
                break
            block, start, count, more = self._meta(BLOCK), 0, 21, 504
        entry.size = number(header[483:495], "sparse size")

    def _check(self, entry: TarEntry, stored: int, flag: bytes) -> None:
        if flag == b"\0" and entry.name.endswith(b"/"):
            entry.type = "dir"  # v7 has no other way to say it
            entry.size = 0
        if not entry.name:
            raise ArchiveError(f"{self._what}: an entry has no name")
        if not 0 <= stored <= MAX_SIZE or not 0 <= entry.size <= MAX_SIZE:
            raise ArchiveError(f"{self._what}: {printable(entry.name)}: size out of range")
        if not 0 <= entry.uid <= _MAX_ID or not 0 <= entry.gid <= _MAX_ID:
            raise ArchiveError(f"{self._what}: {printable(entry.name)}: user or group id out of range")
        if not -_MAX_SECONDS < entry.mtime_ns // 1_000_000_000 < _MAX_SECONDS:
            raise ArchiveError(f"{self._what}: {printable(entry.name)}: modification time out of range")
        if (entry.major or entry.minor) and not (0 <= entry.major < 1 << 32 and 0 <= entry.minor < 1 << 32):
            raise ArchiveError(f"{self._what}: {printable(entry.name)}: device number out of range")
        if entry.sparse:
            position = 0
            for offset, length in entry.sparse:
                if offset < position or length < 0 or offset + length > entry.size:
                    raise ArchiveError(f"{self._what}: {printable(entry.name)}: sparse regions overlap or pass the end")
                position = offset + length
