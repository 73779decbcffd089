"""Builders of archives for tests: well-formed tar streams, raw headers that no writer would make, ACIs and OCI layers."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
from collections.abc import Callable, Iterable, Sequence

import pyzstd

from rktpy.formats.tar import TarEntry
from rktpy.formats.tar_write import TarWriter

Member = tuple[TarEntry, bytes]


def file(name: bytes | str, data: bytes = b"", mode: int = 0o644, **fields: object) -> Member:
    """A regular file with its data."""
    return _member(name, "file", mode, size=len(data), **fields), data


def directory(name: bytes | str, mode: int = 0o755, **fields: object) -> Member:
    """A directory."""
    return _member(name, "dir", mode, **fields), b""


def symlink(name: bytes | str, target: bytes | str, **fields: object) -> Member:
    """A symbolic link to ``target``."""
    return _member(name, "symlink", 0o777, link=_bytes(target), **fields), b""


def hardlink(name: bytes | str, target: bytes | str, **fields: object) -> Member:
    """A hard link to ``target``, a name in the archive."""
    return _member(name, "hardlink", 0o644, link=_bytes(target), **fields), b""


def device(name: bytes | str, kind: str, major: int, minor: int, mode: int = 0o600, **fields: object) -> Member:
    """A device node; ``kind`` is char or block."""
    return _member(name, kind, mode, major=major, minor=minor, **fields), b""


def fifo(name: bytes | str, mode: int = 0o644, **fields: object) -> Member:
    """A named pipe."""
    return _member(name, "fifo", mode, **fields), b""


def tar(members: Iterable[Member]) -> bytes:
    """A tar stream with these members."""
    out = io.BytesIO()
    writer = TarWriter(out.write)
    for entry, data in members:
        writer.add(entry, data)
    writer.close()
    return out.getvalue()


def manifest(name: str = "example.com/app", **fields: object) -> bytes:
    """An image manifest; ``fields`` are further members of the document."""
    document: dict[str, object] = {"acKind": "ImageManifest", "acVersion": "0.8.11", "name": name}
    document.update(fields)
    return json.dumps(document).encode()


def aci(members: Sequence[Member], manifest_bytes: bytes | None = None) -> bytes:
    """An uncompressed ACI. Names in ``members`` are those inside the root filesystem."""
    data = manifest() if manifest_bytes is None else manifest_bytes
    entries: list[Member] = [file("manifest", data), directory("rootfs")]
    for entry, content in members:
        copy = TarEntry(b"rootfs/" + entry.name.removeprefix(b"/"))
        for field in TarEntry.__slots__:
            if field != "name":
                setattr(copy, field, getattr(entry, field))
        if entry.type == "hardlink":
            copy.link = b"rootfs/" + entry.link.removeprefix(b"/")
        entries.append((copy, content))
    return tar(entries)


def compress(data: bytes, kind: str) -> bytes:
    """``data`` compressed as none, gzip, bzip2, xz or zstd."""
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "none": bytes,
        "gzip": lambda plain: gzip.compress(plain, 6, mtime=0),
        "bzip2": bz2.compress,
        "xz": lzma.compress,
        "zstd": pyzstd.compress,
    }
    return compressors[kind](data)


def skippable_frame(data: bytes, number: int = 0) -> bytes:
    """A zstd frame that readers must skip (RFC 8878 section 3.1.2)."""
    return (0x184D2A50 + number).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def sha256(data: bytes) -> str:
    """The digest of ``data`` in its OCI form."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image_id(data: bytes) -> str:
    """The image ID of an uncompressed ACI."""
    return "sha512-" + hashlib.sha512(data).hexdigest()


def incompressible(size: int, seed: int = 1) -> bytes:
    """``size`` bytes of noise, the same at every call."""
    return random.Random(seed).randbytes(size)


def raw_header(
    name: bytes,
    flag: bytes = b"0",
    *,
    size: bytes = b"00000000000\0",
    mode: bytes = b"0000644\0",
    uid: bytes = b"0000000\0",
    gid: bytes = b"0000000\0",
    mtime: bytes = b"00000000000\0",
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    tail: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One 512-byte header of exactly these fields; ``tail`` is what follows the magic (names, devices, prefix)."""
    front = name.ljust(100, b"\0") + mode + uid + gid + size + mtime
    back = (flag + link.ljust(100, b"\0") + magic + tail).ljust(356, b"\0")
    if checksum is None:
        checksum = b"%06o\0 " % (sum(front) + sum(back) + 8 * 32)
    block = front + checksum + back
    assert len(block) == 512, len(block)
    return block


def padded(data: bytes) -> bytes:
    """``data`` filled up to whole blocks."""
    return data + bytes(-len(data) % 512)


def octal(value: int) -> bytes:
    """A 12-byte numeric field."""
    return b"%011o\0" % value


def pax(records: Iterable[tuple[bytes, bytes]], flag: bytes = b"x") -> bytes:
    """An extended header with its data."""
    body = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(b"%d" % length) + len(rest) != length:
            length += 1
        body += b"%d" % length + rest
    return raw_header(b"PaxHeaders/x", flag, size=octal(len(body))) + padded(body)


END = bytes(1024)


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _member(name: bytes | str, kind: str, mode: int, **fields: object) -> TarEntry:
    entry = TarEntry(_bytes(name), kind, mode)
    for field, value in fields.items():
        if field not in TarEntry.__slots__:
            raise TypeError(f"a tar entry has no field {field}")
        setattr(entry, field, value)
    return entry
