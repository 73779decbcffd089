"""The store on a full disk and on a read-only one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.errors import StoreError, innermost
from rktpy.linux import constants as c
from rktpy.linux.syscalls import mount, umount2
from rktpy.store import listing, lookup
from rktpy.store.store import Store
from tests.integration.test_store_crash import NONE_IN_USE, add_aci, add_oci
from tests.support import archives

pytestmark = pytest.mark.root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount("tmpfs", str(path), "tmpfs", 0, "size=16m,mode=755")
    yield path
    umount2(str(path), c.MNT_DETACH)


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def aci(size: int, seed: int = 1) -> bytes:
    return archives.aci([archives.file("f", archives.incompressible(size, seed))])


class TestFullDisk:
    def test_import(self, small_disk: Path, tmp_path: Path) -> None:
        store = Store(str(small_disk / "data"))
        kept = add_aci(store, write(tmp_path / "a", aci(1 << 20)))
        with pytest.raises(StoreError) as caught:
            store.import_aci(write(tmp_path / "b", aci(20 << 20)))
        text = innermost(caught.value)
        assert "no space left on device" in text and "\n" not in text
        assert os.listdir(store.layout.temporary) == []
        assert store.check(deep=True) == []
        assert store.image_ids() == [kept]

    def test_render(self, small_disk: Path, tmp_path: Path) -> None:
        store = Store(str(small_disk / "data"))
        image_id = add_aci(store, write(tmp_path / "a", aci(10 << 20)))
        with pytest.raises(Exception, match=r".") as caught:
            store.ensure_tree(image_id)
        assert "no space left on device" in innermost(caught.value)
        assert os.listdir(store.layout.temporary) == os.listdir(store.layout.trees) == []
        assert store.check(deep=True) == []

    def test_download_is_kept_for_later(self, small_disk: Path) -> None:
        store = Store(str(small_disk / "data"))
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(10 << 20))
        data = archives.incompressible(12 << 20)
        digest = archives.sha256(data)
        with pytest.raises(StoreError, match="cannot store"), store.partial(digest) as partial:
            partial.write(data)
        ballast.unlink()
        with store.partial(digest) as partial:
            assert 0 < partial.size < len(data)
            assert data.startswith(Path(partial.path).read_bytes())
            partial.write(data[partial.size :])
            partial.commit(digest)
        assert store.blob_size(digest) == len(data)

    def test_records_and_collection(self, small_disk: Path, tmp_path: Path) -> None:
        store = Store(str(small_disk / "data"))
        image_id = add_oci(store, 1)
        before = store.record(image_id)
        with open(small_disk / "ballast", "wb", buffering=0) as ballast:
            while True:
                try:
                    ballast.write(bytes(4096))
                except OSError:
                    break
        with pytest.raises(StoreError, match="cannot"):
            add_oci(store, 2)
        with pytest.raises(StoreError, match="cannot"):
            store.add_image(before.replace(references=("docker://x",)), archives.manifest(before.name))
        assert store.record(image_id) == before
        # Making room must work when there is none.
        store.close()
        assert store.gc(0, lambda: NONE_IN_USE).images == (image_id,)
        assert store.check() == []


def assert_refuses_to_write(store: Store, image_id: str, unrendered: str, file: str) -> None:
    for write_operation in (
        lambda: store.put_blob(b"x"),
        lambda: store.import_aci(file),
        lambda: store.remove_image(image_id),
        lambda: store.gc(0, lambda: NONE_IN_USE),
        lambda: store.ensure_tree(unrendered),
        lambda: store.add_image(store.record(unrendered), archives.manifest("x")),
    ):
        with pytest.raises(StoreError) as caught:
            write_operation()
        assert "read-only file system" in innermost(caught.value)


def test_read_only(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(small_disk / "data"))
    image_id = add_aci(store, write(tmp_path / "a", aci(1 << 20)))
    oci_id = add_oci(store, 1)
    tree_id = store.ensure_tree(image_id)
    monkeypatch.setattr(lookup, "FIND_BY_INDEX_FROM", 0)
    monkeypatch.setattr(listing, "LIST_BY_INDEX_FROM", 0)
    for with_index in (False, True):
        if with_index:
            assert len(store.list_images()) == 2
            assert os.path.exists(store.layout.index)
        mount(None, str(small_disk), None, c.MS_REMOUNT | c.MS_RDONLY, None)
        store = Store(store.data_dir)
        assert sorted(image.id for image in store.list_images()) == sorted([image_id, oci_id])
        found = store.find_by_name("example.com/app"), store.find_by_reference("docker://registry.example.com/moving:tag")
        assert [record and record.id for record in found] == [image_id, oci_id]
        assert store.resolve_id(image_id[:20]) == image_id
        assert store.manifest(image_id).name == "example.com/app"
        assert store.tree_ready(tree_id) and store.ensure_tree(image_id) == tree_id
        used = store.last_used(image_id)
        store.touch(image_id)
        assert store.last_used(image_id) == used
        store.export(image_id, str(tmp_path / "out"), overwrite=True)
        assert (tmp_path / "out").read_bytes() == aci(1 << 20)
        store.render(image_id, str(tmp_path / "rendered"), overwrite=True)
        assert store.check(deep=False) == []
        assert store.blob_size(store.record(image_id).blobs[0]) is not None
        assert_refuses_to_write(store, image_id, oci_id, str(tmp_path / "a"))
        with pytest.raises(StoreError), store.partial("key"):
            pass
        mount(None, str(small_disk), None, c.MS_REMOUNT, None)
    assert store.check(deep=True) == []
