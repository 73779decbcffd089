"""Archives that try to touch what lies outside of the root, or to ask for more than the limits allow."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError, RktpyError
from rktpy.formats.tar import TarEntry
from rktpy.store.limits import Limits
from rktpy.store.pipeline import FileSource, LayerSource
from rktpy.store.render import AciSource, render_aci, render_oci
from tests.support.archives import (
    END,
    Member,
    compress,
    device,
    directory,
    fifo,
    hardlink,
    image_id,
    manifest,
    pax,
    raw_header,
    sha256,
    symlink,
    tar,
)
from tests.support.archives import file as regular
from tests.support.trees import snapshot

pytestmark = pytest.mark.root


class Outside:
    """A directory with a canary beside the root that is rendered into."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.canary = directory / "outside"
        (self.canary / "dir").mkdir(parents=True)
        (self.canary / "file").write_bytes(b"untouched")
        (self.canary / "dir" / "inner").write_bytes(b"untouched too")
        self._before = snapshot(self.canary)
        self._count = 0

    def oci(self, *layers: bytes, limits: Limits | None = None) -> Path:
        self._count += 1
        root = self._directory / f"root{self._count}"
        root.mkdir()
        sources: list[LayerSource] = []
        for number, data in enumerate(layers):
            path = self._directory / f"layer{self._count}.{number}"
            path.write_bytes(data)
            sources.append(LayerSource(partial(FileSource, str(path)), sha256(data), sha256(data)))
        try:
            render_oci(sources, str(root), limits or Limits())
        except RktpyError as error:
            assert str(error).isprintable()
            assert os.listdir(root) == []
            raise
        finally:
            self.check()
        return root

    def aci(self, data: bytes) -> Path:
        self._count += 1
        root = self._directory / f"root{self._count}"
        root.mkdir()
        path = self._directory / f"image{self._count}"
        path.write_bytes(data)
        try:
            render_aci([AciSource(image_id(data), lambda: FileSource(str(path)))], str(root))
        finally:
            self.check()
        return root

    def check(self) -> None:
        assert snapshot(self.canary) == self._before, "something outside of the root was changed"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    found = Outside(tmp_path)
    yield found
    found.check()


def attacks(canary: str) -> dict[str, list[list[Member]]]:
    """By name: layers that would change ``canary`` if a name in them were believed."""
    up = "../" * 12
    return {
        "absolute name": [[regular(f"{canary}/file", b"bad")]],
        "absolute directory": [[directory(f"{canary}/dir", 0o777, uid=1)]],
        "dots": [[regular(f"{up}{canary[1:]}/file", b"bad")]],
        "dots behind a name": [[regular(f"a/b/../../{up}{canary[1:]}/file", b"bad")]],
        "dots as a directory": [[directory("..", 0o777, uid=7)]],
        "file through an absolute link": [[symlink("l", canary), regular("l/file", b"bad")]],
        "file through a relative link": [[symlink("l", f"{up}{canary[1:]}"), regular("l/file", b"bad")]],
        "file through two links": [[symlink("a", canary), symlink("b", "a"), regular("b/file", b"bad")]],
        "file through a link of a lower layer": [[symlink("l", canary)], [regular("l/file", b"bad")]],
        "directory through a link": [[symlink("l", canary)], [directory("l/dir", 0o777, uid=1), regular("l/dir/inner", b"bad")]],
        "file over a link": [[symlink("l", f"{canary}/file"), regular("l", b"bad")]],
        "file over a link of a lower layer": [[symlink("l", f"{canary}/file")], [regular("l", b"bad", uid=1, mode=0o777)]],
        "directory over a link": [[symlink("l", canary)], [directory("l", 0o777, uid=1, mtime_ns=1, xattrs={b"user.a": b"b"})]],
        "metadata of a link": [[symlink("l", f"{canary}/file", uid=1, gid=1, mtime_ns=1, xattrs={b"trusted.a": b"b"})]],
        "hard link to an absolute name": [[hardlink("h", f"{canary}/file"), regular("h", b"bad")]],
        "hard link with dots": [[hardlink("h", f"{up}{canary[1:]}/file")]],
        "hard link through a link": [[symlink("l", canary), hardlink("h", "l/file")]],
        "hard link to a link, then written": [[symlink("l", f"{canary}/file"), hardlink("h", "l"), regular("h", b"bad")]],
        "hard link below a link": [[symlink("l", canary)], [regular("f"), hardlink("l/file", "f")]],
        "device through a link": [[symlink("l", canary)], [device("l/file", "char", 1, 3)]],
        "fifo over a link": [[symlink("l", f"{canary}/file")], [fifo("l", 0o777)]],
        "whiteout with dots": [[regular("f")], [regular(f"{up}{canary[1:]}/.wh.file")]],
        "whiteout of an absolute name": [[regular("f")], [regular(f"{canary}/.wh.file")]],
        "whiteout of the parent": [[regular("f")], [regular(".wh...")]],
        "whiteout of the root": [[regular("f")], [regular(".wh..")]],
        "whiteout with a slash": [[regular("f")], [regular(".wh./../../file")]],
        "whiteout through a link": [[symlink("l", canary)], [regular("l/.wh.file"), regular("l/.wh.dir")]],
        "opaque through a link": [[symlink("l", canary)], [regular("l/.wh..wh..opq")]],
        "opaque with dots": [[regular("f")], [regular(f"{up}{canary[1:]}/.wh..wh..opq")]],
        "whiteout of a link": [[symlink("l", canary)], [regular(".wh.l")]],
        "opaque over links": [[symlink("d/l", canary)], [regular("d/.wh..wh..opq")]],
        "replaced directory with links": [[symlink("d/l", canary), symlink("d/m", f"{canary}/dir")], [regular("d")]],
        "link placed where a directory was": [[directory("d"), regular("d/x"), symlink("d", canary), regular("d/file", b"bad")]],
        "link placed where a directory was, in an upper layer": [
            [directory("d"), regular("d/x")],
            [regular("d/y"), symlink("d", canary), regular("d/file", b"bad")],
        ],
        "times of a directory that became a link": [[directory("d", mtime_ns=1), symlink("d", canary)]],
        "default acl of a directory that became a link": [
            [directory("d", xattrs={b"system.posix_acl_default": b"\2\0\0\0"}), symlink("d", canary)]
        ],
        "a link to proc": [[symlink("l", "/proc/self/root"), regular(f"l{canary}/file", b"bad")]],
        "a link to a descriptor": [[symlink("l", "/proc/self/fd/0"), regular("l/file", b"bad")]],
    }


@pytest.mark.parametrize("name", sorted(attacks("/x")))
@pytest.mark.parametrize("base", [False, True], ids=["alone", "over a base"])
def test_nothing_outside_is_touched(name: str, base: bool, outside: Outside) -> None:
    layers = [tar(layer) for layer in attacks(str(outside.canary))[name]]
    if base:
        layers.insert(0, tar([regular("etc/passwd", b"root")]))
    try:
        root = outside.oci(*layers)
    except ArchiveError:
        return
    for path, (*_, detail, _first) in snapshot(root).items():
        assert detail != b"untouched", f"{path!r} shows a file from outside"


@pytest.mark.parametrize("name", sorted(attacks("/x")))
def test_nothing_outside_is_touched_by_an_aci(name: str, outside: Outside) -> None:
    members: list[Member] = [regular("manifest", manifest()), directory("rootfs")]
    for layer in attacks(str(outside.canary))[name]:
        for entry, data in layer:
            entry.name = b"rootfs/" + entry.name
            if entry.type == "hardlink":
                entry.link = b"rootfs/" + entry.link
            members.append((entry, data))
    try:
        outside.aci(tar(members))
    except ArchiveError:
        pass


def test_an_absolute_name_lands_inside(outside: Outside) -> None:
    root = outside.oci(tar([regular("/etc/shadow", b"in here")]))
    assert (root / "etc/shadow").read_bytes() == b"in here"


def test_a_hard_link_never_shows_a_file_from_outside(outside: Outside) -> None:
    for target in (f"{outside.canary}/file", "/etc/passwd", "/proc/self/environ"):
        with pytest.raises(ArchiveError, match="not there"):
            outside.oci(tar([hardlink("h", target)]))


@pytest.mark.parametrize(
    "header",
    [
        raw_header(b"f", size=b"\xff" * 12),
        raw_header(b"f", size=b"-0000000001\0"),
        raw_header(b"f", size=b"\x80" + b"\xff" * 11),
        pax([(b"size", b"-1")]) + raw_header(b"f"),
        pax([(b"size", b"9223372036854775808")]) + raw_header(b"f"),
        pax([(b"GNU.sparse.size", b"-5"), (b"GNU.sparse.map", b"")]) + raw_header(b"f"),
        pax([(b"path", b"a\0b")]) + raw_header(b"f"),
    ],
)
def test_impossible_headers(header: bytes, outside: Outside) -> None:
    with pytest.raises(ArchiveError):
        outside.oci(header + END)


def test_a_size_that_is_not_there_is_refused_before_a_byte_is_read(outside: Outside) -> None:
    with pytest.raises(ArchiveError, match="more than"):
        outside.oci(raw_header(b"huge", size=b"\x80\0\0\0" + (1 << 62).to_bytes(8, "big")) + b"x" * 1024)


def test_holes_count(outside: Outside) -> None:
    entry = TarEntry(b"holes", size=1 << 50, sparse=[(0, 1)])
    with pytest.raises(ArchiveError, match="holes: more than"):
        outside.oci(tar([(entry, b"x")]))


def test_a_file_larger_than_the_file_system_takes(outside: Outside) -> None:
    entry = TarEntry(b"holes", size=(1 << 63) - 1, sparse=[])
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        outside.oci(tar([(entry, b"")]), limits=Limits(max_unpacked_bytes=1 << 63))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_compression_bombs(kind: str, outside: Outside) -> None:
    bomb = compress(tar([regular("zeros", bytes(64 << 20))]), kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArchiveError, match="250 times"):
        outside.oci(bomb, limits=Limits(ratio_floor_bytes=8 << 20))
    with pytest.raises(ArchiveError, match=r"larger than|more than"):
        outside.oci(bomb, limits=Limits(max_unpacked_bytes=8 << 20))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_bomb_behind_the_end_of_the_archive(outside: Outside) -> None:
    bomb = compress(tar([regular("f")]) + bytes(64 << 20), "gzip")
    with pytest.raises(ArchiveError, match="250 times"):
        outside.oci(bomb, limits=Limits(ratio_floor_bytes=8 << 20))


def test_a_bomb_of_entries(outside: Outside) -> None:
    with pytest.raises(ArchiveError, match="more than 100 entries"):
        outside.oci(tar([device(f"d{number}", "block", 8, number) for number in range(101)]), limits=Limits(max_entries=100))


def test_whiteouts_count_as_entries(outside: Outside) -> None:
    with pytest.raises(ArchiveError, match="more than 100 entries"):
        outside.oci(tar([regular(f".wh.{number}") for number in range(101)]), limits=Limits(max_entries=100))


def test_a_bomb_of_attributes(outside: Outside) -> None:
    attributes = {b"user.%d" % number: b"x" * 1000 for number in range(300)}
    with pytest.raises(ArchiveError, match="extended attributes"):
        outside.oci(tar([regular("f", xattrs=attributes)]))
    with pytest.raises(ArchiveError, match="extended attributes"):
        outside.oci(tar([regular("f", xattrs={b"user.a": b"x" * 100})]), limits=Limits(max_xattr_bytes=99))


def test_a_bomb_of_levels(outside: Outside) -> None:
    with pytest.raises(ArchiveError, match="levels deep"):
        outside.oci(tar([directory("a/" * 5000)]))


def test_a_deep_tree_is_removed_again(outside: Outside) -> None:
    # The last entry fails, so that everything must be taken away.
    with pytest.raises(ArchiveError):
        outside.oci(tar([directory("a/" * 1000), regular("..")]))


def test_escape_sequences_do_not_reach_the_terminal(outside: Outside) -> None:
    with pytest.raises(ArchiveError) as caught:
        outside.oci(tar([regular("\x1b]0;title\x07/../x\n")]))
    assert str(caught.value).isprintable()
