"""The tar reader against hand-made headers of every dialect, good and bad."""

from __future__ import annotations

import io
import os
import subprocess
import time
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError
from rktpy.formats.tar import METADATA_LIMIT, TarEntry, TarReader
from tests.support.archives import END, octal, padded, pax, raw_header, tar
from tests.support.archives import file as regular


def read_all(data: bytes, step: int = 1 << 20) -> list[tuple[TarEntry, bytes]]:
    stream = io.BytesIO(data)
    reader = TarReader(lambda n: stream.read(min(n, step)))
    found: list[tuple[TarEntry, bytes]] = []
    while (entry := reader.next()) is not None:
        found.append((entry, reader.read()))
    return found


def one(data: bytes) -> TarEntry:
    ((entry, _data),) = read_all(data)
    return entry


def test_an_empty_stream_has_no_entries() -> None:
    assert read_all(b"") == []


@pytest.mark.parametrize("end", [b"", bytes(512), END, END + b"garbage" * 100], ids=["none", "one block", "two", "garbage"])
def test_every_accepted_end(end: bytes) -> None:
    assert [entry.name for entry, _ in read_all(raw_header(b"a") + end)] == [b"a"]


def test_a_concatenated_archive_is_not_looked_at() -> None:
    assert [entry.name for entry, _ in read_all(raw_header(b"a") + END + raw_header(b"b") + END)] == [b"a"]


def test_a_zero_block_in_the_middle_is_refused() -> None:
    with pytest.raises(ArchiveError, match="single zero block"):
        read_all(raw_header(b"a") + bytes(512) + raw_header(b"b") + END)


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 1 << 20])
def test_reads_of_any_size_give_the_same(step: int) -> None:
    data = tar([regular("a" * 150, b"x" * 1000), regular("b", b"y" * 512), regular("c")])
    assert read_all(data, step) == read_all(data)
    assert [content for _, content in read_all(data, step)] == [b"x" * 1000, b"y" * 512, b""]


@pytest.mark.parametrize("cut", [1, 511, 513, 600, 1023, 1025, 1111])
def test_truncation_is_an_error(cut: int) -> None:
    data = raw_header(b"a", size=octal(600)) + padded(b"x" * 600)
    with pytest.raises(ArchiveError, match="truncated"):
        read_all(data[:cut])


def test_truncation_is_seen_when_data_are_skipped() -> None:
    stream = io.BytesIO(raw_header(b"a", size=octal(600)) + b"x" * 100)
    reader = TarReader(stream.read)
    assert reader.next() is not None
    with pytest.raises(ArchiveError, match="truncated"):
        reader.next()


def test_v7_directories_end_in_a_slash() -> None:
    header = raw_header(b"d/", b"\0", magic=bytes(8))
    assert one(header).type == "dir"
    assert one(raw_header(b"d", b"\0", magic=bytes(8))).type == "file"


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        (b"0", "file"),
        (b"7", "file"),
        (b"1", "hardlink"),
        (b"2", "symlink"),
        (b"5", "dir"),
        (b"6", "fifo"),
        (b"3", "char"),
        (b"4", "block"),
    ],
)
def test_types(flag: bytes, kind: str) -> None:
    assert one(raw_header(b"a", flag, link=b"t")).type == kind


@pytest.mark.parametrize("flag", [b"M", b"D", b"N", b"Z", b"\xff"])
def test_unknown_types_are_refused(flag: bytes) -> None:
    with pytest.raises(ArchiveError, match="unsupported entry type"):
        read_all(raw_header(b"a", flag) + END)


@pytest.mark.parametrize("flag", [b"1", b"2", b"5", b"6"])
def test_the_size_of_what_has_no_data_is_ignored(flag: bytes) -> None:
    found = read_all(raw_header(b"a", flag, size=octal(5000), link=b"t") + raw_header(b"b") + END)
    assert [(entry.name, entry.size) for entry, _ in found] == [(b"a", 0), (b"b", 0)]


def test_ustar_prefix() -> None:
    tail = bytes(32 + 32 + 16) + b"some/prefix"
    assert one(raw_header(b"name", tail=tail)).name == b"some/prefix/name"


def test_gnu_headers_have_no_prefix() -> None:
    tail = bytes(32 + 32 + 16) + b"12345670000\0"
    assert one(raw_header(b"name", magic=b"ustar  \0", tail=tail)).name == b"name"


def test_a_name_of_exactly_one_hundred_bytes() -> None:
    assert one(raw_header(b"n" * 100)).name == b"n" * 100


def test_gnu_long_names_and_links() -> None:
    name, link = b"n" * 3000, b"l" * 3000
    data = raw_header(b"././@LongLink", b"L", size=octal(3001)) + padded(name + b"\0")
    data += raw_header(b"././@LongLink", b"K", size=octal(3001)) + padded(link + b"\0")
    entry = one(data + raw_header(b"n" * 100, b"2", link=b"l" * 100))
    assert (entry.name, entry.link) == (name, link)


def test_pax_records_override_the_header() -> None:
    records = [
        (b"path", b"long/" + b"\xc3\xa9" * 200),
        (b"uid", b"3000000"),
        (b"gid", b"4000000"),
        (b"mtime", b"1234567890.123456789"),
        (b"size", b"3"),
        (b"uname", b"someone"),
        (b"SCHILY.xattr.user.empty", b""),
        (b"SCHILY.xattr.user.x", b"a=b\nc\0"),
        (b"comment", b"ignored"),
    ]
    ((entry, data),) = read_all(pax(records) + raw_header(b"short") + padded(b"abc") + END)
    assert entry.name == b"long/" + b"\xc3\xa9" * 200
    assert (entry.uid, entry.gid, entry.mtime_ns, entry.size) == (3000000, 4000000, 1234567890_123456789, 3)
    assert entry.uname == b"someone"
    assert entry.xattrs == {b"user.empty": b"", b"user.x": b"a=b\nc\0"}
    assert data == b"abc"


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"0", 0),
        (b"1.5", 1_500_000_000),
        (b"-1.5", -1_500_000_000),
        (b"-0.25", -250_000_000),
        (b"7.", 7_000_000_000),
        (b"1.0000000019", 1_000_000_001),
    ],
)
def test_pax_times(text: bytes, nanoseconds: int) -> None:
    assert one(pax([(b"mtime", text)]) + raw_header(b"a")).mtime_ns == nanoseconds


@pytest.mark.parametrize("text", [b"x", b"1e9", b"--1", b"1.-5", b"1_0", b"9" * 30])
def test_pax_times_that_are_none(text: bytes) -> None:
    with pytest.raises(ArchiveError):
        read_all(pax([(b"mtime", text)]) + raw_header(b"a"))


def test_libarchive_attributes_yield_to_schily() -> None:
    records = [
        (b"LIBARCHIVE.xattr.user.a%3db", b"dmFsdWU"),
        (b"LIBARCHIVE.xattr.user.both", b"b2xk"),
        (b"SCHILY.xattr.user.both", b"new"),
    ]
    assert one(pax(records) + raw_header(b"a")).xattrs == {b"user.a=b": b"value", b"user.both": b"new"}


def test_global_headers_hold_until_overridden() -> None:
    data = pax([(b"uid", b"7"), (b"comment", b"c")], b"g") + raw_header(b"a") + pax([(b"uid", b"8")]) + raw_header(b"b")
    data += pax([(b"uid", b"")]) + raw_header(b"c", uid=b"0000011\0") + END
    assert [(entry.name, entry.uid) for entry, _ in read_all(data)] == [(b"a", 7), (b"b", 8), (b"c", 9)]


@pytest.mark.parametrize("charset", [b"BINARY", b"ISO-IR 10646 2000 UTF-8"])
def test_known_character_sets_keep_names_as_bytes(charset: bytes) -> None:
    assert one(pax([(b"hdrcharset", charset), (b"path", b"\xff\xfe")]) + raw_header(b"a")).name == b"\xff\xfe"


def test_other_character_sets_are_refused() -> None:
    with pytest.raises(ArchiveError, match="character set"):
        read_all(pax([(b"hdrcharset", b"ISO-IR 8859 1 1998")]) + raw_header(b"a"))


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"5 a=b\n",
        b"999 a=b\n",
        b"7 a=bc",
        b"6 abc\n",
        b"-6 a=b\n",
        b"6  a=b\n0",
        b"6 =ab\n",
        b"10 path=a\0\n",
        b"0 a=b\n",
        b"4 a=b\n",
    ],
)
def test_malformed_records(body: bytes) -> None:
    data = raw_header(b"x", b"x", size=octal(len(body))) + padded(body) + raw_header(b"a")
    with pytest.raises(ArchiveError):
        read_all(data)


@pytest.mark.parametrize("flag", [b"x", b"g", b"L", b"K"])
def test_metadata_is_bounded(flag: bytes) -> None:
    with pytest.raises(ArchiveError, match="larger than"):
        read_all(raw_header(b"x", flag, size=octal(METADATA_LIMIT + 1)))


def test_metadata_is_bounded_in_sum() -> None:
    header = raw_header(b"x", b"g", size=octal(0))
    with pytest.raises(ArchiveError, match="larger than"):
        read_all(header * 3000)


def test_an_extended_header_needs_an_entry() -> None:
    with pytest.raises(ArchiveError, match="between an extended header"):
        read_all(pax([(b"path", b"a")]) + END)


def test_base_256_numbers() -> None:
    big = b"\x80" + (1 << 40).to_bytes(11, "big")
    stream = io.BytesIO(raw_header(b"a", size=big, uid=b"\x80\0\0\0\x3b\x9a\xca\0", mtime=b"\xff" * 12))
    entry = TarReader(stream.read).next()
    assert entry is not None
    assert (entry.size, entry.uid, entry.mtime_ns) == (1 << 40, 1_000_000_000, -1_000_000_000)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": b"\xff" * 12},
        {"size": b"\xff" * 11 + b"\0"},
        {"size": b"\x80\0\0" + b"\xff" * 9},
        {"size": b"-0000000001\0"},
        {"size": b"0x000000001\0"},
        {"size": b"00000000008\0"},
        {"size": b"1_000000000\0"},
        {"uid": b"\xff" * 8},
        {"uid": b"\x80\0\0\0\xff\xff\xff\xff"},
        {"gid": b"\x80\0\0\1\0\0\0\0"},
        {"mode": b"rwxr-xr\0"},
        {"mtime": b"\x80" + b"\xff" * 11},
    ],
)
def test_impossible_numbers_are_refused(fields: dict[str, bytes]) -> None:
    with pytest.raises(ArchiveError):
        read_all(raw_header(b"a", **fields) + bytes(4096))


@pytest.mark.parametrize("size", [b"-5", b"9" * 19, b"9" * 25, b" 5", b"5 ", b"1_0"])
def test_impossible_pax_sizes(size: bytes) -> None:
    with pytest.raises(ArchiveError):
        read_all(pax([(b"size", size)]) + raw_header(b"a") + bytes(4096))


@pytest.mark.parametrize("field", [b"       \0", b"\0" * 8, b"   644 \0", b"000644 \0", b"0000644\0", b"00000644"])
def test_number_spellings(field: bytes) -> None:
    assert one(raw_header(b"a", mode=field)).mode in (0, 0o644)


def test_file_type_bits_in_the_mode_are_dropped() -> None:
    assert one(raw_header(b"a", mode=b"0104755\0")).mode == 0o4755


def test_checksums() -> None:
    good = raw_header(b"a")
    assert one(good).name == b"a"
    with pytest.raises(ArchiveError, match="checksum"):
        read_all(good[:10] + b"x" + good[11:])
    with pytest.raises(ArchiveError, match="checksum"):
        read_all(b"\x1f\x8b" + os.urandom(510))


def test_signed_checksums() -> None:
    header = raw_header(b"\xe9\xe8" * 40)
    blank = header[:148] + b" " * 8 + header[156:]
    total = sum(byte - 256 if byte > 127 else byte for byte in blank)
    negative = total < 0
    assert not negative
    assert one(raw_header(b"\xe9\xe8" * 40, checksum=b"%06o\0 " % total)).name == b"\xe9\xe8" * 40


def test_an_entry_without_a_name() -> None:
    with pytest.raises(ArchiveError, match="no name"):
        read_all(raw_header(b"") + END)


def test_old_gnu_sparse() -> None:
    regions = [(0, 3), (10, 3), (100, 3), (200, 3), (300, 3), (400, 3)]
    pairs = [octal(offset) + octal(length) for offset, length in regions]
    tail = bytes(32 + 32 + 16) + bytes(386 - 345) + b"".join(pairs[:4]) + b"\1" + octal(1000)
    header = raw_header(b"s", b"S", size=octal(18), magic=b"ustar  \0", tail=tail)
    extension = (b"".join(pairs[4:])).ljust(512, b"\0")
    ((entry, data),) = read_all(header + extension + padded(b"aaabbbcccdddeeefff") + END)
    assert (entry.type, entry.size, entry.sparse) == ("file", 1000, regions)
    assert data == b"aaabbbcccdddeeefff"


def test_pax_sparse_0_0_and_0_1() -> None:
    first = pax(
        [
            (b"GNU.sparse.size", b"100"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.offset", b"0"),
            (b"GNU.sparse.numbytes", b"2"),
            (b"GNU.sparse.offset", b"50"),
            (b"GNU.sparse.numbytes", b"1"),
        ]
    )
    second = pax([(b"GNU.sparse.size", b"100"), (b"GNU.sparse.name", b"real"), (b"GNU.sparse.map", b"0,2,50,1")])
    for header, name in ((first, b"s"), (second, b"real")):
        ((entry, data),) = read_all(header + raw_header(b"s", size=octal(3)) + padded(b"abc") + END)
        assert (entry.name, entry.size, entry.sparse, data) == (name, 100, [(0, 2), (50, 1)], b"abc")


def test_pax_sparse_1_0() -> None:
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"real"),
        (b"GNU.sparse.realsize", b"100"),
    ]
    body = padded(b"2\n0\n2\n50\n1\n") + b"abc"
    ((entry, data),) = read_all(pax(records) + raw_header(b"s", size=octal(len(body))) + padded(body) + END)
    assert (entry.name, entry.size, entry.sparse, data) == (b"real", 100, [(0, 2), (50, 1)], b"abc")


@pytest.mark.parametrize(
    "value", [b"0,2,1,1", b"0,2,50", b"0,2,100,1", b"0,3,50,1", b"-1,2", b"50,1,0,2", b"0,2,,", b"0,99999999999999999999"]
)
def test_broken_sparse_maps(value: bytes) -> None:
    header = pax([(b"GNU.sparse.size", b"100"), (b"GNU.sparse.map", value)])
    with pytest.raises(ArchiveError):
        read_all(header + raw_header(b"s", size=octal(3)) + padded(b"abc") + END)


@pytest.mark.parametrize("body", [b"2\n0\n", b"99999999999999999999999\n", b"x\n", b"\n", b"1\n5\n", b"1\n0\n5\n"])
def test_broken_sparse_1_0_maps(body: bytes) -> None:
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"100")]
    with pytest.raises(ArchiveError):
        read_all(pax(records) + raw_header(b"s", size=octal(len(body))) + padded(body) + END)


@pytest.mark.parametrize("form", ["v7", "ustar", "oldgnu", "gnu", "posix"])
def test_gnu_tar_is_read_in_all_its_formats(form: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    deep = tree / ("d" * 40) / ("e" * 40)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"hello")
    (tree / "l").symlink_to("target")
    os.link(deep / "f", tree / "h")
    os.utime(deep / "f", ns=(0, 1234567890_987654321))
    command = ["tar", "-C", str(tree), f"--format={form}", "--sort=name", "-c", "."]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout
    found = {entry.name.removeprefix(b"./").rstrip(b"/"): (entry, data) for entry, data in read_all(archive)}
    name = b"d" * 40 + b"/" + b"e" * 40 + b"/f"
    assert found[name][1] == b"hello"
    assert found[name][0].mtime_ns == (1234567890_987654321 if form == "posix" else 1234567890_000000000)
    assert found[b"l"][0].link == b"target"
    assert (found[b"h"][0].type, found[b"h"][0].link) == ("hardlink", b"./" + name)


@pytest.mark.parametrize("version", ["gnu", "0.0", "0.1", "1.0"])
def test_gnu_tar_sparse_files(version: str, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as out:
        for part in range(40):
            out.seek(part * 65536)
            out.write(b"%04d" % part * 128)
        out.truncate(4 << 20)
    form = ["--format=gnu"] if version == "gnu" else ["--format=posix", f"--sparse-version={version}"]
    command = ["tar", "-C", str(tmp_path), "--sparse", *form, "-c", "sparse"]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=30).stdout
    assert len(archive) < 1 << 20
    ((entry, data),) = read_all(archive)
    assert (entry.name, entry.size) == (b"sparse", 4 << 20)
    assert entry.sparse is not None
    whole = bytearray(entry.size)
    position = 0
    for offset, length in entry.sparse:
        whole[offset : offset + length] = data[position : position + length]
        position += length
    assert bytes(whole) == path.read_bytes()


def test_messages_are_one_printable_line() -> None:
    with pytest.raises(ArchiveError) as caught:
        read_all(raw_header(b"a\n\x1b[31mred\xff", b"Z"))
    assert str(caught.value).isprintable()


def test_parsing_is_fast_enough() -> None:
    header = raw_header(b"usr/share/some/name", tail=b"root".ljust(32, b"\0") + b"root")
    stream = header * 10_000
    best = min(_timed(stream) for _ in range(5))
    assert best < 25e-6 * 10_000, "reading an entry's header must stay far below the cost of creating a file"


def _timed(stream: bytes) -> float:
    source = io.BytesIO(stream)
    reader = TarReader(source.read)
    start = time.process_time()
    while reader.next() is not None:
        pass
    return time.process_time() - start


@pytest.mark.parametrize("step", [1 << 20, 512, 7])
def test_the_padding_of_the_last_entry_may_be_missing(step: int) -> None:
    whole = raw_header(b"a", size=octal(3)) + padded(b"abc")
    for length in (515, 516, 1023, 1024):
        assert [(entry.name, data) for entry, data in read_all(whole[:length], step)] == [(b"a", b"abc")]
    with pytest.raises(ArchiveError, match="truncated"):
        read_all(whole[:514], step)
    followed = whole + raw_header(b"b", size=octal(600)) + padded(bytes(600))
    assert [entry.name for entry, _ in read_all(followed + END, step)] == [b"a", b"b"]
