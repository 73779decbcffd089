"""Tricks of layers that are laid over each other, and what they may make us remember."""

from __future__ import annotations

import os
import resource
import time
from functools import partial
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError, RktpyError, UsageError
from rktpy.store.limits import Limits
from rktpy.store.pipeline import FileSource, LayerSource
from rktpy.store.render import render_oci
from rktpy.store.store import Store
from tests.support.archives import (
    END,
    Member,
    device,
    directory,
    hardlink,
    pax,
    raw_header,
    sha256,
    symlink,
    tar,
)
from tests.support.archives import aci as make_archive
from tests.support.archives import file as regular

pytestmark = pytest.mark.root

DEFAULT_ACL = bytes.fromhex("0200000001000700ffffffff04000700ffffffff20000700ffffffff")
INHERITED = b"system.posix_acl_default"


def render(root: Path, *layers: bytes, limits: Limits | None = None) -> Path:
    root.mkdir()
    sources: list[LayerSource] = []
    for number, data in enumerate(layers):
        path = root.with_name(f"{root.name}.{number}")
        path.write_bytes(data)
        sources.append(LayerSource(partial(FileSource, str(path)), sha256(data), sha256(data)))
    render_oci(sources, str(root), limits or Limits())
    return root


@pytest.mark.parametrize("way", ["whiteout", "file between", "whiteout, implied"])
def test_a_default_acl_goes_with_its_directory(tmp_path: Path, way: str) -> None:
    first = tar([directory("d", xattrs={INHERITED: DEFAULT_ACL})])
    middle: list[Member] = [regular("d")] if way == "file between" else [regular(".wh.d")]
    last: list[Member] = [regular("d/f")] if way == "whiteout, implied" else [directory("d")]
    kept = render(tmp_path / "kept", first)
    if INHERITED.decode() not in os.listxattr(kept / "d"):
        pytest.skip("no ACLs on this file system")
    root = render(tmp_path / "root", first, tar(middle), tar(last))
    assert os.listxattr(root / "d") == []


def test_one_entry_does_not_fill_the_memory(tmp_path: Path) -> None:
    # Each directory on the way is remembered with its whole path.
    name = b"/".join([b"d" * 250] * 1000)
    archive = b"".join(pax([(b"path", b"%d/%b" % (n, name))]) + raw_header(b"f") for n in range(20)) + END
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArchiveError, match="the path is longer than"):
        render(tmp_path / "root", archive)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_implied_directories_are_counted(tmp_path: Path) -> None:
    archive = tar([regular(b"%d/" % n + b"d/" * 50 + b"f") for n in range(10)])
    with pytest.raises(ArchiveError, match="more than 300 entries"):
        render(tmp_path / "one", archive, limits=Limits(max_entries=300))
    with pytest.raises(ArchiveError, match="names of its files"):
        render(tmp_path / "two", tar([]), archive, limits=Limits(max_names_bytes=20_000))
    render(tmp_path / "three", tar([]), archive)


def test_repeated_whiteouts_cost_nothing(tmp_path: Path) -> None:
    members = [regular(f"d/f{n}") for n in range(2000)]
    members += [regular("d/.wh..wh..opq")] * 3000
    began = time.monotonic()
    root = render(tmp_path / "root", tar([regular("d/old")]), tar(members))
    assert time.monotonic() - began < 10
    assert len(os.listdir(root / "d")) == 2000


def test_links_of_lower_layers_are_never_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"untouched")
    lower = tar([symlink("link", str(outside)), symlink("name", str(outside / "file")), hardlink("hard", "name")])
    upper = tar(
        [
            regular("hard", b"new"),
            hardlink("again", "name"),
            regular("again", b"new"),
            regular("link/.wh.file"),
            regular("link/.wh..wh..opq"),
            regular("name/.wh..wh..opq"),
        ]
    )
    root = render(tmp_path / "root", lower, upper)
    assert (outside / "file").read_bytes() == b"untouched"
    assert os.readlink(root / "name") == str(outside / "file")
    assert (root / "hard").read_bytes() == (root / "again").read_bytes() == b"new"
    assert not (root / "hard").is_symlink()
    # Into a link of a lower layer: it gives place to a directory. One of the same layer: an error.
    root = render(tmp_path / "root2", lower, tar([regular("link/file", b"mine", mode=0o4755), hardlink("l2", "link/file")]))
    assert (outside / "file").read_bytes() == b"untouched"
    assert (root / "link/file").read_bytes() == b"mine"
    for members in (
        [symlink("s", str(outside)), regular("s/file", b"x")],
        [symlink("s", str(outside)), hardlink("mine", "s/file")],
        [symlink("s", str(outside)), directory("s/new")],
        [symlink("a", "b"), symlink("b", str(outside)), device("a/dev", "char", 1, 3)],
    ):
        with pytest.raises(ArchiveError):
            render(tmp_path / f"bad{id(members)}", tar([regular("old")]), tar(members))
    assert sorted(os.listdir(outside)) == ["file"]


def test_extracting_over_a_directory_loses_nothing_when_it_fails(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "data"))
    data = make_archive([regular("f", b"new")])
    path = tmp_path / "image.aci"
    path.write_bytes(data)
    imported = store.import_aci(str(path))
    from rktpy.store.image_record import ImageRecord

    record = ImageRecord(imported.id, "aci", imported.manifest.name, blobs=(imported.digest,))
    store.add_image(record, imported.manifest_bytes)
    target = tmp_path / "out" / "tree"
    target.mkdir(parents=True)
    (target / "precious").write_bytes(b"data")
    blob = Path(store.blob_path(imported.digest))
    sound = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(sound.replace(b"new", b"bad"))
    for rootfs_only in (False, True):
        with pytest.raises(RktpyError):
            store.extract(imported.id, str(target), rootfs_only=rootfs_only, overwrite=True)
        with pytest.raises(UsageError, match="exists"):
            store.extract(imported.id, str(target), rootfs_only=rootfs_only)
    assert (target / "precious").read_bytes() == b"data"
    blob.write_bytes(sound)
    store.extract(imported.id, str(target), overwrite=True)
    assert sorted(os.listdir(target)) == ["manifest", "rootfs"]
    assert target.stat().st_mode & 0o7777 == 0o755
    store.extract(imported.id, str(target), rootfs_only=True, overwrite=True)
    assert os.listdir(target) == ["f"]
    assert os.listdir(target.parent) == ["tree"]
