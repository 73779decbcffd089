"""Decompression by magic: members, frames, padding, truncation, damage, and the limits that stop bombs."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable

import pytest
import pyzstd
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import ArchiveError
from rktpy.formats.decompress import compression_of, open_stream
from rktpy.store.limits import DEFAULT_LIMITS, Limits
from tests.support.archives import compress, incompressible, skippable_frame

KINDS = ["none", "gzip", "bzip2", "xz", "zstd"]
PLAIN = b"some text, more or less " * 20_000 + incompressible(300_000)


@pytest.fixture(params=["installed", "fallback"], autouse=True)
def engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with igzip, and with zlib where that is not there."""
    if request.param == "fallback":
        monkeypatch.setitem(sys.modules, "isal.igzip_lib", None)


def plain(data: bytes, step: int = 1 << 20, n: int = 1 << 18, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes, str]:
    source = io.BytesIO(data)
    stream = open_stream(lambda size: source.read(min(size, step)), "test", limits)
    out = bytearray()
    while chunk := stream.read(n):
        assert len(chunk) <= n
        out += chunk
    assert stream.read(n) == b""
    assert stream.given == len(out)
    return bytes(out), stream.compression


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1000, 1 << 20])
@pytest.mark.parametrize("n", [777, 1 << 18])
def test_every_compression(kind: str, step: int, n: int) -> None:
    assert plain(compress(PLAIN, kind), step, n) == (PLAIN, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_byte_by_byte(kind: str) -> None:
    assert plain(compress(b"hello " * 50, kind), 1) == (b"hello " * 50, kind)


@pytest.mark.parametrize("step", [7, 4096, 1 << 20])
def test_very_many_small_frames(step: int) -> None:
    """As zstd:chunked layers have them, and as somebody would send them who wants to keep us busy."""
    one = compress(b"x" * 50, "zstd") + skippable_frame(b"")
    assert plain(one * 5_000, step) == (b"x" * 50 * 5_000, "zstd")
    assert plain(compress(b"a", "zstd") + skippable_frame(b"") * 50_000, max(step, 4096)) == (b"a", "zstd")


@pytest.mark.parametrize("kind", KINDS[1:])
def test_nothing_compressed(kind: str) -> None:
    assert plain(compress(b"", kind)) == (b"", kind)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"BZ", b"abc", bytes(100)])
def test_short_and_unknown_streams_are_plain(data: bytes) -> None:
    assert plain(data) == (data, "none")


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("step", [7, 1 << 20])
def test_several_members(kind: str, step: int) -> None:
    parts = [b"first " * 1000, b"", b"second " * 1000, b"x"]
    assert plain(b"".join(compress(part, kind) for part in parts), step)[0] == b"".join(parts)


@pytest.mark.parametrize("step", [1, 5, 1 << 20])
def test_skippable_frames(step: int) -> None:
    data = skippable_frame(b"front", 3) + compress(b"a" * 100, "zstd") + skippable_frame(b"x" * 1000, 15) + compress(b"b", "zstd")
    assert plain(data + skippable_frame(b""), step) == (b"a" * 100 + b"b", "zstd")


def test_gzip_header_fields_and_padding() -> None:
    out = io.BytesIO()
    with gzip.GzipFile("a name", "wb", fileobj=out) as file:
        file.write(b"data")
    assert plain(out.getvalue() + bytes(1000))[0] == b"data"
    # An eStargz footer: an empty member with an extra field (RFC 1952 section 2.3.1.1).
    extra = b"SG\x16\0" + b"0" * 16 + b"STARGZ"
    footer = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + len(extra).to_bytes(2, "little") + extra + b"\x01\0\0\xff\xff" + bytes(8)
    assert plain(compress(b"data", "gzip") + footer)[0] == b"data"


def test_xz_padding_comes_by_fours() -> None:
    assert plain(compress(b"a", "xz") + bytes(8) + compress(b"b", "xz") + bytes(4))[0] == b"ab"
    with pytest.raises(ArchiveError, match="garbage"):
        plain(compress(b"a", "xz") + bytes(3))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("garbage", [b"garbage", b"\x1f\x8bgarbage", b"x"])
def test_garbage_behind_the_stream(kind: str, garbage: bytes) -> None:
    with pytest.raises(ArchiveError):
        plain(compress(PLAIN, kind) + garbage)


def test_zeros_between_gzip_members() -> None:
    with pytest.raises(ArchiveError, match="garbage"):
        plain(compress(b"a", "gzip") + bytes(4) + compress(b"b", "gzip"))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_truncation_at_any_place(kind: str) -> None:
    data = compress(b"some text " * 30 + incompressible(200), kind)
    for end in range(6, len(data)):
        with pytest.raises(ArchiveError):
            plain(data[:end])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_damage_is_noticed(kind: str) -> None:
    content = incompressible(100_000)
    data = bytearray(pyzstd.compress(content, {pyzstd.CParameter.checksumFlag: 1}) if kind == "zstd" else compress(content, kind))
    data[len(data) // 2] ^= 0x55
    with pytest.raises(ArchiveError):
        plain(bytes(data))


def test_the_crc_of_gzip_is_checked() -> None:
    data = bytearray(compress(b"hello", "gzip"))
    data[-6] ^= 1
    with pytest.raises(ArchiveError, match="gzip"):
        plain(bytes(data))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_bombs_are_stopped_by_the_ratio(kind: str) -> None:
    bomb = compress(bytes(8 << 20), kind)
    limits = Limits(max_ratio=100, ratio_floor_bytes=1 << 20)
    with pytest.raises(ArchiveError, match="100 times"):
        plain(bomb, limits=limits)
    assert plain(compress(bytes(1 << 19), kind), limits=limits)[0] == bytes(1 << 19)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_limit_counts_plain_bytes(kind: str) -> None:
    data = compress(bytes(100_000), kind)
    assert len(plain(data, limits=Limits(max_unpacked_bytes=100_000))[0]) == 100_000
    with pytest.raises(ArchiveError, match="larger than 99999 bytes"):
        plain(data, limits=Limits(max_unpacked_bytes=99_999))


def test_a_huge_window_is_refused() -> None:
    options = {pyzstd.CParameter.windowLog: 27, pyzstd.CParameter.contentSizeFlag: 0}
    compressor = pyzstd.ZstdCompressor(options)
    data = compressor.compress(b"a" * 1000) + compressor.flush()
    assert plain(data)[0] == b"a" * 1000
    with pytest.raises(ArchiveError, match="zstd"):
        plain(data, limits=Limits(max_window_bytes=1 << 26))


def test_a_huge_xz_dictionary_is_refused() -> None:
    data = lzma.compress(b"a" * 1000, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}])
    with pytest.raises(ArchiveError, match="xz"):
        plain(data)


def test_errors_of_the_source_pass_through() -> None:
    data = compress(PLAIN, "gzip")
    source = io.BytesIO(data)

    def read(n: int) -> bytes:
        if source.tell() > 1000:
            raise OSError(5, "Input/output error")
        return source.read(500)

    stream = open_stream(read, "test")
    with pytest.raises(OSError, match="Input/output"):
        while stream.read():
            pass


def test_compression_of_looks_at_the_magic() -> None:
    assert compression_of(zlib.compress(b"x")) == "none"
    assert compression_of(bz2.compress(b"x")) == "bzip2"
    assert compression_of(b"\x5f\x2a\x4d\x18") == "zstd"
    assert compression_of(b"\x60\x2a\x4d\x18") == "none"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS[1:]), st.binary(max_size=400), st.data())
def test_damaged_streams_give_bytes_or_an_error(kind: str, content: bytes, data: st.DataObject) -> None:
    stream = bytearray(compress(content, kind))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    try:
        plain(bytes(stream), limits=Limits(max_unpacked_bytes=1 << 24))
    except ArchiveError as error:
        assert "\n" not in str(error)


def test_reading_is_a_function_of_the_stream_only() -> None:
    readers: list[Callable[[int], bytes]] = [io.BytesIO(compress(PLAIN, "gzip")).read, io.BytesIO(compress(PLAIN, "zstd")).read]
    streams = [open_stream(read, "test") for read in readers]
    assert streams[0].read(10) == streams[1].read(10) == PLAIN[:10]
