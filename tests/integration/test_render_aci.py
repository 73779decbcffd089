"""ACIs over their dependencies: order, path whitelists, hard links to filtered files, image IDs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError, DigestMismatch
from rktpy.store.pipeline import FileSource
from rktpy.store.render import AciSource, render_aci
from tests.support.archives import Member, aci, compress, directory, file, hardlink, image_id, symlink
from tests.support.trees import names

pytestmark = pytest.mark.root

Chain = tuple[tuple[str, ...], ...]


class Renderer:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0

    def __call__(self, *images: tuple[list[Member] | bytes, Chain] | list[Member] | bytes) -> Path:
        sources: list[AciSource] = []
        for image in images:
            members, whitelists = image if isinstance(image, tuple) else (image, ())
            data = members if isinstance(members, bytes) else aci(members)
            self._count += 1
            path = self._directory / f"image{self._count}"
            path.write_bytes(data)
            sources.append(AciSource(image_id(data), partial(FileSource, str(path)), whitelists))
        root = self._directory / f"root{self._count}"
        root.mkdir()
        render_aci(sources, str(root))
        return root


@pytest.fixture
def render(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path)


def test_later_images_win(render: Renderer) -> None:
    root = render(
        [file("f", b"B"), directory("d"), file("d/low"), symlink("s", "d"), directory("x"), file("x/y")],
        [file("f", b"A"), file("d/high"), directory("s"), file("s/new"), file("x", b"file over directory")],
    )
    assert names(root) == ["d", "d/high", "d/low", "f", "s", "s/new", "x"]
    assert (root / "f").read_bytes() == b"A"


def test_names_of_whiteouts_are_ordinary_here(render: Renderer) -> None:
    assert names(render([file("f")], [file(".wh.f"), file(".wh..wh..opq")])) == [".wh..wh..opq", ".wh.f", "f"]


def test_the_rootfs_entry_is_the_root(render: Renderer) -> None:
    from tests.support.archives import manifest, tar

    root = render(tar([directory("./rootfs/", 0o751, uid=3), file("./rootfs/f", b"1"), file("manifest", manifest())]))
    assert names(root) == ["f"]
    assert (os.stat(root).st_mode & 0o7777, os.stat(root).st_uid) == (0o751, 3)


def test_a_whitelist_is_the_full_set_of_paths(render: Renderer) -> None:
    members = [directory("a", 0o700), file("a/f"), file("a/g"), directory("b"), file("b/h"), directory("c"), file("i/j/k")]
    root = render((members, (("/a/f", "/c", "/i/j/k", "/not/there"),)))
    assert names(root) == ["a", "a/f", "c", "i", "i/j", "i/j/k"]
    assert os.stat(root / "a").st_mode & 0o7777 == 0o700


def test_an_empty_whitelist_filters_nothing(render: Renderer) -> None:
    assert names(render(([file("a/f")], ((),)))) == ["a", "a/f"]


def test_all_ancestors_filter_and_no_sibling_does(render: Renderer) -> None:
    members = [file("one"), file("two"), file("three"), directory("d"), file("d/e")]
    # The dependency's own whitelist, its dependent's, and that of the image on top.
    chain = (("/one", "/two", "/d/e"), ("/two", "/three", "/d/e"), ("/two", "/d", "/d/e"))
    assert names(render((members, chain), [file("top")])) == ["d", "d/e", "top", "two"]


def test_a_filtered_file_does_not_remove_what_lies_below(render: Renderer) -> None:
    root = render([file("f", b"low")], ([file("f", b"high"), file("g")], (("/g",),)))
    assert (root / "f").read_bytes() == b"low"


def test_a_hard_link_to_a_filtered_target_gets_its_bytes(render: Renderer) -> None:
    members = [
        file("hidden/data", b"bytes", 0o640, uid=5),
        hardlink("hidden/other", "hidden/data"),
        hardlink("kept/one", "hidden/other"),
        hardlink("kept/two", "hidden/data"),
        hardlink("kept/three", "kept/one"),
        hardlink("dropped", "kept/one"),
    ]
    root = render((members, (("/kept/one", "/kept/two", "/kept/three"),)))
    assert names(root) == ["kept", "kept/one", "kept/three", "kept/two"]
    facts = os.stat(root / "kept/one")
    assert (root / "kept/two").read_bytes() == b"bytes"
    assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_nlink) == (0o640, 5, 3)


def test_a_hard_link_whose_target_is_kept_stays_one(render: Renderer) -> None:
    root = render(([file("f", b"x"), hardlink("g", "f"), file("h")], (("/f", "/g"),)))
    assert names(root) == ["f", "g"]
    assert os.stat(root / "f").st_ino == os.stat(root / "g").st_ino


def test_the_image_id_is_checked(tmp_path: Path) -> None:
    data = aci([file("f")])
    (tmp_path / "image").write_bytes(data)
    (tmp_path / "root").mkdir()

    def source(identity: str) -> AciSource:
        return AciSource(identity, lambda: FileSource(str(tmp_path / "image")))

    for identity in ("sha512-" + "0" * 128, "sha512-", "sha512-" + image_id(data)[7:20]):
        with pytest.raises(DigestMismatch, match=image_id(data)):
            render_aci([source(identity)], str(tmp_path / "root"))
        assert os.listdir(tmp_path / "root") == []
    render_aci([source(image_id(data))], str(tmp_path / "root"))


def test_a_compressed_image_has_the_same_id(tmp_path: Path) -> None:
    data = aci([file("f", b"x" * 1000)])
    (tmp_path / "image").write_bytes(compress(data, "xz"))
    (tmp_path / "root").mkdir()
    render_aci([AciSource(image_id(data), lambda: FileSource(str(tmp_path / "image")))], str(tmp_path / "root"))
    assert names(tmp_path / "root") == ["f"]


@pytest.mark.parametrize("bad", ["rootfs/../../escape", "/rootfs/f", "rootfs/a/../../../etc/f", "/etc/f"])
def test_names_that_leave_the_rootfs(bad: str, render: Renderer) -> None:
    from tests.support.archives import manifest, tar

    with pytest.raises(ArchiveError):
        render(tar([file("manifest", manifest()), directory("rootfs"), file(bad)]))


@pytest.mark.parametrize("target", ["manifest", "/etc/passwd", "rootfs/../manifest", "rootfs"])
@pytest.mark.parametrize("whitelists", [(), (("/h",),)])
def test_hard_links_that_leave_the_rootfs(target: str, whitelists: Chain, render: Renderer) -> None:
    from tests.support.archives import manifest, tar

    data = tar([file("manifest", manifest()), directory("rootfs"), hardlink("rootfs/h", target)])
    with pytest.raises(ArchiveError):
        render((data, whitelists))
