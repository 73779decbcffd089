"""Unpacking one archive: the tree is what GNU tar makes of it, and what the entries say."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from functools import partial
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError, StoreError
from rktpy.formats.tar import TarEntry
from rktpy.store.limits import DEFAULT_LIMITS, Limits
from rktpy.store.pipeline import FileSource, LayerSource
from rktpy.store.render import DEFAULT_OPTIONS, RenderStats, render_oci
from rktpy.store.tree_size import measure
from rktpy.store.unpack import UnpackOptions
from tests.support.archives import (
    Member,
    device,
    directory,
    fifo,
    hardlink,
    sha256,
    symlink,
    tar,
)
from tests.support.archives import file as regular
from tests.support.trees import names, snapshot

pytestmark = pytest.mark.root


class Renderer:
    """Renders layers that are given as members or as bytes, each time into a new directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        self.stats = RenderStats(0, 0, 0, 0, 0)

    def __call__(
        self, *layers: list[Member] | bytes, limits: Limits = DEFAULT_LIMITS, options: UnpackOptions = DEFAULT_OPTIONS
    ) -> Path:
        self._count += 1
        root = self._directory / f"root{self._count}"
        root.mkdir()
        sources: list[LayerSource] = []
        for position, layer in enumerate(layers):
            data = layer if isinstance(layer, bytes) else tar(layer)
            path = self._directory / f"layer{self._count}.{position}"
            path.write_bytes(data)
            sources.append(LayerSource(partial(FileSource, str(path)), sha256(data), sha256(data)))
        self.stats = render_oci(sources, str(root), limits, options)
        # Counted while unpacking as it is when the tree is looked at.
        assert self.stats.tree_bytes == measure(str(root))
        return root


@pytest.fixture
def render(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path)


def status(path: Path) -> os.stat_result:
    return os.lstat(path)


def test_a_tree_made_by_gnu_tar_comes_out_the_same(render: Renderer, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "plain").write_bytes(b"x" * 100_000)
    (tree / "empty").touch()
    (tree / "dir" / "sub").mkdir(parents=True)
    (tree / "dir" / "sub" / "f").write_bytes(b"deep")
    (tree / "link").symlink_to("dir/sub")
    (tree / "dangling").symlink_to("/nowhere/at/all")
    os.link(tree / "plain", tree / "dir" / "hard")
    os.link(tree / "dangling", tree / "dir" / "hard symlink", follow_symlinks=False)
    os.mkfifo(tree / "fifo")
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 300))
    (tree / "setuid").touch()
    os.chown(tree / "setuid", 12, 34)
    os.chmod(tree / "setuid", 0o6755)
    os.chown(tree / "dir", 7, 8)
    os.chmod(tree / "dir", 0o3777)
    os.chown(tree / "link", 5, 6, follow_symlinks=False)
    os.setxattr(tree / "plain", "user.key", b"value\0\n")
    os.setxattr(tree / "dir", "trusted.key", b"dir")
    os.setxattr(tree / "setuid", "security.capability", struct.pack("<IIIII", 0x02000001, 0x400, 0, 0, 0))
    os.setxattr(tree / "link", "trusted.link", b"on a link", follow_symlinks=False)
    odd = os.fsencode(tree) + b"/caf\xe9 \n\xff"
    os.close(os.open(odd, os.O_CREAT))
    long = tree / ("n" * 255)
    long.mkdir()
    (long / ("m" * 255)).write_bytes(b"long")
    for path in (odd, os.fsencode(tree / "dir"), os.fsencode(tree / "plain"), os.fsencode(tree)):
        os.utime(path, ns=(0, 1_000_000_000_123_456_789))
    archive = subprocess.run(
        ["tar", "-C", str(tree), "--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sort=name", "-c", "."],
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
    ).stdout
    assert snapshot(render(archive)) == snapshot(tree)


def test_sparse_files_keep_their_holes(render: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as out:
        out.seek(50 << 20)
        out.write(b"middle")
        out.truncate(100 << 20)
    command = ["tar", "-C", str(tmp_path), "--format=posix", "--sparse", "-c", "sparse"]
    root = render(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)
    facts = status(root / "sparse")
    assert facts.st_size == 100 << 20
    assert facts.st_blocks * 512 < 1 << 20
    with (root / "sparse").open("rb") as file:
        file.seek(50 << 20)
        assert file.read(7) == b"middle\0"


def test_directories_that_have_no_entry(render: Renderer) -> None:
    root = render([regular("a/b/f", b"1", mtime_ns=5_000_000_000, uid=3, gid=4)])
    for path in (root, root / "a", root / "a" / "b"):
        facts = status(path)
        assert (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, facts.st_mtime) == (0o755, 0, 0, 5)
    assert (status(root / "a/b/f").st_uid, status(root / "a/b/f").st_gid) == (3, 4)


def test_the_entry_of_the_root(render: Renderer) -> None:
    root = render([directory("./", 0o750, uid=1, gid=2, mtime_ns=7_000_000_000, xattrs={b"user.a": b"b"}), regular("f")])
    facts = status(root)
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, facts.st_mtime) == (0o750, 1, 2, 7)
    assert os.getxattr(root, "user.a") == b"b"


@pytest.mark.parametrize("spelling", ["./a//b/./f", "/a/b/f", "a/b/f", "././/a/b//f"])
def test_spellings_of_a_name(spelling: str, render: Renderer) -> None:
    assert names(render([regular(spelling, b"1")])) == ["a", "a/b", "a/b/f"]


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o666, 0o777, 0o2755, 0o4711, 0o1777])
def test_modes_do_not_depend_on_the_umask(mode: int, render: Renderer) -> None:
    for mask in (0, 0o077, 0o027):
        before = os.umask(mask)
        try:
            root = render([regular("f", b"x", mode), directory("d", mode), fifo("p", mode), device("n", "char", 1, 3, mode)])
        finally:
            os.umask(before)
        for name in "fdpn":
            assert stat.S_IMODE(status(root / name).st_mode) == mode, (name, oct(mask))


def test_set_group_directories_do_not_leak_their_group(render: Renderer) -> None:
    members = [
        directory("d", 0o2755, uid=5, gid=6),
        regular("d/f"),
        directory("d/sub"),
        symlink("d/l", "x"),
        regular("d/implied/f"),
    ]
    root = render(members)
    for name in ("d/f", "d/sub", "d/l", "d/implied", "d/implied/f"):
        facts = status(root / name)
        assert (facts.st_uid, facts.st_gid) == (0, 0), name
    assert stat.S_IMODE(status(root / "d/sub").st_mode) == 0o755


def test_default_acls_are_not_inherited_while_unpacking(render: Renderer) -> None:
    # Version 2: user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::---
    entries = [(1, 7, 0xFFFFFFFF), (2, 7, 1000), (4, 5, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    root = render([directory("d", xattrs={b"system.posix_acl_default": acl}), regular("d/f", b"", 0o644)])
    if self_supports_acls(root):
        assert os.getxattr(root / "d", "system.posix_acl_default") == acl
    assert "system.posix_acl_access" not in os.listxattr(root / "d/f")
    assert stat.S_IMODE(status(root / "d/f").st_mode) == 0o644


def self_supports_acls(path: Path) -> bool:
    try:
        os.setxattr(path, "system.posix_acl_default", b"")
    except OSError:
        return False
    return True


def test_attributes_of_overlayfs_and_labels_are_left_out(render: Renderer) -> None:
    attributes = {b"trusted.overlay.opaque": b"y", b"user.overlay.redirect": b"/", b"security.selinux": b"x", b"user.kept": b"1"}
    root = render([directory("d", xattrs=attributes), regular("f", b"", xattrs=attributes)])
    assert os.listxattr(root / "d") == os.listxattr(root / "f") == ["user.kept"]
    assert render.stats.attributes_left_out == 6


def test_user_attributes_on_what_cannot_have_them(render: Renderer) -> None:
    render([fifo("p", xattrs={b"user.a": b"1"}), symlink("l", "x", xattrs={b"user.a": b"1"})])
    assert render.stats.attributes_left_out == 2


def test_hard_links_in_any_directory(render: Renderer) -> None:
    members = [regular("a/f", b"data"), hardlink("b/g", "a/f"), hardlink("h", "./b/g"), symlink("s", "t"), hardlink("s2", "/s")]
    root = render(members)
    assert status(root / "a/f").st_ino == status(root / "b/g").st_ino == status(root / "h").st_ino
    assert os.readlink(root / "s2") == "t"
    assert status(root / "a/f").st_nlink == 3


@pytest.mark.parametrize("target", ["missing", "d", "", "/", "h", "f/x", "s/f"])
def test_hard_links_that_cannot_be(target: str, render: Renderer) -> None:
    members = [directory("d"), regular("f"), regular("d/f"), symlink("s", "d"), hardlink("h", target)]
    with pytest.raises(ArchiveError, match=r"h: .*hard link"):
        render(members)


def test_many_directories_and_hard_links_between_them(render: Renderer) -> None:
    members = [regular(f"{number}/x/y/f", b"%d" % number) for number in range(300)]
    members += [hardlink(f"{(number * 7) % 300}/x/g{number}", f"{number}/x/y/f") for number in range(300)]
    root = render(members)
    for number in range(300):
        assert (root / f"{(number * 7) % 300}/x/g{number}").read_bytes() == b"%d" % number


@pytest.mark.parametrize("old", ["file", "dir", "symlink", "fifo"])
@pytest.mark.parametrize("new", ["file", "dir", "symlink", "fifo", "char", "hardlink"])
@pytest.mark.parametrize("layers", [1, 2])
def test_an_entry_replaces_what_is_there(old: str, new: str, layers: int, render: Renderer) -> None:
    olds: dict[str, list[Member]] = {
        "file": [regular("x", b"old", xattrs={b"user.old": b"1"})],
        "dir": [directory("x", 0o700, xattrs={b"user.old": b"1"}), regular("x/inner/f", b"old")],
        "symlink": [symlink("x", "canary")],
        "fifo": [fifo("x")],
    }
    news: dict[str, Member] = {
        "file": regular("x", b"new"),
        "dir": directory("x", 0o711),
        "symlink": symlink("x", "canary/f"),
        "fifo": fifo("x"),
        "char": device("x", "char", 1, 3),
        "hardlink": hardlink("x", "canary/f"),
    }
    below = [directory("canary"), regular("canary/f", b"canary"), *olds[old]]
    root = render(below, [news[new]]) if layers == 2 else render([*below, news[new]])
    facts = status(root / "x")
    kinds = {"file": "-", "dir": "d", "symlink": "l", "fifo": "p", "char": "c", "hardlink": "-"}
    assert stat.filemode(facts.st_mode)[0] == kinds[new]
    assert (root / "canary/f").read_bytes() == b"canary"
    assert "user.old" not in os.listxattr(root / "x", follow_symlinks=False)
    if new == "dir":
        assert stat.S_IMODE(facts.st_mode) == 0o711
        assert (root / "x/inner/f").exists() == (old == "dir")
    if new == "file":
        assert (root / "x").read_bytes() == b"new"


def test_a_replaced_directory_is_not_written_to_any_more(render: Renderer) -> None:
    root = render([regular("d/e/f", b"1"), regular("d", b"file"), directory("d"), regular("d/e/g", b"2")])
    assert names(root) == ["d", "d/e", "d/e/g"]


def test_paths_longer_than_the_system_takes(render: Renderer) -> None:
    deep = "/".join(["d" * 200] * 60)
    root = render([regular(f"{deep}/f", b"deep"), hardlink("h", f"{deep}/f"), regular(f"{deep}/g", b"2")])
    assert (root / "h").read_bytes() == b"deep"
    assert status(root / "h").st_nlink == 2


def test_names_that_the_system_does_not_take(render: Renderer) -> None:
    for member in (
        regular("n" * 256),
        directory("n" * 256),
        regular("n" * 256 + "/f"),
        symlink("l", "t" * 5000),
        symlink("l", ""),
    ):
        with pytest.raises(ArchiveError, match="cannot be unpacked"):
            render([member])


def test_depth_is_limited(render: Renderer) -> None:
    assert render([regular("a/b/c/f")], limits=Limits(max_depth=4))
    with pytest.raises(ArchiveError, match="more than 3 levels"):
        render([regular("a/b/c/f")], limits=Limits(max_depth=3))


def test_device_policies(render: Renderer) -> None:
    nodes = [device("c", "char", 1, 3, 0o666, uid=1), device("b", "block", 8, 0), fifo("p")]
    facts = status(render(nodes) / "c")
    assert (facts.st_rdev, stat.S_IMODE(facts.st_mode), facts.st_uid) == (os.makedev(1, 3), 0o666, 1)
    assert names(render(nodes, options=UnpackOptions(devices="skip"))) == ["p"]
    with pytest.raises(ArchiveError, match="c: device nodes are not allowed"):
        render(nodes, options=UnpackOptions(devices="refuse"))
    with pytest.raises(ArchiveError, match="no such device"):
        render([device("c", "char", 1 << 20, 3)])


def test_negative_and_fractional_times(render: Renderer) -> None:
    root = render([regular("f", mtime_ns=-1_500_000_000), directory("d", mtime_ns=12_345_678_901), symlink("l", "x", mtime_ns=1)])
    assert status(root / "f").st_mtime_ns == -1_500_000_000
    assert status(root / "d").st_mtime_ns == 12_345_678_901
    assert status(root / "l").st_mtime_ns == 1


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(disk)], check=True, timeout=30)
    try:
        data = tar([regular("big", b"x" * (4 << 20))])
        (tmp_path / "layer").write_bytes(data)
        (disk / "root").mkdir()
        source = LayerSource(lambda: FileSource(str(tmp_path / "layer")), sha256(data), sha256(data))
        with pytest.raises(StoreError, match="big") as caught:
            render_oci([source], str(disk / "root"))
        assert isinstance(caught.value.__cause__, OSError)
        assert os.listdir(disk / "root") == []
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=30)


def test_the_destination_must_be_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("full", "link", "missing", "full/f"):
        with pytest.raises(StoreError):
            render_oci([], str(tmp_path / name))
    assert (tmp_path / "full" / "f").exists()


def test_sparse_entries_of_our_own_writer(render: Renderer) -> None:
    entry = TarEntry(b"s", size=10_000, sparse=[(5, 3), (9_000, 2)])
    content = (render([(entry, b"abcde")]) / "s").read_bytes()
    assert content == b"\0" * 5 + b"abc" + b"\0" * (9_000 - 8) + b"de" + b"\0" * (1_000 - 2)
