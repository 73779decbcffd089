"""Layers over each other: whiteouts, replaced paths, digests, growing files."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError, DigestMismatch, FetchError, InputError, StoreError
from rktpy.store.limits import Limits
from rktpy.store.pipeline import FileSource, GrowingFile, LayerSource
from rktpy.store.render import render_oci
from tests.integration.test_unpack import Renderer
from tests.support.archives import (
    Member,
    compress,
    device,
    directory,
    hardlink,
    incompressible,
    sha256,
    skippable_frame,
    symlink,
    tar,
)
from tests.support.archives import file as regular
from tests.support.trees import names

pytestmark = pytest.mark.root


@pytest.fixture
def render(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path)


def whiteout(path: str) -> Member:
    above, slash, name = path.rpartition("/")
    return regular(f"{above}{slash}.wh.{name}")


def opaque(path: str) -> Member:
    return regular(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq")


LOWER = [
    directory("a", 0o700),
    regular("a/one", b"1"),
    regular("a/two", b"2"),
    directory("a/sub"),
    regular("a/sub/three", b"3"),
    symlink("a/link", "sub"),
    device("a/null", "char", 1, 3),
    regular("b", b"b"),
]


def test_a_whiteout_hides_a_file(render: Renderer) -> None:
    root = render(LOWER, [whiteout("a/one"), whiteout("b"), whiteout("a/null"), whiteout("a/link")])
    assert names(root) == ["a", "a/sub", "a/sub/three", "a/two"]


def test_a_whiteout_hides_a_directory(render: Renderer) -> None:
    assert names(render(LOWER, [whiteout("a")])) == ["b"]


def test_a_whiteout_of_nothing(render: Renderer) -> None:
    assert names(render(LOWER[-1:], [whiteout("x"), whiteout("x/y/z"), whiteout("b/c"), opaque("x"), opaque("b")])) == ["b"]
    assert names(render([whiteout("x"), opaque(""), regular("f")])) == ["f"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_whiteout_spares_its_own_layer(order: int, render: Renderer) -> None:
    upper = [whiteout("a"), directory("a"), regular("a/new", b"n"), whiteout("b"), regular("b", b"B")][::order]
    root = render(LOWER, upper)
    assert names(root) == ["a", "a/new", "b"]
    assert (root / "b").read_bytes() == b"B"


@pytest.mark.parametrize("order", [1, -1])
def test_an_opaque_whiteout_hides_the_siblings_of_lower_layers(order: int, render: Renderer) -> None:
    upper = [directory("a"), opaque("a"), regular("a/new"), regular("a/two", b"again"), directory("a/sub"), regular("a/sub/new")][
        ::order
    ]
    root = render(LOWER, upper)
    assert names(root) == ["a", "a/new", "a/sub", "a/sub/new", "a/two", "b"]
    assert (root / "a/two").read_bytes() == b"again"


def test_an_opaque_root(render: Renderer) -> None:
    assert names(render(LOWER, [regular("x/y"), opaque("")])) == ["x", "x/y"]


def test_an_opaque_directory_in_a_middle_layer(render: Renderer) -> None:
    assert names(render(LOWER, [opaque("a"), regular("a/m")], [regular("a/t")])) == ["a", "a/m", "a/t", "b"]


def test_a_file_comes_back_in_a_third_layer(render: Renderer) -> None:
    root = render(LOWER, [whiteout("b")], [regular("b", b"third")])
    assert (root / "b").read_bytes() == b"third"


def test_whiteouts_do_not_follow_links(render: Renderer) -> None:
    root = render([directory("d"), regular("d/f"), symlink("l", "d")], [whiteout("l/f"), opaque("l")])
    assert names(root) == ["d", "d/f", "l"]
    assert names(render([directory("d"), regular("d/f"), symlink("l", "d")], [whiteout("l")])) == ["d", "d/f"]


def test_names_reserved_by_aufs_are_passed_over(render: Renderer) -> None:
    members = [
        directory(".wh..wh.plnk"),
        regular(".wh..wh.plnk/12.34", b"x"),
        regular(".wh..wh.aufs"),
        directory(".wh..wh.orph"),
        regular("f"),
    ]
    assert names(render(members)) == ["f"]
    assert names(render(members, members)) == ["f"]


@pytest.mark.parametrize("name", [".wh.", "a/.wh.", ".wh...", "a/.wh..", ".wh.x/y", "a/.wh.x/y/z"])
def test_malformed_whiteouts(name: str, render: Renderer) -> None:
    with pytest.raises(ArchiveError, match="whiteout"):
        render(LOWER, [regular(name)])


def test_ordinary_names_that_look_like_whiteouts(render: Renderer) -> None:
    assert names(render([regular("x.wh.y"), regular("a/.whx")])) == ["a", "a/.whx", "x.wh.y"]


def test_an_upper_layer_goes_through_no_link_of_a_lower_one(render: Renderer) -> None:
    root = render([directory("usr/lib"), regular("usr/lib/old"), symlink("lib", "usr/lib")], [regular("lib/new", b"n")])
    assert names(root) == ["lib", "lib/new", "usr", "usr/lib", "usr/lib/old"]
    root = render([directory("usr/lib"), regular("usr/lib/old"), symlink("lib", "usr/lib")], [directory("lib", 0o711)])
    assert os.path.isdir(root / "lib") and not os.path.islink(root / "lib")


def test_directories_merge_and_take_the_upper_metadata(render: Renderer) -> None:
    root = render(
        [directory("d", 0o700, uid=1, mtime_ns=10**9, xattrs={b"user.low": b"1"}), regular("d/a")],
        [directory("d", 0o755, gid=2, mtime_ns=2 * 10**9, xattrs={b"user.up": b"2"}), regular("d/b", mtime_ns=9 * 10**9)],
    )
    facts = os.stat(root / "d")
    assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_gid, facts.st_mtime) == (0o755, 0, 2, 2)
    assert os.listxattr(root / "d") == ["user.up"]
    assert names(root) == ["d", "d/a", "d/b"]


def test_times_of_directories_survive_what_happens_in_them(render: Renderer) -> None:
    root = render([directory("d", mtime_ns=10**9), regular("d/a", mtime_ns=3 * 10**9)], [whiteout("d/a"), regular("d/b")])
    assert os.stat(root / "d").st_mtime == 1


def test_hard_links_to_lower_layers(render: Renderer) -> None:
    root = render([regular("f", b"low")], [hardlink("g", "f")])
    assert os.stat(root / "g").st_ino == os.stat(root / "f").st_ino


def test_no_layers_at_all(render: Renderer) -> None:
    assert names(render()) == []


@pytest.mark.parametrize("kind", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_layers_compressed_in_every_way(kind: str, tmp_path: Path) -> None:
    layers: list[LayerSource] = []
    for number in range(5):
        plain = tar([regular(f"f{number}", incompressible(300_000, number)), regular("last", b"%d" % number)])
        data = compress(plain, kind)
        if kind == "zstd":
            data = skippable_frame(b"toc") + data + skippable_frame(b"toc")
        path = tmp_path / f"layer{number}"
        path.write_bytes(data)
        layers.append(LayerSource(partial(FileSource, str(path)), sha256(data), sha256(plain)))
    (tmp_path / "root").mkdir()
    stats = render_oci(layers, str(tmp_path / "root"))
    assert names(tmp_path / "root") == [*(f"f{number}" for number in range(5)), "last"]
    assert (tmp_path / "root/last").read_bytes() == b"4"
    assert stats.entries == 10
    assert stats.bytes == 5 * 300_001


def source(directory: Path, data: bytes, diff_id: str) -> LayerSource:
    path = directory / sha256(data)[7:19]
    path.write_bytes(data)
    return LayerSource(lambda: FileSource(str(path)), sha256(data), diff_id)


def test_a_wrong_diff_id_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    good, bad = tar([regular("good")]), tar([regular("bad")])
    with pytest.raises(DigestMismatch, match=sha256(bad)):
        render_oci([source(tmp_path, good, sha256(good)), source(tmp_path, bad, sha256(good))], str(root))
    assert os.listdir(root) == []


def test_what_follows_the_end_of_the_archive_counts_for_the_diff_id(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    data = tar([regular("f")])
    with pytest.raises(DigestMismatch):
        render_oci([source(tmp_path, data + b"tail" * 100_000, sha256(data))], str(root))
    render_oci([source(tmp_path, data + b"tail" * 100_000, sha256(data + b"tail" * 100_000))], str(root))


def test_an_unknown_algorithm(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(InputError, match="algorithm"):
        render_oci([source(tmp_path, b"", "md5:00")], str(tmp_path / "root"))


def test_the_total_of_all_layers_is_limited(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    data = tar([regular("f", b"x" * 1000)])
    layers = [source(tmp_path, data, sha256(data))] * 3
    with pytest.raises(ArchiveError, match="the image is larger"):
        render_oci(layers, str(tmp_path / "root"), Limits(max_unpacked_bytes=2 * len(data)))
    with pytest.raises(ArchiveError, match="more than 2 entries"):
        render_oci(layers, str(tmp_path / "root"), Limits(max_entries=2))
    render_oci(layers, str(tmp_path / "root"), Limits(max_entries=3, max_unpacked_bytes=3 * len(data)))


def growing(tmp_path: Path) -> tuple[GrowingFile, Path, bytes, bytes]:
    plain = tar([regular("a", incompressible(500_000)), regular("b", b"b")])
    path = tmp_path / "partial"
    path.touch()
    return GrowingFile(str(path)), path, compress(plain, "gzip"), plain


def test_a_layer_is_unpacked_while_it_arrives(tmp_path: Path) -> None:
    file, path, data, plain = growing(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    seen: list[bool] = []

    def arrive() -> None:
        with path.open("ab", buffering=0) as out:
            for start in range(0, len(data), 40_000):
                out.write(data[start : start + 40_000])
                file.advance(min(start + 40_000, len(data)))
                time.sleep(0.01)
            deadline = time.monotonic() + 10
            while not (root / "b").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            seen.append((root / "b").exists())
            path.rename(tmp_path / "blob")
        file.done()

    writer = threading.Thread(target=arrive)
    writer.start()
    try:
        render_oci([LayerSource(file.open, sha256(data), sha256(plain))], str(root))
    finally:
        writer.join(30)
        file.close()
    assert seen == [True], "everything was unpacked before the download was known to be complete"
    assert (root / "a").stat().st_size == 500_000


def test_a_failed_download_ends_the_rendering(tmp_path: Path) -> None:
    file, path, data, plain = growing(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    path.write_bytes(data[:200_000])
    file.advance(200_000)
    timer = threading.Timer(0.2, file.fail, [FetchError("connection reset")])
    timer.start()
    with pytest.raises(FetchError, match="connection reset"):
        render_oci([LayerSource(file.open, sha256(data), sha256(plain))], str(root))
    assert os.listdir(root) == []
    file.close()


def test_a_broken_layer_does_not_wait_for_the_next_one(tmp_path: Path) -> None:
    file, _path, data, plain = growing(tmp_path)
    (tmp_path / "root").mkdir()
    start = time.monotonic()
    broken = b"this is no archive" * 100
    with pytest.raises(ArchiveError, match="checksum"):
        render_oci(
            [source(tmp_path, broken, sha256(broken)), LayerSource(file.open, sha256(data), sha256(plain))],
            str(tmp_path / "root"),
        )
    assert time.monotonic() - start < 5
    file.close()


def test_a_download_that_begins_again(tmp_path: Path) -> None:
    file, path, data, plain = growing(tmp_path)
    (tmp_path / "root").mkdir()
    path.write_bytes(data[:100_000])
    file.advance(100_000)

    def again() -> None:
        with path.open("r+b", buffering=0) as out:
            out.truncate(0)
            file.advance(0)
            out.write(data[:50_000])
            file.advance(50_000)
            out.write(data[50_000:])
        file.done()

    timer = threading.Timer(0.2, again)
    timer.start()
    render_oci([LayerSource(file.open, sha256(data), sha256(plain))], str(tmp_path / "root"))
    timer.join()
    assert names(tmp_path / "root") == ["a", "b"]
    file.close()


def test_without_root_the_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.chown(tmp_path / "root", 1000, 1000)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.chdir(tmp_path)
            os.setgid(1000)
            os.setuid(1000)
            try:
                render_oci([], "root")
            except StoreError as error:
                status = 0 if "needs root" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
