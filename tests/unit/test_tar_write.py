"""The tar writer: deterministic bytes, and archives that other readers understand."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import ArchiveError
from rktpy.formats.tar import TarEntry, TarReader
from rktpy.formats.tar_write import TarWriter
from tests.support.archives import directory, symlink, tar
from tests.support.archives import file as regular
from tests.unit.test_tar_reader import read_all

_component = st.binary(min_size=1, max_size=60).filter(
    lambda part: b"\0" not in part and b"/" not in part and part not in (b".", b"..")
)
_names = st.lists(_component, min_size=1, max_size=8).map(b"/".join)
_ids = st.integers(0, 0xFFFFFFFE)
_times = st.integers(-(10**18), 10**18)
_attributes = st.dictionaries(
    st.binary(min_size=1, max_size=30).filter(lambda key: b"\0" not in key and b"=" not in key),
    st.binary(max_size=100),
    max_size=3,
)
_owners = st.binary(max_size=40).filter(lambda name: b"\0" not in name)


@st.composite
def members(draw: st.DrawFn) -> tuple[TarEntry, bytes]:
    kind = draw(st.sampled_from(["file", "dir", "symlink", "hardlink", "char", "block", "fifo"]))
    data = draw(st.binary(max_size=1500)) if kind == "file" else b""
    return (
        TarEntry(
            draw(_names) + (b"/" if kind == "dir" else b""),
            kind,
            draw(st.integers(0, 0o7777)),
            draw(_ids),
            draw(_ids),
            len(data),
            draw(_times),
            draw(_names) if kind in ("symlink", "hardlink") else b"",
            draw(st.integers(0, 0xFFFFFFFF)) if kind in ("char", "block") else 0,
            draw(st.integers(0, 0xFFFFFFFF)) if kind in ("char", "block") else 0,
            draw(_attributes),
            None,
            draw(_owners),
            draw(_owners),
        ),
        data,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(members(), max_size=4), st.sampled_from([1, 100, 512, 4096, 1 << 20]))
def test_what_is_written_is_read_again(entries: list[tuple[TarEntry, bytes]], step: int) -> None:
    archive = tar(entries)
    assert read_all(archive, step) == entries
    assert tar(entries) == archive


@settings(max_examples=100, deadline=None)
@given(st.lists(members(), max_size=3))
def test_python_reads_what_we_write(entries: list[tuple[TarEntry, bytes]]) -> None:
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
    kinds |= {"char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}
    # tarfile decodes pax records that are no UTF-8 only as a whole, and takes devices from the octal field alone.
    with tarfile.open(fileobj=io.BytesIO(tar(entries)), errors="surrogateescape", encoding="utf-8") as archive:
        for (entry, data), info in zip(entries, archive, strict=True):
            assert info.name.encode("utf-8", "surrogateescape") == entry.name.rstrip(b"/")
            assert info.type == kinds[entry.type]
            assert (info.uid, info.gid, info.mode, info.size) == (entry.uid, entry.gid, entry.mode, entry.size)
            assert info.linkname.encode("utf-8", "surrogateescape") == entry.link
            if entry.type == "file":
                stream = archive.extractfile(info)
                assert stream is not None
                assert stream.read() == data


@settings(max_examples=100, deadline=None)
@given(st.lists(members(), max_size=3), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_we_read_what_python_writes(entries: list[tuple[TarEntry, bytes]], form: int) -> None:
    out = io.BytesIO()
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
    kinds |= {"char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape", encoding="utf-8") as archive:
        for entry, data in entries:
            info = tarfile.TarInfo(entry.name.rstrip(b"/").decode("utf-8", "surrogateescape"))
            info.type = kinds[entry.type]
            info.mode, info.uid, info.gid, info.size = entry.mode, entry.uid, entry.gid, entry.size
            info.mtime = abs(entry.mtime_ns) // 10**9
            info.linkname = entry.link.decode("utf-8", "surrogateescape")
            archive.addfile(info, io.BytesIO(data))
    found = read_all(out.getvalue())
    assert len(found) == len(entries)
    for (got, content), (entry, data) in zip(found, entries, strict=True):
        assert (got.name.rstrip(b"/"), got.type, got.mode, got.uid, got.gid) == (
            entry.name.rstrip(b"/"),
            entry.type,
            entry.mode,
            entry.uid,
            entry.gid,
        )
        assert (got.link, got.mtime_ns, content) == (entry.link, abs(entry.mtime_ns) // 10**9 * 10**9, data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000))
def test_noise_is_read_or_refused(noise: bytes) -> None:
    try:
        read_all(noise)
    except ArchiveError as error:
        assert str(error).isprintable()


@settings(max_examples=300, deadline=None)
@given(st.lists(members(), min_size=1, max_size=3), st.data())
def test_damage_is_read_or_refused(entries: list[tuple[TarEntry, bytes]], data: st.DataObject) -> None:
    archive = bytearray(tar(entries))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    reader = TarReader(io.BytesIO(bytes(archive)).read)
    try:
        while reader.next() is not None:
            reader.read()
    except ArchiveError:
        pass


def test_plain_entries_need_no_extended_header() -> None:
    archive = tar([directory("d"), regular("d/f", b"abc"), symlink("l", "d/f"), regular("p" * 90 + "/" + "n" * 100, b"")])
    assert b"PaxHeaders" not in archive
    assert len(archive) == 512 * (4 + 1 + 2)


def test_sparse_files_are_written_with_their_map() -> None:
    entry = TarEntry(b"s", size=1 << 30, sparse=[(0, 3), (1 << 29, 4)])
    archive = tar([(entry, b"abcdefg")])
    assert len(archive) < 8192
    assert read_all(archive) == [(entry, b"abcdefg")]


def test_data_may_be_a_reader() -> None:
    out = io.BytesIO()
    writer = TarWriter(out.write)
    writer.add(TarEntry(b"f", size=1_000_000), io.BytesIO(b"x" * 1_000_000).read)
    writer.close()
    assert read_all(out.getvalue())[0][1] == b"x" * 1_000_000


@pytest.mark.parametrize("data", [b"", b"ab", b"abcd"])
def test_data_of_another_length_are_refused(data: bytes) -> None:
    writer = TarWriter(lambda _data: None)
    with pytest.raises(ValueError, match="instead of 3"):
        writer.add(TarEntry(b"f", size=3), data)
    with pytest.raises(ValueError, match="instead of 3"):
        writer.add(TarEntry(b"f", size=3), lambda _n: data if data != b"ab" else b"")


@pytest.mark.parametrize("entry", [TarEntry(b""), TarEntry(b"a\0b"), TarEntry(b"a", xattrs={b"user.a=b": b""})])
def test_names_that_cannot_be_written(entry: TarEntry) -> None:
    with pytest.raises(ValueError, match="name"):
        TarWriter(lambda _data: None).add(entry, b"")
