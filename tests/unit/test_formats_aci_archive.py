"""Archive rules and writing of ACIs (formats/aci/archive.py, formats/aci/write.py)."""

from __future__ import annotations

import io
import json
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rktpy.errors import ArchiveError
from rktpy.formats.aci.archive import LARGEST_MANIFEST, ArchiveRules, clean_name, inside_rootfs
from rktpy.formats.aci.write import write_aci
from rktpy.formats.tar import TarEntry, TarReader

MANIFEST = json.dumps({"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.org/a"}).encode()

GOOD = (
    TarEntry(b"manifest", size=100),
    TarEntry(b"rootfs", "dir"),
    TarEntry(b"rootfs/bin", "dir"),
    TarEntry(b"rootfs/bin/sh"),
    TarEntry(b"rootfs/bin/ash", "hardlink", link=b"./rootfs/bin/sh"),
    TarEntry(b"rootfs/etc", "symlink", link=b"/nowhere/.."),
)


def check(*entries: TarEntry) -> list[str]:
    rules = ArchiveRules("image a.aci")
    kinds = [rules.add(entry) for entry in entries]
    rules.finish()
    return kinds


def test_any_order_is_fine() -> None:
    shuffled = list(GOOD)
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        kinds = check(*shuffled)
        assert kinds.count("manifest") == 1
        assert kinds.count("rootfs") == 5


def test_cleaned_names() -> None:
    assert check(TarEntry(b"./", "dir"), TarEntry(b"./manifest"), TarEntry(b"./rootfs/", "dir"), TarEntry(b".//rootfs/./x")) == [
        "",
        "manifest",
        "rootfs",
        "rootfs",
    ]
    assert clean_name(b"./a//b/./c/") == b"a/b/c"
    assert clean_name(b"./") == b""
    assert inside_rootfs(b"./rootfs//a\xff/b") == b"a\xff/b"
    assert inside_rootfs(b"rootfs/") == b""
    assert inside_rootfs(b"rootfsx") is None
    assert inside_rootfs(b"manifest") is None


def test_rootfs_is_implied_by_what_is_in_it() -> None:
    check(TarEntry(b"manifest"), TarEntry(b"rootfs/bin/sh"))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((TarEntry(b"rootfs", "dir"),), "no image manifest found in layout"),
        ((TarEntry(b"manifest"),), "no rootfs found in layout"),
        ((), "no image manifest found in layout"),
        ((TarEntry(b"manifest"), TarEntry(b"rootfs")), "rootfs is not a directory"),
        ((TarEntry(b"manifest"), TarEntry(b"rootfs", "symlink", link=b"/")), "rootfs is not a directory"),
        ((TarEntry(b"manifest", "symlink", link=b"rootfs/x"),), "manifest is not a regular file"),
        ((TarEntry(b"manifest", "dir"),), "manifest is not a regular file"),
        ((TarEntry(b"manifest", size=LARGEST_MANIFEST + 1),), "is larger than"),
        ((*GOOD, TarEntry(b"./manifest")), "duplicate file entry in archive: manifest"),
        ((*GOOD, TarEntry(b"rootfs//bin/sh")), "duplicate file entry in archive: rootfs/bin/sh"),
        ((*GOOD, TarEntry(b"README")), "unrecognized file path in layout: README"),
        ((*GOOD, TarEntry(b"rootfs2/x")), "unrecognized file path in layout: rootfs2/x"),
        ((*GOOD, TarEntry(b"manifest/x")), "unrecognized file path in layout: manifest/x"),
        ((*GOOD, TarEntry(b"/rootfs/x")), "absolute name in archive: /rootfs/x"),
        ((*GOOD, TarEntry(b"rootfs/../x")), "name with .. in archive"),
        ((*GOOD, TarEntry(b"..")), "name with .. in archive"),
        ((*GOOD, TarEntry(b".", "symlink", link=b"/")), "entry without a name"),
        ((*GOOD, TarEntry(b"rootfs/l", "hardlink", link=b"manifest")), "hard link rootfs/l to manifest outside the rootfs"),
        ((*GOOD, TarEntry(b"rootfs/l", "hardlink", link=b"rootfs")), "outside the rootfs"),
        ((*GOOD, TarEntry(b"rootfs/l", "hardlink", link=b"/etc/shadow")), "absolute name in archive: /etc/shadow"),
        ((*GOOD, TarEntry(b"rootfs/\x1b[2J")), ""),
    ],
)
def test_rules(entries: tuple[TarEntry, ...], message: str) -> None:
    if not message:
        check(*entries)
        return
    with pytest.raises(ArchiveError) as caught:
        check(*entries)
    assert str(caught.value).startswith("image a.aci: ")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"manifest", b"rootfs", b"rootfs/a", b"./rootfs/a/b", b"x", b"/x", b"a/..", b"", b"."]), max_size=5)
)
def test_any_names_are_fine_or_an_error(names: list[bytes]) -> None:
    try:
        check(*[TarEntry(name, "dir" if name in (b"rootfs", b".", b"") else "file") for name in names])
    except ArchiveError:
        return
    assert b"manifest" in names
    assert not {b"x", b"/x", b"a/.."} & set(names)


def packed(entries: list[tuple[TarEntry, bytes | None]], **options: int) -> bytes:
    out = io.BytesIO()
    write_aci(out.write, MANIFEST, entries, **options)
    return out.getvalue()


FILES: list[tuple[TarEntry, bytes | None]] = [
    (TarEntry(b"bin/ash", "hardlink", link=b"bin/sh"), None),
    (TarEntry(b"bin/sh", mode=0o755, uid=1, gid=2, size=5, mtime_ns=10**18, uname=b"me", gname=b"us"), b"hello"),
    (TarEntry(b"bin", "dir", 0o755), None),
    (TarEntry(b"bin-x", size=1), b"x"),
    (TarEntry(b"./etc/", "dir", 0o700), None),
    (TarEntry(b"etc/link", "symlink", link=b"../bin"), None),
    (TarEntry(b"etc/\xff", xattrs={b"user.a": b"\0b"}), None),
    (TarEntry(b"dev", "char", major=1, minor=3), None),
]


def test_writing_is_deterministic() -> None:
    wanted = packed(FILES)
    for seed in range(10):
        shuffled = list(FILES)
        random.Random(seed).shuffle(shuffled)
        assert packed(shuffled) == wanted


def test_what_is_written_keeps_the_rules() -> None:
    reader = TarReader(io.BytesIO(packed(FILES)).read)
    rules = ArchiveRules()
    seen: list[TarEntry] = []
    while (entry := reader.next()) is not None:
        rules.add(entry)
        seen.append(entry)
    rules.finish()
    names = [entry.name.rstrip(b"/") for entry in seen]
    assert names == [
        b"manifest",
        b"rootfs",
        b"rootfs/bin",
        b"rootfs/bin/sh",
        b"rootfs/bin-x",
        b"rootfs/dev",
        b"rootfs/etc",
        b"rootfs/etc/link",
        b"rootfs/etc/\xff",
        b"rootfs/bin/ash",
    ]
    assert all(not entry.uname and not entry.gname for entry in seen)
    shell = seen[3]
    assert (shell.mode, shell.uid, shell.gid, shell.mtime_ns) == (0o755, 1, 2, 10**18)
    assert seen[8].xattrs == {b"user.a": b"\0b"}
    assert (seen[9].type, seen[9].link) == ("hardlink", b"rootfs/bin/sh")


def test_another_reader_agrees() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(FILES)), mode="r:") as archive:
        assert archive.getnames()[:4] == ["manifest", "rootfs", "rootfs/bin", "rootfs/bin/sh"]
        manifest = archive.extractfile("manifest")
        shell = archive.extractfile("rootfs/bin/ash")
        assert manifest is not None and manifest.read() == MANIFEST
        assert shell is not None and shell.read() == b"hello"


def test_given_times() -> None:
    reader = TarReader(io.BytesIO(packed(FILES, mtime_ns=5 * 10**9)).read)
    while (entry := reader.next()) is not None:
        assert entry.mtime_ns == 5 * 10**9
    assert FILES[1][0].mtime_ns == 10**18  # the caller's entries are left alone


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(TarEntry(b"../x"), None)], "name with .. in archive"),
        ([(TarEntry(b"/x"), None)], "absolute name"),
        ([(TarEntry(b"x"), None), (TarEntry(b"./x"), None)], "duplicate file entry"),
        ([(TarEntry(b"."), None)], "rootfs is not a directory"),
        ([(TarEntry(b"x", "hardlink", link=b"y"), None)], "which is not in the archive"),
    ],
)
def test_bad_input_is_refused(entries: list[tuple[TarEntry, bytes | None]], message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        packed(entries)


def test_an_empty_image() -> None:
    reader = TarReader(io.BytesIO(packed([])).read)
    entries = [reader.next(), reader.next(), reader.next()]
    assert [entry and entry.name.rstrip(b"/") for entry in entries] == [b"manifest", b"rootfs", None]
