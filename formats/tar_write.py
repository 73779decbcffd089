"""Writer of tar archives with deterministic bytes: the same entries give the same archive.

An entry is a plain ustar header (POSIX.1-1988) when that can express it; otherwise an extended header (POSIX.1-2001) with fixed
name and sorted records stands in front. Nothing is taken from the clock or from the running system.

Hot-path module: imports only our own ones.
"""

from __future__ import annotations

from rktpy.formats.tar import TarEntry
from rktpy.formats.tar_fields import BLOCK, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FLAGS = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "dir": b"5", "fifo": b"6"}
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_COPY = 1 << 18


class TarWriter:
    """Writes entries to ``write(data)`` as they are added; :meth:`close` writes the end marks."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def add(self, entry: TarEntry, data: bytes | Callable[[int], bytes | memoryview] | None = None) -> None:
        """Append ``entry`` with its data: bytes, or ``read(n)`` that gives 1 to n bytes at a time.

        Only files have data: ``entry.size`` bytes, or with ``entry.sparse`` the bytes of its regions one after the other. Raises
        ValueError when the data have another length, or when the entry cannot be expressed.
        """
        regions = b""
        stored = entry.size if entry.type == "file" else 0
        records: dict[bytes, bytes] = {}
        if entry.sparse is not None and entry.type == "file":
            regions = _sparse_block(entry.sparse)
            stored = sum(length for _, length in entry.sparse) + len(regions)
            records[b"GNU.sparse.major"] = b"1"
            records[b"GNU.sparse.minor"] = b"0"
            records[b"GNU.sparse.name"] = entry.name
            records[b"GNU.sparse.realsize"] = b"%d" % entry.size
        header = _header(entry, stored, records)
        if records:
            self._extended(entry.name, records)
        self._write(header)
        if regions:
            self._write(regions)
        self._data(entry, data, stored - len(regions))

    def close(self) -> None:
        """Write the two zero blocks that end an archive. The sink is not closed."""
        self._write(bytes(2 * BLOCK))

    def _extended(self, name: bytes, records: dict[bytes, bytes]) -> None:
        if any(not _is_utf8(value) for key, value in records.items() if key in (b"path", b"linkpath", b"GNU.sparse.name")):
            records[b"hdrcharset"] = b"BINARY"
        body = b"".join(_record(key, records[key]) for key in sorted(records))
        short = b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2][:80]
        self._write(_ustar(short, b"", b"x", 0o644, 0, 0, len(body), 0, b"", b"", b"", 0, 0))
        self._write(body + bytes(-len(body) % BLOCK))

    def _data(self, entry: TarEntry, data: bytes | Callable[[int], bytes | memoryview] | None, expected: int) -> None:
        if data is None or isinstance(data, bytes):
            data = data or b""
            if len(data) != expected:
                raise ValueError(f"{printable(entry.name)}: {len(data)} bytes of data instead of {expected}")
            self._write(data + bytes(-expected % BLOCK))
            return
        left = expected
        while left:
            part = bytes(data(min(left, _COPY)))
            if not part or len(part) > left:
                raise ValueError(f"{printable(entry.name)}: {expected - left + len(part)} bytes of data instead of {expected}")
            left -= len(part)
            self._write(part)
        self._write(bytes(-expected % BLOCK))


def _header(entry: TarEntry, stored: int, records: dict[bytes, bytes]) -> bytes:
    """The ustar block of ``entry``; what does not fit is put into ``records`` instead."""
    if not entry.name or b"\0" in entry.name or b"\0" in entry.link:
        raise ValueError(f"{printable(entry.name)}: not a name that an archive can hold")
    name, prefix = entry.name, b""
    if entry.type == "dir" and not name.endswith(b"/"):
        name += b"/"
    if len(name) > 100:
        cut = name.find(b"/", max(0, len(name) - 101), min(len(name) - 1, 156))
        if cut > 0:
            prefix, name = name[:cut], name[cut + 1 :]
        else:
            records[b"path"] = name
            name = name[:100].rstrip(b"/") or b"name"
    link = entry.link
    if len(link) > 100:
        records[b"linkpath"] = link
        link = link[:100]
    for key, value in entry.xattrs.items():
        if not key or b"=" in key or b"\0" in key:
            raise ValueError(f"{printable(entry.name)}: not a name of an extended attribute: {printable(key)}")
        records[b"SCHILY.xattr." + key] = value
    seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
    if nanoseconds or not 0 <= seconds <= _OCTAL_11:
        records[b"mtime"] = _time(entry.mtime_ns)
        seconds = min(max(seconds, 0), _OCTAL_11)
    numbers: list[int] = []
    for key, amount, top in ((b"uid", entry.uid, _OCTAL_7), (b"gid", entry.gid, _OCTAL_7), (b"size", stored, _OCTAL_11)):
        if amount > top:
            records[key] = b"%d" % amount
        numbers.append(amount if amount <= top else 0)
    for key, text in ((b"uname", entry.uname), (b"gname", entry.gname)):
        if len(text) > 31:
            records[key] = text
    major, minor = (entry.major, entry.minor) if entry.type in ("char", "block") else (0, 0)
    for key, amount in ((b"SCHILY.devmajor", major), (b"SCHILY.devminor", minor)):
        if amount > _OCTAL_7:
            records[key] = b"%d" % amount
    return _ustar(
        name,
        prefix,
        _FLAGS[entry.type],
        entry.mode,
        numbers[0],
        numbers[1],
        numbers[2],
        seconds,
        link,
        entry.uname[:31],
        entry.gname[:31],
        min(major, _OCTAL_7),
        min(minor, _OCTAL_7),
    )


def _ustar(
    name: bytes,
    prefix: bytes,
    flag: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    uname: bytes,
    gname: bytes,
    major: int,
    minor: int,
) -> bytes:
    front = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, uid, gid, size, mtime)
    back = b"%b%bustar\x0000%b%b%07o\0%07o\0%b" % (
        flag,
        link.ljust(100, b"\0"),
        uname.ljust(32, b"\0"),
        gname.ljust(32, b"\0"),
        major,
        minor,
        prefix.ljust(155, b"\0"),
    )
    block = front + b" " * 8 + back + bytes(12)
    return front + b"%06o\0 " % sum(block) + back + bytes(12)


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    if len(str(total)) != len(str(length)):
        total = length + len(str(total))
    return b"%d %b=%b\n" % (total, key, value)


def _time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    text = b"%b%d" % (sign, seconds)
    return text + (b".%09d" % fraction).rstrip(b"0") if fraction else text


def _sparse_block(regions: list[tuple[int, int]]) -> bytes:
    lines = b"%d\n" % len(regions) + b"".join(b"%d\n%d\n" % region for region in regions)
    return lines + bytes(-len(lines) % BLOCK)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
