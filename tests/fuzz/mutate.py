"""Mutations of tar streams that get past the checksum: whole fields, whole blocks, single bytes; compressed or not."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.support.archives import (
    END,
    aci,
    compress,
    device,
    directory,
    fifo,
    file,
    hardlink,
    incompressible,
    octal,
    padded,
    pax,
    raw_header,
    skippable_frame,
    symlink,
    tar,
)

BLOCK = 512

# (offset, size) of the fields of a header.
FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "flag": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "major": (329, 8),
    "minor": (337, 8),
    "prefix": (345, 155),
}
NAMES = (
    b"",
    b".",
    b"..",
    b"/",
    b"a",
    b"a/b",
    b"a/../b",
    b"../outside/canary",
    b"/etc/passwd",
    b"l",
    b"l/canary",
    b".wh.a",
    b"a/.wh..wh..opq",
    b".wh.",
    b".wh...",
    b".wh..wh.plnk/x",
    b"rootfs",
    b"rootfs/a",
    b"rootfs/../a",
    b"./rootfs/l/canary",
    b"manifest",
    b"\xff\xfe\n",
    b"n" * 100,
    b"a/" * 50,
)
NUMBERS = (
    octal(0),
    octal(1),
    octal(511),
    octal(513),
    octal(0o77777777777),
    bytes(12),
    b" " * 12,
    b"-0000000001\0",
    b"99999999999\0",
    b"\x80" + bytes(11),
    b"\x80\0\0\0" + b"\x7f" + b"\xff" * 7,
    b"\x80" + b"\xff" * 11,
    b"\xff" * 12,
)
FLAGS = b"\x000123456789xgLKSVMDNXZ"
RECORDS = (
    (b"path", b"../outside/canary"),
    (b"path", b"l/canary"),
    (b"path", b"x" * 300),
    (b"linkpath", b"../outside/canary"),
    (b"size", b"1"),
    (b"size", b"9223372036854775807"),
    (b"uid", b"4294967295"),
    (b"mtime", b"-1.000000001"),
    (b"mtime", b"99999999999999999"),
    (b"GNU.sparse.major", b"1"),
    (b"GNU.sparse.minor", b"0"),
    (b"GNU.sparse.realsize", b"1000000"),
    (b"GNU.sparse.map", b"0,1,5,1"),
    (b"GNU.sparse.size", b"10"),
    (b"SCHILY.xattr.user.a", b"b"),
    (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
    (b"SCHILY.xattr.security.capability", b"xx"),
    (b"LIBARCHIVE.xattr.user.%00", b"!"),
    (b"hdrcharset", b"BINARY"),
    (b"hdrcharset", b"x"),
)


def seeds() -> list[bytes]:
    """Archives to begin with: every type of entry and every dialect."""
    members = [
        directory("a", 0o2755, gid=5),
        file("a/f", b"data " * 300, xattrs={b"user.k": b"v"}),
        symlink("l", "../outside"),
        hardlink("h", "a/f"),
        fifo("p"),
        device("d", "char", 1, 3),
        file("long/" * 40 + "f", b"x", uid=3_000_000, mtime_ns=1_500_000_001),
        file("a/.wh.gone"),
        file("a/.wh..wh..opq"),
    ]
    sparse = pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"100")])
    body = padded(b"2\n0\n2\n50\n1\n") + b"abc"
    old = raw_header(
        b"s", b"S", size=octal(4), magic=b"ustar  \0", tail=bytes(121) + octal(0) + octal(4) + bytes(72) + b"\0" + octal(90)
    )
    gnu = raw_header(b"././@LongLink", b"L", size=octal(201)) + padded(b"n" * 200 + b"\0") + raw_header(b"n" * 100)
    return [
        tar(members),
        aci(members),
        sparse + raw_header(b"s", size=octal(len(body))) + padded(body) + END,
        old + padded(b"abcd") + END,
        gnu + END,
        pax([(b"uid", b"7")], b"g") + raw_header(b"a") + END,
        END,
        b"",
    ]


def _fixed(block: bytearray) -> bytes:
    """A header with the right checksum."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class Mutator:
    """Makes new inputs out of old ones; the same seed gives the same sequence."""

    def __init__(self, seed: int, corpus: Sequence[bytes]) -> None:
        self._random = random.Random(seed)
        self._corpus = list(corpus)

    def next(self) -> bytes:
        """One new input."""
        choose = self._random
        data = choose.choice(self._corpus)
        for _ in range(choose.randint(1, 6)):
            data = choose.choice((self._field, self._field, self._field, self._blocks, self._bytes, self._records, self._splice))(
                data
            )
        if len(data) < 60_000 and choose.random() < 0.1:
            self._corpus.append(data)
            if len(self._corpus) > 300:
                del self._corpus[choose.randrange(8, len(self._corpus))]
        if choose.random() < 0.15:
            kind = choose.choice(("gzip", "bzip2", "xz", "zstd"))
            data = compress(data, kind)
            if kind == "zstd" and choose.random() < 0.5:
                data = skippable_frame(b"toc") + data
            if choose.random() < 0.5:
                data = self._bytes(data)
        return data

    def _field(self, data: bytes) -> bytes:
        blocks = len(data) // BLOCK
        if not blocks:
            return data
        choose = self._random
        at = choose.randrange(blocks) * BLOCK
        block = bytearray(data[at : at + BLOCK])
        field = choose.choice(list(FIELDS))
        start, size = FIELDS[field]
        if field in ("name", "link", "prefix"):
            value = choose.choice(NAMES)
        elif field == "flag":
            value = bytes([choose.choice(FLAGS)])
        elif field == "magic":
            value = choose.choice((b"ustar\x0000", b"ustar  \0", bytes(8)))
        else:
            value = choose.choice(NUMBERS)[-size:]
        block[start : start + size] = value[:size].ljust(size, b"\0")
        return data[:at] + _fixed(block) + data[at + BLOCK :]

    def _blocks(self, data: bytes) -> bytes:
        choose = self._random
        blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
        if not blocks:
            return data
        at = choose.randrange(len(blocks))
        count = choose.randint(1, 4)
        action = choose.randrange(4)
        if action == 0:
            del blocks[at : at + count]
        elif action == 1:
            blocks[at:at] = blocks[at : at + count]
        elif action == 2:
            moved = blocks[at : at + count]
            del blocks[at : at + count]
            to = choose.randint(0, len(blocks))
            blocks[to:to] = moved
        else:
            blocks[at] = bytes(BLOCK) if choose.random() < 0.5 else incompressible(BLOCK, choose.randrange(1000))
        return b"".join(blocks)

    def _bytes(self, data: bytes) -> bytes:
        choose = self._random
        if not data:
            return data
        changed = bytearray(data)
        for _ in range(choose.randint(1, 4)):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        if choose.random() < 0.3:
            del changed[choose.randrange(len(changed)) :]
        return bytes(changed)

    def _records(self, data: bytes) -> bytes:
        choose = self._random
        at = choose.randint(0, len(data) // BLOCK) * BLOCK
        records = [choose.choice(RECORDS) for _ in range(choose.randint(1, 4))]
        return data[:at] + pax(records, choose.choice((b"x", b"x", b"g"))) + data[at:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._corpus)
        at = self._random.randint(0, len(data) // BLOCK) * BLOCK
        return data[:at] + other[: self._random.randint(0, len(other) // BLOCK) * BLOCK] + data[at:]
