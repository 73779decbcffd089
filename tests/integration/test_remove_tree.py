"""Removing trees: completely, never beyond them, whatever is in them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from rktpy.linux import remove_tree as module
from rktpy.linux.remove_tree import remove_contents, remove_tree
from tests.support.trees import names, snapshot

pytestmark = pytest.mark.root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "f").touch()
    (top / "a" / "g").touch()
    (top / "empty").mkdir()
    os.mkfifo(top / "fifo")
    (top / "link").symlink_to(tmp_path / "canary")
    (top / "a" / "loop").symlink_to("..")
    os.close(os.open(os.fsencode(top) + b"/\xff\n", os.O_CREAT))
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "f").write_bytes(b"untouched")
    return top


def test_a_tree_is_removed_and_nothing_else(tree: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path / "canary")
    remove_tree(str(tree))
    assert sorted(os.listdir(tmp_path)) == ["canary"]
    assert snapshot(tmp_path / "canary") == before


@pytest.mark.parametrize("spelling", ["tree", "tree/", b"tree", "./tree"])
def test_relative_to_a_directory(tree: Path, spelling: str | bytes) -> None:
    fd = os.open(tree.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        remove_tree(spelling, dir_fd=fd)
    finally:
        os.close(fd)
    assert not tree.exists()


def test_relative_to_the_working_directory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree.parent)
    remove_tree("tree")
    assert not tree.exists()


def test_what_is_no_directory(tree: Path, tmp_path: Path) -> None:
    remove_tree(str(tree / "link"))
    remove_tree(str(tree / "a" / "g"))
    remove_tree(str(tree / "missing"))
    remove_tree(str(tree / "missing" / "below"))
    assert names(tree) == sorted(["a", "a/b", "a/b/f", "a/loop", "empty", "fifo", os.fsdecode(b"\xff\n")])
    assert (tmp_path / "canary" / "f").exists()


def test_contents_only(tree: Path) -> None:
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        remove_contents(fd, str(tree))
    finally:
        os.close(fd)
    assert os.listdir(tree) == []


def deep(top: Path, levels: int) -> None:
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("f", os.O_CREAT, dir_fd=fd))
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_deeper_than_paths_stacks_and_descriptors(tmp_path: Path) -> None:
    deep(tmp_path / "deep", 5000)
    open_before = len(os.listdir("/proc/self/fd"))
    start = time.monotonic()
    remove_tree(str(tmp_path / "deep"))
    assert not (tmp_path / "deep").exists()
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("fallback", [False, True], ids=["openat2", "without openat2"])
@pytest.mark.parametrize("where", ["tree", "tree/a", "tree/a/b"])
def test_mounts_are_not_entered(tree: Path, where: str, fallback: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tree.parent / where
    source = tree.parent / "canary"
    if fallback:

        def missing(*_arguments: object) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(module, "openat2", missing)
        command = ["mount", "-t", "tmpfs", "canary", str(target)]
    else:
        command = ["mount", "--bind", str(source), str(target)]
    subprocess.run(command, check=True, timeout=30)
    (target / "f").touch()
    try:
        with pytest.raises(OSError, match="busy") as caught:
            remove_tree(str(tree))
        assert caught.value.filename == str(target)
        assert (target / "f").exists()
    finally:
        subprocess.run(["umount", str(target)], check=True, timeout=30)
    remove_tree(str(tree))
    assert not tree.exists()


def test_an_immutable_file_is_named(tree: Path) -> None:
    file = tree / "a" / "b" / "f"
    if subprocess.run(["chattr", "+i", str(file)], check=False, capture_output=True, timeout=30).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        with pytest.raises(PermissionError) as caught:
            remove_tree(str(tree))
        assert caught.value.filename == str(file)
    finally:
        subprocess.run(["chattr", "-i", str(file)], check=True, timeout=30)
    remove_tree(str(tree))
    assert not tree.exists()


def test_two_at_once(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    for number in range(60):
        (top / str(number) / "sub").mkdir(parents=True)
        for name in "abcdef":
            (top / str(number) / "sub" / name).touch()
    children: list[int] = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                remove_tree(str(top))
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert not top.exists()
