"""Importing, exporting, removing, collecting and checking images, without root."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import time
from pathlib import Path

import pytest

from rktpy.errors import ArchiveError, DigestMismatch, FetchError, FormatError, InputError, NotFoundError, StoreError, UsageError
from rktpy.formats.aci.types import NameValue
from rktpy.formats.tar import TarReader
from rktpy.store import dependencies, locks, temporary
from rktpy.store.check import Problem
from rktpy.store.dependencies import MissingDependency
from rktpy.store.image_record import ImageRecord, Layer
from rktpy.store.limits import Limits
from rktpy.store.remotes import Remote
from rktpy.store.store import Store
from rktpy.store.tree_ready import SYNCED, boot_id
from tests.support import archives

NONE_IN_USE: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
ROOTFS = archives.directory("rootfs")
MANIFEST = archives.file("manifest", archives.manifest())
HOUR = 3600 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "data"))


def write(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "image.aci"
    path.write_bytes(data)
    return str(path)


def add_aci(store: Store, data: bytes, tmp_path: Path) -> ImageRecord:
    imported = store.import_aci(write(tmp_path, data))
    labels = tuple(NameValue(label.name, label.value) for label in imported.manifest.labels)
    record = ImageRecord(imported.id, "aci", imported.manifest.name, labels, size=imported.size, blobs=(imported.digest,))
    return store.add_image(record, imported.manifest_bytes)


def add_named(store: Store, tmp_path: Path, name: str, **members: object) -> ImageRecord:
    return add_aci(store, archives.aci([archives.file("f", name.encode())], archives.manifest(name, **members)), tmp_path)


def add_oci(store: Store) -> ImageRecord:
    layer = archives.tar([archives.file("a", b"a")])
    config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
    digests = [store.put_blob(config), store.put_blob(layer)]
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digests[0], "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digests[1], "size": len(layer)}],
    }
    digest = store.put_blob(json.dumps(document).encode())
    record = ImageRecord(
        digest.replace(":", "-"),
        "oci",
        "registry.example.com/app",
        blobs=(digest, *digests),
        layers=(Layer(digests[1], digests[1], "application/vnd.oci.image.layer.v1.tar", len(layer)),),
        references=("docker://registry.example.com/app:v1",),
        size=len(config) + len(layer),
    )
    return store.add_image(record, archives.manifest("registry.example.com/app"))


def severe(problems: list[Problem]) -> list[tuple[str, str]]:
    return [(problem.subject, problem.detail) for problem in problems if problem.severity == "broken"]


def temporaries(store: Store) -> list[str]:
    return os.listdir(store.layout.temporary)


class TestImport:
    @pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "zstd"])
    def test_every_compression_gives_one_image(self, store: Store, tmp_path: Path, compression: str) -> None:
        data = archives.aci([archives.file("big", archives.incompressible(3_000_000)), archives.directory("d")])
        imported = store.import_aci(write(tmp_path, archives.compress(data, compression)))
        assert imported.id == archives.image_id(data)
        assert (imported.size, imported.manifest.name) == (len(data), "example.com/app")
        assert Path(store.blob_path(imported.digest)).read_bytes() == data
        assert temporaries(store) == [] and store.image_ids() == []

    def test_manifest_may_come_last_and_padding_counts(self, store: Store, tmp_path: Path) -> None:
        data = archives.tar([archives.directory("./rootfs"), archives.file("./manifest", archives.manifest("example.com/last"))])
        data += bytes(20 * 512)
        imported = store.import_aci(write(tmp_path, data))
        assert (imported.manifest.name, imported.id) == ("example.com/last", archives.image_id(data))

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ([ROOTFS], "no image manifest"),
            ([MANIFEST], "no rootfs"),
            ([ROOTFS, archives.file("manifest", b"{}")], "acKind|acVersion|name"),
            ([ROOTFS, archives.file("manifest", b"\xff")], "UTF-8"),
            ([ROOTFS, ROOTFS, MANIFEST], "duplicate"),
            ([ROOTFS, archives.file("stray"), MANIFEST], "stray"),
            ([ROOTFS, archives.file("rootfs/../../x"), MANIFEST], r"\.\."),
        ],
    )
    def test_what_is_no_aci_leaves_nothing(
        self, store: Store, tmp_path: Path, members: list[archives.Member], message: str
    ) -> None:
        with pytest.raises((ArchiveError, FormatError), match=message):
            store.import_aci(write(tmp_path, archives.tar(members)))
        assert temporaries(store) == [] and os.listdir(store.layout.blobs + "/sha512") == []

    def test_truncated_and_garbage(self, store: Store, tmp_path: Path) -> None:
        data = archives.compress(archives.aci([archives.file("f", b"x" * 100_000)]), "gzip")
        for bad in (data[:-20], data[: len(data) // 2], b"hello", b""):
            with pytest.raises(ArchiveError):
                store.import_aci(write(tmp_path, bad))
        assert temporaries(store) == []

    def test_expected_id(self, store: Store, tmp_path: Path) -> None:
        path = write(tmp_path, archives.aci([]))
        right = archives.image_id(archives.aci([]))
        with pytest.raises(DigestMismatch, match="not sha512-00"):
            store.import_aci(path, expected_id="sha512-" + "0" * 128)
        assert store.blob_size(right.replace("-", ":")) is None
        for known in (right, right[: 7 + 64]):
            assert store.import_aci(path, expected_id=known).id == right

    def test_limits(self, store: Store, tmp_path: Path) -> None:
        path = write(tmp_path, archives.compress(archives.aci([archives.file("zero", bytes(5_000_000))]), "gzip"))
        with pytest.raises(ArchiveError):
            store.import_aci(path, limits=Limits(max_unpacked_bytes=1_000_000))
        with pytest.raises(ArchiveError):
            store.import_aci(path, limits=Limits(max_ratio=10, ratio_floor_bytes=1000))
        with pytest.raises(ArchiveError, match="more than 2 entries"):
            store.import_aci(path, limits=Limits(max_entries=2))
        assert store.import_aci(path).size > 5_000_000

    def test_missing_file_and_directory(self, store: Store, tmp_path: Path) -> None:
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(FetchError, match="cannot open image"):
                store.import_aci(str(path))

    def test_full_disk_is_one_line(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(fd: int, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        path = write(tmp_path, archives.aci([archives.file("f", b"x" * 3_000_000)]))
        store.put_blob(b"make the directories")
        monkeypatch.setattr("rktpy.store.import_aci.write_all", full)
        with pytest.raises(StoreError, match="cannot store image") as caught:
            store.import_aci(path)
        assert isinstance(caught.value.__cause__, OSError)
        assert temporaries(store) == []


class TestExport:
    def test_aci_is_the_same_bytes(self, store: Store, tmp_path: Path) -> None:
        data = archives.aci([archives.file("f", archives.incompressible(2_000_000))])
        image = add_aci(store, archives.compress(data, "xz"), tmp_path)
        out = tmp_path / "out.aci"
        store.export(image.id, str(out))
        assert out.read_bytes() == data
        assert out.stat().st_mode & 0o777 == 0o644

    def test_overwrite(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        out = tmp_path / "out.aci"
        out.write_bytes(b"old")
        with pytest.raises(UsageError, match=r"output ACI file exists \(try --overwrite\)"):
            store.export(image.id, str(out))
        assert out.read_bytes() == b"old"
        store.export(image.id, str(out), overwrite=True)
        assert out.read_bytes() == archives.aci([])

    def test_failure_leaves_no_file(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        os.unlink(store.blob_path(image.blobs[0]))
        place = tmp_path / "place"
        place.mkdir()
        with pytest.raises(NotFoundError):
            store.export(image.id, str(place / "out.aci"))
        with pytest.raises(StoreError, match="unable to open"):
            store.export(image.id, str(tmp_path / "no" / "out.aci"))
        assert list(place.iterdir()) == []

    def test_oci_archive_holds_the_blobs_as_they_are(self, store: Store, tmp_path: Path) -> None:
        image = add_oci(store)
        out = tmp_path / "out.tar"
        store.export(image.id, str(out))
        reader = TarReader(io.BytesIO(out.read_bytes()).read)
        files = {}
        while (entry := reader.next()) is not None:
            files[entry.name.decode()] = reader.read()
        manifest = json.loads(files["index.json"])["manifests"][0]
        assert manifest["digest"] == image.id.replace("-", ":")
        assert manifest["annotations"] == {"org.opencontainers.image.ref.name": "v1"}
        assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
        for digest in image.blobs:
            data = files["blobs/" + digest.replace(":", "/")]
            assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
        before = out.read_bytes()
        store.export(image.id, str(out), overwrite=True)
        assert out.read_bytes() == before


class TestDependencies:
    def order(self, store: Store, image: ImageRecord) -> list[str]:
        return [store.record(step.image_id).name.rpartition("/")[2] for step in dependencies.order(store.layout, image.id)]

    def names(self, *names: str) -> list[dict[str, str]]:
        return [{"imageName": f"example.com/{name}"} for name in names]

    def test_depth_first_in_list_order(self, store: Store, tmp_path: Path) -> None:
        add_named(store, tmp_path, "example.com/d")
        add_named(store, tmp_path, "example.com/b")
        add_named(store, tmp_path, "example.com/c", dependencies=self.names("d"))
        a = add_named(store, tmp_path, "example.com/a", dependencies=self.names("b", "c"))
        assert self.order(store, a) == ["b", "d", "c", "a"]

    def test_an_image_on_two_ways_comes_twice_with_the_whitelists_of_each(self, store: Store, tmp_path: Path) -> None:
        d = add_named(store, tmp_path, "example.com/d")
        add_named(store, tmp_path, "example.com/b", dependencies=self.names("d"), pathWhitelist=["/b"])
        add_named(store, tmp_path, "example.com/c", dependencies=self.names("d"))
        a = add_named(store, tmp_path, "example.com/a", dependencies=self.names("b", "c"), pathWhitelist=["/a"])
        assert self.order(store, a) == ["d", "b", "d", "c", "a"]
        steps = dependencies.order(store.layout, a.id)
        assert [step.whitelists for step in steps if step.image_id == d.id] == [(("/a",), ("/b",)), (("/a",),)]
        assert steps[-1].whitelists == (("/a",),)

    def test_by_id_and_by_labels(self, store: Store, tmp_path: Path) -> None:
        old = add_named(store, tmp_path, "example.com/lib", labels=[{"name": "version", "value": "1"}])
        add_named(store, tmp_path, "example.com/lib", labels=[{"name": "version", "value": "2"}])
        by_id = [{"imageName": "example.com/lib", "imageID": old.id[: 7 + 64]}]
        by_label = [{"imageName": "example.com/lib", "labels": [{"name": "version", "value": "1"}]}]
        for number, wanted in enumerate((by_id, by_label)):
            image = add_named(store, tmp_path, f"example.com/a{number}", dependencies=wanted)
            assert dependencies.order(store.layout, image.id)[0].image_id == old.id

    def test_missing_one_is_named(self, store: Store, tmp_path: Path) -> None:
        wanted = [{"imageName": "example.com/lib", "labels": [{"name": "version", "value": "1"}]}]
        image = add_named(store, tmp_path, "example.com/a", dependencies=wanted)
        with pytest.raises(MissingDependency, match=r"example.com/lib,version=1") as caught:
            dependencies.order(store.layout, image.id)
        assert caught.value.dependency.image_name == "example.com/lib"
        assert [problem.severity for problem in store.check()] == ["note"]

    def test_cycle(self, store: Store, tmp_path: Path) -> None:
        add_named(store, tmp_path, "example.com/b", dependencies=self.names("a"))
        a = add_named(store, tmp_path, "example.com/a", dependencies=self.names("b"))
        with pytest.raises(InputError, match=r"form a cycle: sha512-.* -> sha512-"):
            dependencies.order(store.layout, a.id)
        own = add_named(store, tmp_path, "example.com/own", dependencies=self.names("own"))
        with pytest.raises(InputError, match="cycle"):
            dependencies.order(store.layout, own.id)
        assert sorted(problem.severity for problem in store.check()) == ["note", "note"]

    def test_doubling_is_stopped(self, store: Store, tmp_path: Path) -> None:
        add_named(store, tmp_path, "example.com/n0")
        for number in range(1, 41):
            image = add_named(
                store, tmp_path, f"example.com/n{number}", dependencies=self.names(f"n{number - 1}", f"n{number - 1}")
            )
        begin = time.monotonic()
        with pytest.raises(InputError, match="more than 4096"):
            dependencies.order(store.layout, image.id)
        assert time.monotonic() - begin < 5


class TestRemoving:
    def test_shared_blobs_stay(self, store: Store, tmp_path: Path) -> None:
        shared = store.put_blob(b"shared")
        own = [store.put_blob(b"one"), store.put_blob(b"two")]
        ids = ["sha256-" + letter * 64 for letter in "ab"]
        for image_id, blob in zip(ids, own, strict=True):
            store.add_image(ImageRecord(image_id, "oci", "x", blobs=(shared, blob)), archives.manifest("x"))
        store.remove_image(ids[0])
        assert [store.blob_size(digest) for digest in (shared, *own)] == [6, None, 3]
        store.remove_image(ids[1])
        assert [store.blob_size(digest) for digest in (shared, *own)] == [None, None, None]
        with pytest.raises(NotFoundError):
            store.remove_image(ids[1])
        for directory in (store.layout.images, store.layout.manifests):
            assert os.listdir(directory) == []
        assert sorted(os.listdir(store.layout.image_locks)) == ["blobs", "records"]

    def test_blobs_stay_while_someone_fetches(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        other = Store(store.data_dir)
        assert other.blob_size(image.blobs[0]) is not None
        store.remove_image(image.id)
        assert other.blob_size(image.blobs[0]) is not None, "the other one counts on it"
        assert severe(store.check()) == []
        other.close()
        collected = store.gc(0, lambda: NONE_IN_USE)
        assert collected.blobs == image.blobs
        assert store.check() == []

    def test_a_damaged_image_can_be_removed(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        Path(store.layout.image(image.id)).write_bytes(b"")
        store.remove_image(image.id)
        assert store.image_ids() == []

    def test_gc(self, store: Store, tmp_path: Path) -> None:
        old, used, fresh = (add_named(store, tmp_path, f"example.com/{name}") for name in ("old", "used", "fresh"))
        orphan = store.put_blob(b"of a fetch that failed")
        long_ago = time.time_ns() - 2 * HOUR
        for path in (store.layout.image(old.id), store.layout.image(used.id), store.blob_path(orphan)):
            os.utime(path, ns=(long_ago, long_ago))
        with store.partial("https://x") as partial:
            partial.write(b"abc")
        with store.partial("https://y") as partial:
            partial.write(b"abc")
            os.utime(partial.path, ns=(long_ago, long_ago))
        abandoned = temporary.create_file(store.layout, "blob")
        path, abandoned.path = abandoned.path, ""
        abandoned.close()
        with temporary.create_file(store.layout, "blob") as living:
            collected = store.gc(HOUR, lambda: ((), {used.id}))
            assert os.path.exists(living.path)
        assert collected.images == (old.id,)
        assert orphan in collected.blobs
        assert not os.path.exists(path)
        assert collected.failures == ()
        assert sorted(store.image_ids()) == sorted([used.id, fresh.id])
        assert len(temporaries(store)) == 1, "the download that is worth resuming"
        assert store.gc(-HOUR, lambda: NONE_IN_USE).images == tuple(sorted([used.id, fresh.id]))
        assert temporaries(store) == []
        assert store.check() == []

    def test_gc_keeps_what_a_kept_image_depends_on(self, store: Store, tmp_path: Path) -> None:
        base = add_named(store, tmp_path, "example.com/base")
        middle = add_named(store, tmp_path, "example.com/middle", dependencies=[{"imageName": "example.com/base"}])
        top = add_named(store, tmp_path, "example.com/top", dependencies=[{"imageName": "example.com/middle"}])
        long_ago = time.time_ns() - 2 * HOUR
        for image in (base, middle):
            os.utime(store.layout.image(image.id), ns=(long_ago, long_ago))
        assert store.gc(HOUR, lambda: NONE_IN_USE).images == ()
        os.utime(store.layout.image(top.id), ns=(long_ago, long_ago))
        assert store.gc(HOUR, lambda: ((), {top.id})).images == ()
        assert len(store.gc(HOUR, lambda: NONE_IN_USE).images) == 3

    def test_gc_forgets_urls_of_images_that_are_gone(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        for url, image_id in (("https://x/kept", image.id), ("https://x/gone", "sha256-" + "a" * 64)):
            store.set_remote(Remote(url, "", "", image_id, 0, 0))
        store.gc(HOUR, lambda: NONE_IN_USE)
        assert store.remote("https://x/kept") and store.remote("https://x/gone") is None

    def test_gc_asks_what_is_in_use_under_the_lock(self, store: Store) -> None:
        def in_use() -> tuple[tuple[str, ...], tuple[str, ...]]:
            assert locks.try_acquire(store.layout.prepare_lock, exclusive=False) is None
            return NONE_IN_USE

        store.put_blob(b"x")
        store.gc(0, in_use)
        lock = locks.try_acquire(store.layout.prepare_lock, exclusive=True)
        assert lock is not None
        lock.release()


class TestCheck:
    def test_sound_store(self, store: Store, tmp_path: Path) -> None:
        assert store.check() == []
        add_aci(store, archives.aci([]), tmp_path)
        add_oci(store)
        assert store.check(deep=True) == []

    def test_missing_blob(self, store: Store, tmp_path: Path) -> None:
        image, other = add_aci(store, archives.aci([]), tmp_path), add_oci(store)
        os.unlink(store.blob_path(image.blobs[0]))
        assert severe(store.check()) == [(image.id, f"blob {image.blobs[0]} is missing")]
        problems = store.check(repair=True)
        assert [problem.repaired for problem in problems] == [True]
        assert store.image_ids() == [other.id]
        assert store.check(deep=True) == []

    def test_short_blob(self, store: Store, tmp_path: Path) -> None:
        image = add_oci(store)
        os.truncate(store.blob_path(image.blobs[2]), 3)
        assert severe(store.check())[0][1].endswith("has 3 bytes instead of 2048")

    def test_damaged_blob_only_when_deep(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([archives.file("f", b"x" * 5000)]), tmp_path)
        with open(store.blob_path(image.blobs[0]), "r+b") as file:
            file.seek(3000)
            file.write(b"Y")
        assert store.check() == []
        assert severe(store.check(deep=True)) == [(image.id, f"blob {image.blobs[0]} is damaged")]
        store.check(deep=True, repair=True)
        assert store.blob_size(image.blobs[0]) is None, "the next fetch must not take it for good"
        assert store.check(deep=True) == []

    def test_damaged_record(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        Path(store.layout.image(image.id)).write_bytes(b"{")
        assert "damaged record" in severe(store.check())[0][1]
        store.check(repair=True)
        assert severe(store.check()) == [] and store.image_ids() == []

    def test_lost_runnable_view(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        other = add_oci(store)
        for image_id in (image.id, other.id):
            Path(store.layout.manifest(image_id)).write_bytes(b"")
        assert len(severe(store.check())) == 2
        store.check(repair=True)
        assert store.image_ids() == [image.id], "an ACI carries its manifest, so it is read again"
        assert store.manifest(image.id).name == "example.com/app"
        assert severe(store.check()) == []

    def test_strangers(self, store: Store, tmp_path: Path) -> None:
        add_aci(store, archives.aci([]), tmp_path)
        for directory in ("images", "blobs/sha256"):
            Path(store.layout.cas, directory, "stranger").write_bytes(b"")
        assert sorted(subject for subject, _ in severe(store.check())) == ["blobs/sha256/stranger", "images/stranger"]
        store.check(repair=True)
        assert store.check() == []

    def test_missing_directory(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        os.rmdir(store.layout.temporary)
        assert severe(store.check()) == [(store.layout.temporary, "directory is missing")]
        Store(store.data_dir, create=False).check(repair=True)
        assert store.check() == [] and store.image_ids() == [image.id]
        assert os.stat(store.layout.temporary).st_mode & 0o7777 == 0o2770

    def test_damaged_index(self, store: Store, tmp_path: Path) -> None:
        from rktpy.store import index

        image = add_aci(store, archives.aci([]), tmp_path)
        assert index.candidates(store.layout, "name", "example.com/app") == [image.id]
        assert store.check() == []
        Path(store.layout.index).write_bytes(b"rubbish" * 1000)
        assert severe(store.check())[0][0] == "index"
        store.check(repair=True)
        assert store.check() == []

    def test_index_that_tells_lies(self, store: Store, tmp_path: Path) -> None:
        import sqlite3

        from rktpy.store import index

        add_aci(store, archives.aci([]), tmp_path)
        time.sleep(0.06)
        index.candidates(store.layout, "name", "x")
        database = sqlite3.connect(store.layout.index)
        database.execute("UPDATE image SET name = 'example.com/other'")
        database.commit()
        database.close()
        assert severe(store.check()) == [("index", "not in step with the records")]

    def test_trees(self, store: Store, tmp_path: Path) -> None:
        image = add_aci(store, archives.aci([]), tmp_path)
        trees = [store.tree_id([str(number)]) for number in range(4)]
        for tree_id, mark in zip(trees, (SYNCED, boot_id(), b"another boot\n", None), strict=True):
            path = Path(store.tree_path(tree_id))
            (path / "rootfs").mkdir(parents=True)
            (path / "image").write_text(image.id)
            if mark is not None:
                (path / "rendered").write_bytes(mark)
        assert [store.tree_ready(tree_id) for tree_id in trees] == [True, True, False, False]
        problems = store.check()
        assert {problem.subject: problem.severity for problem in problems} == {trees[2]: "leftover", trees[3]: "broken"}
        collected = store.gc(HOUR, lambda: ({trees[1]}, ()))
        assert sorted(collected.trees) == sorted([trees[0], trees[2], trees[3]])
        assert collected.written_out == (trees[1],)
        assert Path(store.tree_path(trees[1]), "rendered").read_bytes() == SYNCED
        assert store.check() == []
        store.remove_image(image.id, {trees[1]})
        assert os.listdir(store.layout.trees) == [trees[1]]
        store.remove_tree(trees[1])
        assert os.listdir(store.layout.trees) == [] and os.listdir(store.layout.tree_locks) == []
