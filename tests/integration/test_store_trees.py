"""Rendered trees: rendering, trusting, verifying, rebuilding, and images unpacked into directories."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from rktpy.errors import DigestMismatch, NotFoundError, UsageError
from rktpy.store.dependencies import MissingDependency
from rktpy.store.image_record import ImageRecord
from rktpy.store.store import Store
from rktpy.store.tree_ready import SYNCED, boot_id
from rktpy.store.treehash import hash_tree
from tests.conftest import need_tool
from tests.integration.test_store_crash import NONE_IN_USE, add_aci, add_oci
from tests.support import archives

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "data"))


def add(store: Store, tmp_path: Path, members: list[archives.Member], manifest: bytes | None = None) -> str:
    path = tmp_path / "image.aci"
    path.write_bytes(archives.aci(members, manifest))
    return add_aci(store, str(path))


def add_busy(store: Store, tmp_path: Path) -> str:
    """An image with one of everything."""
    members = [
        archives.directory("dir", 0o700, uid=5, gid=6),
        archives.file("dir/file", b"content", 0o4755, uid=7, xattrs={b"user.a": b"1"}),
        archives.hardlink("dir/link", "dir/file"),
        archives.symlink("dir/symlink", "file"),
        archives.device("null", "char", 1, 3, 0o666),
        archives.fifo("fifo"),
    ]
    return add(store, tmp_path, members)


def root_of(store: Store, tree_id: str) -> Path:
    return Path(store.tree_path(tree_id), "rootfs")


class TestRendering:
    def test_what_lies_in_a_tree(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        tree_id = store.ensure_tree(image_id)
        assert tree_id == store.tree_id([image_id])
        tree = Path(store.tree_path(tree_id))
        assert sorted(os.listdir(tree)) == ["image", "manifest", "rendered", "rootfs", "size"]
        assert (tree / "image").read_text() == image_id
        assert (tree / "manifest").read_bytes() == store.manifest_bytes(image_id)
        assert (tree / "rendered").read_bytes() == boot_id()
        for path in (tree.parent, tree, tree / "rootfs"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert (tree / "rootfs/dir/file").stat().st_mode == 0o104755
        assert (tree / "rootfs/dir/file").stat().st_nlink == 2

    def test_once(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        tree_id = store.ensure_tree(image_id)
        before = root_of(store, tree_id).stat().st_ino
        assert Store(store.data_dir).ensure_tree(image_id) == tree_id
        assert root_of(store, tree_id).stat().st_ino == before

    def test_a_tree_of_an_earlier_boot_is_rendered_again_unless_written_out(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        tree_id = store.ensure_tree(image_id)
        (root_of(store, tree_id) / "dir/file").unlink()
        marker = Path(store.tree_path(tree_id), "rendered")
        for lost in (b"5bb1b4a2-0000-4000-8000-000000000000\n", b""):
            marker.write_bytes(lost)
            assert not store.tree_ready(tree_id)
            store.ensure_tree(image_id)
            assert (root_of(store, tree_id) / "dir/file").read_bytes() == b"content"
        assert store.gc(10**15, lambda: ((tree_id,), ())).written_out == (tree_id,)
        assert marker.read_bytes() == SYNCED
        assert store.tree_ready(tree_id)
        assert store.gc(10**15, lambda: ((tree_id,), ())).written_out == ()

    def test_without_a_boot_id_it_is_written_out_at_once(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rktpy.store.trees.boot_id", bytes)
        monkeypatch.setattr("rktpy.store.tree_ready.boot_id", bytes)
        tree_id = store.ensure_tree(add_busy(store, tmp_path))
        assert Path(store.tree_path(tree_id), "rendered").read_bytes() == SYNCED
        assert store.tree_ready(tree_id)

    def test_failure_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        image_id = add(store, tmp_path, [archives.file("f", b"x" * 5000)])
        path = Path(store.blob_path(image_id.replace("-", ":")))
        data = bytearray(path.read_bytes())
        data[3000] ^= 1
        path.write_bytes(data)
        with pytest.raises(DigestMismatch):
            store.ensure_tree(image_id)
        assert os.listdir(store.layout.trees) == os.listdir(store.layout.temporary) == []

    def test_dependencies_and_whitelist(self, store: Store, tmp_path: Path) -> None:
        base = [archives.directory("etc"), archives.file("etc/a", b"base"), archives.file("etc/b", b"base")]
        add(store, tmp_path, base, archives.manifest("example.com/base"))
        wanted = [{"imageName": "example.com/base"}]
        top = [archives.directory("etc"), archives.file("etc/b", b"top"), archives.file("c", b"top")]
        image_id = add(store, tmp_path, top, archives.manifest(dependencies=wanted, pathWhitelist=["/etc/b", "/c"]))
        root = root_of(store, store.ensure_tree(image_id))
        assert sorted(os.listdir(root)) == ["c", "etc"] and os.listdir(root / "etc") == ["b"]
        assert (root / "etc/b").read_bytes() == b"top"

    def test_tree_id_follows_the_dependencies(self, store: Store, tmp_path: Path) -> None:
        wanted = [{"imageName": "example.com/base"}]
        image_id = add(store, tmp_path, [], archives.manifest(dependencies=wanted))
        with pytest.raises(MissingDependency):
            store.ensure_tree(image_id)
        add(store, tmp_path, [archives.file("old")], archives.manifest("example.com/base"))
        first = store.ensure_tree(image_id)
        add(store, tmp_path, [archives.file("new")], archives.manifest("example.com/base"))
        second = store.ensure_tree(image_id)
        assert [os.listdir(root_of(store, tree_id)) for tree_id in (first, second)] == [["old"], ["new"]]
        store.remove_image(image_id)
        assert os.listdir(store.layout.trees) == []

    def test_oci(self, store: Store) -> None:
        root = root_of(store, store.ensure_tree(add_oci(store, 2)))
        assert sorted(os.listdir(root)) == ["base", "own2"]

    def test_unknown_image(self, store: Store) -> None:
        for image_id in ("sha256-" + "a" * 64, "sha512-" + "a" * 128):
            with pytest.raises(NotFoundError):
                store.ensure_tree(image_id)


class TestVerifying:
    def test_first_by_rendering_again_then_by_hash(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        assert store.verify(image_id).outcome == "not rendered"
        tree_id = store.ensure_tree(image_id)
        for _ in range(2):
            assert store.verify(image_id).outcome == "verified"
            assert Path(store.tree_path(tree_id), "hash").read_text() == hash_tree(str(root_of(store, tree_id)))
            store.verify_tree(tree_id)
        assert os.listdir(store.layout.temporary) == []

    @pytest.mark.parametrize("known", [False, True])
    @pytest.mark.parametrize(
        "harm", ["content", "mode", "owner", "added", "removed", "xattr", "link", "target", "device", "root", "unlinked"]
    )
    def test_every_change_is_found_and_undone(self, store: Store, tmp_path: Path, harm: str, known: bool) -> None:
        image_id = add_busy(store, tmp_path)
        tree_id = store.ensure_tree(image_id)
        if known:
            store.verify(image_id)
        root = root_of(store, tree_id)
        file = root / "dir/file"
        match harm:
            case "content":
                with open(file, "r+b") as opened:
                    opened.write(b"C")
            case "mode":
                file.chmod(0o755)
            case "owner":
                os.chown(root / "dir", 0, 0)
            case "added":
                (root / "dir/new").mkdir()
            case "removed":
                (root / "fifo").unlink()
            case "xattr":
                os.setxattr(file, "user.a", b"2")
            case "link":
                (root / "dir/link").unlink()
                (root / "dir/link").write_bytes(b"content")
            case "target":
                (root / "dir/symlink").unlink()
                (root / "dir/symlink").symlink_to("link")
            case "device":
                (root / "null").unlink()
                os.mknod(root / "null", 0o020666, os.makedev(1, 5))
            case "root":
                root.chmod(0o700)
            case "unlinked":
                os.rename(root, root.parent / "other")
        with pytest.raises(DigestMismatch):
            store.verify_tree(tree_id)
        assert store.verify(image_id, rebuild=False).outcome == "damaged"
        found = store.verify(image_id)
        assert (found.outcome, found.tree_id) == ("rebuilt", tree_id) and "wrong tree hash" in found.problem
        assert store.verify(image_id).outcome == "verified"
        assert store.check(deep=True) == [] and os.listdir(store.layout.temporary) == []

    def test_what_differs_is_named(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        root = root_of(store, store.ensure_tree(image_id))
        os.utime(root / "dir/file", (1, 1))
        (root / "fifo").unlink()
        problem = store.verify(image_id).problem
        assert "changed dir/file" in problem and "missing fifo" in problem and "\n" not in problem

    def test_damaged_blob_cannot_be_rebuilt_from(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        store.ensure_tree(image_id)
        path = Path(store.blob_path(image_id.replace("-", ":")))
        path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
        with pytest.raises(DigestMismatch, match="damaged in the store"):
            store.verify(image_id)
        path.unlink()
        with pytest.raises(NotFoundError):
            store.verify(image_id)

    def test_deep_check_names_the_tree_and_repair_drops_it(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        tree_id = store.ensure_tree(image_id)
        (root_of(store, tree_id) / "dir/file").chmod(0)
        assert store.check() == []
        assert [(problem.severity, problem.subject) for problem in store.check(deep=True)] == [("broken", tree_id)]
        assert not store.check(deep=True, repair=True, trees_in_use={tree_id})[0].repaired
        assert store.tree_ready(tree_id), "a pod may be running on it"
        assert store.check(deep=True, repair=True)[0].repaired
        assert not store.tree_ready(tree_id)
        assert store.check(deep=True) == []


class TestDirectories:
    def test_extract_is_this_image_alone(self, store: Store, tmp_path: Path) -> None:
        add(store, tmp_path, [archives.file("base")], archives.manifest("example.com/base"))
        manifest = archives.manifest(dependencies=[{"imageName": "example.com/base"}], pathWhitelist=["/own"])
        image_id = add(store, tmp_path, [archives.file("own"), archives.file("filtered")], manifest)
        extracted, rendered = tmp_path / "a/extracted", tmp_path / "a/rendered"
        store.extract(image_id, str(extracted))
        store.render(image_id, str(rendered))
        assert sorted(os.listdir(extracted / "rootfs")) == ["filtered", "own"]
        assert os.listdir(rendered / "rootfs") == ["own"]
        for directory in (extracted, rendered):
            assert sorted(os.listdir(directory)) == ["manifest", "rootfs"]
            assert (directory / "manifest").read_bytes() == manifest

    def test_rootfs_only(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        store.extract(image_id, str(tmp_path / "x"), rootfs_only=True)
        assert sorted(os.listdir(tmp_path / "x")) == ["dir", "fifo", "null"]
        assert hash_tree(str(tmp_path / "x")) == hash_tree(str(root_of(store, store.ensure_tree(image_id))))

    def test_overwrite(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        target = tmp_path / "x"
        target.mkdir()
        (target / "old").write_bytes(b"")
        with pytest.raises(UsageError, match=r"output directory exists \(try --overwrite\)"):
            store.render(image_id, str(target))
        assert os.listdir(target) == ["old"]
        store.render(image_id, str(target), overwrite=True, rootfs_only=True)
        assert "old" not in os.listdir(target) and "dir" in os.listdir(target)
        for root in ("/", "//", "/../"):
            with pytest.raises(UsageError, match="would delete your root filesystem"):
                store.extract(image_id, root, overwrite=True)

    def test_overwriting_a_link_leaves_what_it_leads_to(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious/file").write_bytes(b"")
        (tmp_path / "x").symlink_to("precious")
        store.extract(image_id, str(tmp_path / "x"), overwrite=True)
        assert os.listdir(tmp_path / "precious") == ["file"]
        assert not (tmp_path / "x").is_symlink()

    def test_failure_leaves_no_directory(self, store: Store, tmp_path: Path) -> None:
        image_id = add_busy(store, tmp_path)
        os.unlink(store.blob_path(image_id.replace("-", ":")))
        with pytest.raises(NotFoundError):
            store.render(image_id, str(tmp_path / "x"))
        assert not (tmp_path / "x").exists()


def test_an_export_is_the_same_image(store: Store, tmp_path: Path) -> None:
    image_id = add_busy(store, tmp_path)
    store.export(image_id, str(tmp_path / "out.aci"))
    assert store.import_aci(str(tmp_path / "out.aci")).id == image_id
    oci_id = add_oci(store, 1)
    store.export(oci_id, str(tmp_path / "out.tar"))
    from rktpy.fetch.layouts import pull_oci_archive
    from rktpy.formats.oci.platform import Platform

    other = Store(str(tmp_path / "other"))
    pulled = pull_oci_archive(str(tmp_path / "out.tar"), "", Platform("linux", "amd64"), other, None)
    assert pulled.image_id == oci_id
    assert all(other.blob_size(digest) == store.blob_size(digest) for digest in store.record(oci_id).blobs)


def test_skopeo_reads_an_exported_image(store: Store, tmp_path: Path) -> None:
    skopeo = need_tool("skopeo")
    oci_id = add_oci(store, 1)
    store.export(oci_id, str(tmp_path / "out.tar"))
    command = [skopeo, "copy", "--quiet", f"oci-archive:{tmp_path}/out.tar:tag", f"dir:{tmp_path}/copy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert archives.sha256((tmp_path / "copy/manifest.json").read_bytes()) == oci_id.replace("-", ":")


def test_the_size_of_an_image_counts_its_trees(store: Store, tmp_path: Path) -> None:
    image_id = add_busy(store, tmp_path)
    stored = store.record(image_id).size
    assert [image.size for image in store.list_images()] == [stored]
    tree_id = store.ensure_tree(image_id)
    noted = Path(store.tree_path(tree_id), "size")
    size = len(b"content") + len("file")
    assert noted.read_bytes() == b"%d\n" % size
    assert [image.size for image in store.list_images()] == [stored + size]
    # A tree of before the number was noted; or of which it was lost.
    for damage in (noted.unlink, lambda: noted.write_bytes(b"x")):
        damage()
        assert [image.size for image in store.list_images()] == [stored + size]
        assert noted.read_bytes() == b"%d\n" % size
    # The number is taken from there from then on.
    noted.write_bytes(b"1000\n")
    assert [image.size for image in store.list_images()] == [stored + 1000]
    store.remove_tree(tree_id)
    assert [image.size for image in store.list_images()] == [stored]


def test_removing_an_image_whose_tree_a_pod_uses(store: Store, tmp_path: Path) -> None:
    image_id = add_busy(store, tmp_path)
    tree_id = store.ensure_tree(image_id)
    collected = store.gc(-1, lambda: ({tree_id}, ()))
    assert collected.images == collected.trees == ()
    store.remove_image(image_id, {tree_id})
    assert store.tree_ready(tree_id) and store.image_ids() == [] and list(Path(store.layout.blobs, "sha512").iterdir()) == []
    assert [problem.severity for problem in store.check(deep=True)] == ["leftover"]
    assert store.check(deep=True, trees_in_use={tree_id}) == []
    collected = store.gc(-1, lambda: ({tree_id}, ()))
    assert collected.trees == () and store.tree_ready(tree_id)
    assert store.gc(-1, lambda: NONE_IN_USE).trees == (tree_id,)


def test_a_tree_that_outlives_its_image_is_still_verified(store: Store, tmp_path: Path) -> None:
    image_id = add_busy(store, tmp_path)
    tree_id = store.ensure_tree(image_id)
    store.verify(image_id)
    store.remove_image(image_id, {tree_id})
    assert store.check(deep=True, trees_in_use={tree_id}) == []
    (root_of(store, tree_id) / "dir/file").write_bytes(b"CONTENT")
    (problem,) = store.check(deep=True, repair=True, trees_in_use={tree_id})
    assert (problem.severity, problem.subject, problem.repaired) == ("broken", tree_id, False)


@pytest.mark.parametrize("mark", [boot_id(), b"another boot\n"])
def test_a_needed_tree_lasts_without_its_image(store: Store, tmp_path: Path, mark: bytes) -> None:
    """It cannot be rendered again after the next restart, so it is written out, and made anew if a restart was before."""
    image_id = add_busy(store, tmp_path)
    tree_id = store.ensure_tree(image_id)
    marker = Path(store.tree_path(tree_id), "rendered")
    marker.write_bytes(mark)
    store.remove_image(image_id, {tree_id}, {tree_id})
    assert marker.read_bytes() == SYNCED
    assert (root_of(store, tree_id) / "dir/file").read_bytes() == b"content"


def test_a_needed_tree_lasts_without_a_dependency(store: Store, tmp_path: Path) -> None:
    base = add(store, tmp_path, [archives.file("base", b"b")])
    name = json.loads(archives.manifest())["name"]
    manifest = archives.manifest(name="example.com/top", dependencies=[{"imageName": name, "imageID": base}])
    top = add(store, tmp_path, [archives.file("top", b"t")], manifest)
    tree_id = store.ensure_tree(top)
    other = store.ensure_tree(add_oci(store, 1))
    store.remove_image(base, {tree_id, other}, {tree_id, other})
    assert Path(store.tree_path(tree_id), "rendered").read_bytes() == SYNCED
    assert Path(store.tree_path(other), "rendered").read_bytes() == boot_id()
    assert not [problem for problem in store.check(deep=True, trees_in_use={tree_id, other}) if problem.severity == "broken"]


def test_what_is_lost_already_is_removed_all_the_same(store: Store, tmp_path: Path) -> None:
    image_id = add_busy(store, tmp_path)
    tree_id = store.ensure_tree(image_id)
    Path(store.tree_path(tree_id), "rendered").write_bytes(b"another boot\n")
    os.unlink(store.blob_path(image_id.replace("-", ":")))
    store.remove_image(image_id, {tree_id}, {tree_id})
    assert store.image_ids() == []


def test_record_of_a_stranger_is_no_image(store: Store) -> None:
    """A record names the image it is of; a copy under another name is damage."""
    image_id = add_oci(store, 1)
    other = "sha256-" + "b" * 64
    Path(store.layout.image(other)).write_bytes(Path(store.layout.image(image_id)).read_bytes())
    assert [image.id for image in store.list_images()] == [image_id]
    assert [problem.subject for problem in store.check()] == [other]
    assert isinstance(store.record(image_id), ImageRecord) and json.loads(store.manifest_bytes(image_id))
