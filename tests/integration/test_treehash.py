"""The content hash of trees: equal for equal trees, different for every difference that an app can see."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rktpy.errors import StoreError
from rktpy.store.treehash import differences, hash_tree
from tests.integration.test_unpack import Renderer
from tests.support.archives import Member, device, directory, fifo, hardlink, incompressible, symlink
from tests.support.archives import file as regular

pytestmark = pytest.mark.root

MEMBERS: list[Member] = [
    directory("a", 0o750, mtime_ns=5),
    regular("a/big", incompressible(400_000), uid=3),
    regular("a/small", b"x", xattrs={b"user.a": b"1"}),
    hardlink("a/zlink", "a/big"),
    directory("a.b"),
    regular("a.b/f"),
    symlink("l", "a/big"),
    fifo("p"),
    device("n", "char", 1, 3),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return Renderer(tmp_path)(MEMBERS)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "content": ("changed a/small", lambda tree: rewrite(tree / "a/small", b"y")),
    "content of a large file": ("changed a/big", lambda tree: rewrite(tree / "a/big", incompressible(400_000, 2))),
    "mode": ("changed a/small", lambda tree: os.chmod(tree / "a/small", 0o4644)),
    "owner": ("changed l", lambda tree: os.chown(tree / "l", 5, 5, follow_symlinks=False)),
    "time": ("changed a.b/f", lambda tree: touch(tree / "a.b/f")),
    "time of a directory": ("changed a", lambda tree: touch(tree / "a")),
    "time of the root": ("changed the root", lambda tree: touch(tree)),
    "attribute": ("changed a/small", lambda tree: os.setxattr(tree / "a/small", "user.b", b"")),
    "attribute value": ("changed a/small", lambda tree: os.setxattr(tree / "a/small", "user.a", b"2")),
    "attribute of a link": ("changed l", lambda tree: os.setxattr(tree / "l", "trusted.b", b"", follow_symlinks=False)),
    "target": ("changed l", lambda tree: replace(tree, "l", lambda path: path.symlink_to("a/small"))),
    "device": ("changed n", lambda tree: replace(tree, "n", lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)))),
    "type": ("changed p", lambda tree: replace(tree, "p", lambda path: path.touch())),
    "hard link": ("changed a/zlink", lambda tree: replace(tree / "a", "zlink", lambda path: shutil.copy2(tree / "a/big", path))),
    "missing": ("missing a.b/f", lambda tree: (tree / "a.b/f").unlink()),
    "added": ("added a/new", lambda tree: (tree / "a/new").touch()),
    "added directory": ("added z", lambda tree: (tree / "z").mkdir()),
}


def rewrite(path: Path, data: bytes) -> None:
    facts = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def replace(above: Path, name: str, make: Callable[[Path], object]) -> None:
    facts, around = os.lstat(above / name), os.stat(above)
    (above / name).unlink()
    make(above / name)
    os.chown(above / name, facts.st_uid, facts.st_gid, follow_symlinks=False)
    os.utime(above / name, ns=(facts.st_mtime_ns, facts.st_mtime_ns), follow_symlinks=False)
    os.utime(above, ns=(around.st_mtime_ns, around.st_mtime_ns))


def test_the_same_archive_gives_the_same_hash(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    other = Renderer(tmp_path / "again")(MEMBERS)
    assert hash_tree(str(tree)) == hash_tree(str(other))
    assert differences(str(tree), str(other)) == []


def test_a_copy_by_another_program_has_the_same_hash(tree: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", str(tree), str(tmp_path / "copy")], check=True, timeout=30)
    assert differences(str(tmp_path / "copy"), str(tree)) == []
    assert hash_tree(str(tmp_path / "copy")) == hash_tree(str(tree))


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_change_is_seen(name: str, tree: Path, tmp_path: Path) -> None:
    before = hash_tree(str(tree))
    subprocess.run(["cp", "-a", str(tree), str(tmp_path / "copy")], check=True, timeout=30)
    expected, change = CHANGES[name]
    change(tmp_path / "copy")
    assert hash_tree(str(tmp_path / "copy")) != before
    assert expected in differences(str(tmp_path / "copy"), str(tree))
    assert differences(str(tmp_path / "copy"), str(tree), limit=1)


def test_values_cannot_be_shifted_between_fields(tmp_path: Path) -> None:
    first, second = (Renderer(tmp_path / name) for name in ("one", "two"))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    left = first([regular("f", xattrs={b"user.a": b"1", b"user.b": b"2"})])
    right = second([regular("f", xattrs={b"user.a": b"16:user.b", b"user.c": b"2"})])
    assert hash_tree(str(left)) != hash_tree(str(right))


def test_deep_trees_and_trees_that_are_not_there(tmp_path: Path) -> None:
    deep = Renderer(tmp_path)([regular("d/" * 900 + "f", b"deep")])
    assert hash_tree(str(deep)).startswith("sha256:")
    with pytest.raises(StoreError):
        hash_tree(str(tmp_path / "missing"))
