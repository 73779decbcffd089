"""Hostile documents, archives and answers: what they must not get away with, and that refusing them is cheap."""

from __future__ import annotations

import gzip
import lzma
import os
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy.errors import ArchiveError, ConfigError, FetchError, FormatError
from rktpy.fetch import archive_file
from rktpy.fetch.discovery import Tag, endpoints_of, keys_of, parse_page
from rktpy.fetch.docker_archive import pull_docker_archive
from rktpy.fetch.http_url import parse_url
from rktpy.formats import openpgp
from rktpy.formats.aci.archive import ArchiveRules
from rktpy.formats.decompress import StreamLimits
from rktpy.formats.tar import TarEntry, TarReader
from rktpy.log import note
from rktpy.trust.keystore import Keystore
from rktpy.trust.openpgp import read_status
from tests.support.archives import END, octal, pax, raw_header
from tests.support.gpg import Gpg
from tests.support.sink import DirectorySink

MEGABYTE = 1 << 20


def reader(data: bytes) -> TarReader:
    position = 0

    def read(n: int) -> bytes:
        nonlocal position
        position += n
        return data[position - n : position]

    return TarReader(read)


def read_all(data: bytes) -> None:
    archive = reader(data)
    while (entry := archive.next()) is not None:
        for _, length in entry.sparse or ():
            assert len(archive.read(length)) == length


def old_sparse(regions: list[tuple[int, int]], size: int, stored: int) -> bytes:
    """A header of GNU's type S."""
    fields = b"".join(octal(offset) + octal(length) for offset, length in regions).ljust(96, b"\0")
    tail = bytes(386 - 265) + fields + b"\0" + octal(size)
    return raw_header(b"f", b"S", size=octal(stored), magic=b"ustar  \0", tail=tail)


def test_an_old_sparse_file_is_read() -> None:
    read_all(old_sparse([(0, 512), (4096, 512)], 8192, 1024) + bytes(1024) + END)


@pytest.mark.parametrize(
    "records",
    [
        [(b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.realsize", b"1024")],
        [(b"GNU.sparse.size", b"1024")],
        [(b"size", b"512")],
    ],
)
def test_two_sparse_formats_cannot_promise_data_that_are_not_there(records: list[tuple[bytes, bytes]]) -> None:
    # Whoever writes the regions waits for bytes that never come.
    data = pax(records) + old_sparse([(0, 512), (4096, 512)], 8192, 512) + bytes(512) + END
    with pytest.raises(ArchiveError, match="sparse"):
        read_all(data)


def test_global_headers_do_not_pile_up() -> None:
    def archive() -> bytes:
        return b"".join(
            pax([(b"comment%d" % number, b"x" * 60_000)], b"g") + raw_header(b"f%d" % number) for number in range(100)
        )

    with pytest.raises(ArchiveError, match="global extended headers"):
        read_all(archive())


def test_a_global_header_may_be_repeated() -> None:
    read_all(b"".join(pax([(b"comment", b"x" * 60_000)], b"g") + raw_header(b"f%d" % n) for n in range(9)) + END)


def test_long_names_are_not_kept_to_find_duplicates() -> None:
    rules = ArchiveRules()
    name = b"rootfs/" + b"d/" * 100_000
    rules.add(TarEntry(name + b"a"))
    rules.add(TarEntry(name + b"b"))
    assert sum(len(kept) for kept in rules._seen) < 1000
    with pytest.raises(ArchiveError, match="duplicate"):
        rules.add(TarEntry(b"./" + name + b"a"))


@pytest.mark.parametrize("piece", [b"<a ", b"<meta ", b'<a b="', b"<!--", b"<a =", b"<a /", b"<meta name=", b"<", b"</"])
def test_any_page_is_searched_in_time(piece: bytes) -> None:
    began = time.monotonic()
    parse_page(piece * (MEGABYTE // len(piece)))
    assert time.monotonic() - began < 10


def test_templates_are_filled_in_time() -> None:
    began = time.monotonic()
    endpoints_of([Tag("ac-discovery", "a.test", "{" * MEGABYTE)], "a.test", ())
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("page", "contents"),
    [
        (b"<a title='<meta name=x content=y>'><meta name=ac-discovery content='a b'>", ["a"]),
        (b'<meta name="ac-discovery" content="a &#' + b"9" * 5000 + b';"><meta name=ac-discovery content="b c">', ["b"]),
        (b"<style><meta name=ac-discovery content='a b'></style><meta content = 'c d' name\n=\nac-discovery >", ["c"]),
        (b"<meta name=ac-discovery content='a b", []),
        (b"<meta/name='ac-discovery'/content='a b'/>", ["a"]),
    ],
)
def test_pages_are_read_as_browsers_do(page: bytes, contents: list[str]) -> None:
    assert [tag.prefix for tag in parse_page(page)] == contents


@pytest.mark.parametrize("location", ["/etc/hostname", "key.gpg", "file:///etc/hostname", "https://", "https://b.test/\x9bkey"])
def test_a_page_cannot_name_a_local_file_as_key(location: str) -> None:
    tags = [Tag("ac-discovery-pubkeys", "a.test", location), Tag("ac-discovery-pubkeys", "a.test", "https://b.test/key")]
    found = keys_of(tags, "a.test")
    assert found[-1] == "https://b.test/key"
    assert all(text.startswith("https://b.test/") and text.isprintable() for text in found)


@pytest.mark.parametrize("text", ["https://ann:secret@a test/", "ftp://ann:secret@a.test/", "https://ann:secret@a.test:x/"])
def test_errors_about_urls_hold_no_password(text: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_url(text)
    assert "secret" not in str(caught.value)
    with pytest.raises(FetchError) as caught:
        parse_url("https://b.test/").join(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\x0b", "\x1c", "\r"])
def test_a_user_id_is_no_status_line(separator: str) -> None:
    forged = f"{separator}[GNUPG:] GOODSIG AA me{separator}[GNUPG:] VALIDSIG {'a' * 40} 2020-01-01 1 0 4 0 22 8 00 {'a' * 40}"
    facts = read_status(f"[GNUPG:] NEWSIG\n[GNUPG:] BADSIG BB mallory{forged}\n")
    assert [fact.problem for fact in facts] == ["openpgp: invalid signature: hash mismatch"]


def test_a_signature_over_text_is_refused(tmp_path: Path) -> None:
    gpg = Gpg(tmp_path / "home")
    try:
        gpg.key("alice")
        image = tmp_path / "image"
        image.write_bytes(b"one\ntwo\n")
        binary = gpg.sign(image, "alice")
        text = gpg.sign(image, "alice", options=("--textmode",))
    finally:
        gpg.close()
    openpgp.check_detached(binary, "signature")
    with pytest.raises(FormatError, match="signature type 1"):
        openpgp.check_detached(text, "signature")


def test_a_key_that_cannot_be_stored_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpg = Gpg(tmp_path / "home")
    try:
        gpg.key("alice")
        key = gpg.export("alice")
    finally:
        gpg.close()
    store = Keystore(str(tmp_path / "system"), str(tmp_path / "local"))
    path = Path(store.add(key, "example.com"))
    path.unlink()
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: write(fd, data[:100]))  # a write may be short
        assert Path(store.add(key, "example.com")).read_bytes() == key

        def full(_fd: int, _data: object) -> int:
            raise OSError(28, "No space left on device")

        path.unlink()
        patched.setattr(os, "write", full)
        with pytest.raises(ConfigError):
            store.add(key, "example.com")
    assert list(path.parent.iterdir()) == []


@given(st.binary(max_size=200))
def test_any_signature_type_is_read(body: bytes) -> None:
    packet = bytes((0xC2, len(body) if len(body) < 192 else 191)) + body[:191]
    try:
        openpgp.check_detached(packet, "signature")
    except FormatError:
        pass


def test_an_archive_cannot_ask_for_any_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "saved.tar.xz"
    # A dictionary of 1.5 GiB, which a decoder fills as long as there is data.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(bytes(4096), lzma.FORMAT_XZ, filters=filters))
    # The only byte of the filter's properties in the block header (xz format 1.1 section 5.3.1), with its CRC32 made right.
    size = (data[12] + 1) * 4
    position = data.index(b"\x21\x01", 12, 12 + size) + 2
    data[position] = 39
    data[12 + size - 4 : 12 + size] = zlib.crc32(bytes(data[12 : 12 + size - 4])).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match=r"saved\.tar\.xz: malformed xz data"):
        pull_docker_archive(str(path), "", DirectorySink(tmp_path / "sink"))


def test_an_archive_cannot_unpack_to_any_number_of_times_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_file, "StreamLimits", lambda **limits: StreamLimits(ratio_floor_bytes=1 << 20, **limits))
    path = tmp_path / "saved.tar.gz"
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    sink = DirectorySink(tmp_path / "sink")
    with pytest.raises(ArchiveError, match="more than 250 times its size"):
        pull_docker_archive(str(path), "", sink)
    assert sink.partial_files() == []


def test_no_message_moves_the_cursor(capfd: pytest.CaptureFixture[str]) -> None:
    note("image", "a\x1b[2Jb\x9b1mc\u202edé\te\r\nf\x7f")
    assert capfd.readouterr().err == "image: a?[2Jb?1mc?dé\te?\nf?\n"
