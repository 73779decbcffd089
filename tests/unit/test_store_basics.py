"""Blobs, partial downloads, records, look-ups and the index, without root."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from rktpy.errors import AmbiguousError, DigestMismatch, FormatError, NotFoundError, StoreError, UsageError
from rktpy.formats.aci.types import NameValue
from rktpy.store import index, listing, lookup, paths
from rktpy.store.image_record import ImageRecord, Layer
from rktpy.store.remotes import Remote
from rktpy.store.store import Store

MANIFEST = b'{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app"}'


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def an_image(store: Store, text: str, *, name: str = "example.com/app", **facts: object) -> ImageRecord:
    digest = store.put_blob(text.encode())
    image_id = "sha512-" + hashlib.sha512(text.encode()).hexdigest()
    record = ImageRecord(image_id, "aci", name, blobs=(digest,), size=len(text)).replace(**facts)
    return store.add_image(record, MANIFEST)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "data"))


def names_in(store: Store) -> list[str]:
    return sorted(os.listdir(store.layout.temporary))


class TestBlobs:
    def test_round_trip_and_digest(self, store: Store) -> None:
        digest = store.put_blob(b"hello")
        assert digest == sha256(b"hello")
        assert store.blob_size(digest) == 5
        assert store.read_blob(digest) == b"hello"
        assert store.put_blob(b"hello", "sha512:" + hashlib.sha512(b"hello").hexdigest()).startswith("sha512:")
        assert names_in(store) == []

    def test_wrong_digest_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(DigestMismatch):
            store.put_blob(b"hello", sha256(b"other"))
        assert store.blob_size(sha256(b"hello")) is None
        assert store.blob_size(sha256(b"other")) is None

    def test_damage_is_noticed(self, store: Store) -> None:
        digest = store.put_blob(b"hello")
        Path(store.blob_path(digest)).chmod(0o600)
        Path(store.blob_path(digest)).write_bytes(b"hullo")
        with pytest.raises(DigestMismatch, match="damaged"):
            store.read_blob(digest)

    def test_missing_and_too_large(self, store: Store) -> None:
        with pytest.raises(NotFoundError):
            store.read_blob(sha256(b"x"))
        digest = store.put_blob(b"12345")
        with pytest.raises(StoreError, match="at most 4"):
            store.read_blob(digest, limit=4)

    @pytest.mark.parametrize("text", ["sha256:../../etc", "sha256:" + "A" * 64, "md5:" + "a" * 32, "", "sha512:" + "a" * 64])
    def test_what_is_no_digest_never_becomes_a_path(self, store: Store, text: str) -> None:
        with pytest.raises(UsageError):
            store.blob_path(text)


class TestPartial:
    def test_resume_after_leaving(self, store: Store) -> None:
        digest = sha256(b"first second")
        with store.partial(digest) as partial:
            partial.set_validator({"etag": '"1"'})
            partial.write(b"first ")
        assert store.blob_size(digest) is None
        with store.partial(digest) as partial:
            assert (partial.size, partial.validator()) == (6, {"etag": '"1"'})
            partial.write(b"second")
            assert Path(partial.path).read_bytes() == b"first second"
            partial.commit(digest)
        assert store.read_blob(digest) == b"first second"
        assert names_in(store) == []

    def test_restart_and_discard(self, store: Store) -> None:
        with store.partial("https://example.com/a?b") as partial:
            partial.write(b"wrong")
            partial.set_validator({"etag": "x"})
            partial.restart()
            assert (partial.size, partial.validator()) == (0, None)
            partial.write(b"right")
            partial.commit(sha256(b"right"))
        with store.partial("https://example.com/a?b") as partial:
            partial.write(b"wrong")
            partial.discard()
        assert names_in(store) == []
        assert store.read_blob(sha256(b"right")) == b"right"

    def test_leaving_without_bytes_leaves_no_file(self, store: Store) -> None:
        with store.partial("key"):
            pass
        assert names_in(store) == []

    def test_one_writer_at_a_time(self, store: Store) -> None:
        digest = sha256(b"data")
        seen: list[tuple[int, int | None]] = []

        def second() -> None:
            with Store(store.data_dir).partial(digest) as partial:
                seen.append((partial.size, store.blob_size(digest)))

        with store.partial(digest) as partial:
            thread = threading.Thread(target=second)
            thread.start()
            partial.write(b"data")
            time.sleep(0.05)
            assert seen == []
            partial.commit(digest)
        thread.join(10)
        # The waiter gets a fresh, empty download, never the file that became the blob.
        assert seen == [(0, 4)]
        assert store.read_blob(digest) == b"data"

    def test_damaged_validator_is_none(self, store: Store) -> None:
        with store.partial("key") as partial:
            partial.write(b"x")
            partial.set_validator({"etag": "x"})
            Path(partial.path.replace(".part", ".json")).write_bytes(b"{")
            assert partial.validator() is None


class TestRecords:
    def test_round_trip(self) -> None:
        digest = sha256(b"x")
        record = ImageRecord(
            "sha256-" + "a" * 64,
            "oci",
            "docker.io/library/x",
            (NameValue("version", "1"),),
            5,
            6,
            True,
            (digest,),
            (Layer(digest, digest, "application/vnd.oci.image.layer.v1.tar", 6),),
            ("docker://x",),
            ({"kind": "none"},),
            digest,
        )
        assert ImageRecord.from_bytes(record.to_bytes()) == record

    @pytest.mark.parametrize(
        ("member", "value", "path"),
        [
            ("id", "sha512-../x", "id"),
            ("format", "tgz", "format"),
            ("importTime", True, "importTime"),
            ("blobs", ["sha256:zz"], r"blobs\[0\]"),
            ("labels", [{"name": 1}], r"labels\[0\].name"),
            ("layers", [{"digest": "sha256:" + "a" * 64}], r"layers\[0\]"),
            ("references", "x", "references"),
        ],
    )
    def test_bad_members_are_named(self, member: str, value: object, path: str) -> None:
        document = ImageRecord("sha256-" + "a" * 64, "oci", "x").to_dict()
        document[member] = value
        with pytest.raises(FormatError, match=path):
            ImageRecord.from_dict(document)

    def test_unknown_version(self) -> None:
        document = ImageRecord("sha256-" + "a" * 64, "oci", "x").to_dict()
        document["recordVersion"] = 99
        with pytest.raises(StoreError, match="version 99"):
            ImageRecord.from_dict(document)

    def test_add_needs_its_blobs_and_a_manifest(self, store: Store) -> None:
        record = ImageRecord("sha256-" + "a" * 64, "oci", "x", blobs=(sha256(b"x"),))
        with pytest.raises(StoreError, match="is not in the store"):
            store.add_image(record, MANIFEST)
        with pytest.raises(FormatError):
            store.add_image(record.replace(blobs=()), b"{}")
        assert store.image_ids() == []

    def test_adding_again_merges(self, store: Store) -> None:
        one = an_image(store, "a", references=("docker://a",), evidence=({"n": 1},), latest=True, import_time=10)
        two = an_image(store, "a", references=("docker://b", "docker://a"), evidence=({"n": 2}, {"n": 1}), import_time=20)
        assert one.id == two.id
        assert store.record(one.id) == two
        assert two.references == ("docker://a", "docker://b")
        assert two.evidence == ({"n": 2}, {"n": 1}), "what was found now comes first"
        assert (two.latest, two.import_time) == (True, 20)

    def test_a_reference_leads_to_the_image_fetched_last(self, store: Store) -> None:
        old = an_image(store, "old", references=("docker://x",), latest=True)
        os.utime(store.layout.image(old.id), ns=(7, 7))
        new = an_image(store, "new", references=("docker://x",), latest=True)
        again = an_image(store, "old", references=("docker://y",))
        assert again.id == old.id
        found = store.find_by_reference("docker://x")
        assert found is not None and found.id == new.id
        assert store.record(old.id).references == ("docker://y",)
        assert not store.record(old.id).latest

    def test_giving_way_does_not_count_as_use(self, store: Store) -> None:
        old = an_image(store, "old", references=("docker://x",))
        os.utime(store.layout.image(old.id), ns=(7, 7))
        an_image(store, "new", references=("docker://x",))
        assert store.last_used(old.id) == 7
        store.touch(old.id)
        assert store.last_used(old.id) > 7

    def test_damaged_record_stops_only_its_own_image(self, store: Store) -> None:
        bad, good = an_image(store, "bad", name="example.com/bad"), an_image(store, "good")
        Path(store.layout.image(bad.id)).write_bytes(b"\0" * 20)
        with pytest.raises(StoreError, match="damaged"):
            store.record(bad.id)
        found = store.find_by_name("example.com/app")
        assert found is not None and found.id == good.id
        assert store.find_by_name("example.com/bad") is None
        assert [image.id for image in store.list_images()] == [good.id]
        # Fetching it again makes it whole.
        an_image(store, "bad", name="example.com/bad")
        assert store.record(bad.id).name == "example.com/bad"


class TestLookup:
    def test_empty_store_is_not_made_by_reading(self, tmp_path: Path) -> None:
        store = Store(str(tmp_path / "none"))
        assert store.image_ids() == [] and store.list_images() == []
        assert store.find_by_name("x") is None and store.find_by_reference("x") is None
        assert store.remote("https://x") is None
        store.touch("sha256-" + "a" * 64)
        with pytest.raises(NotFoundError):
            store.resolve_id("sha512-ab")
        with pytest.raises(NotFoundError):
            store.record("sha256-" + "a" * 64)
        assert not (tmp_path / "none").exists()

    def test_store_that_may_not_be_made(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError):
            Store(str(tmp_path / "none"), create=False).put_blob(b"x")
        assert not (tmp_path / "none").exists()

    def test_resolve_id(self, store: Store) -> None:
        ids = [an_image(store, str(n)).id for n in range(40)]
        for image_id in ids:
            assert store.resolve_id(image_id) == image_id
            assert store.resolve_id(image_id[:31]) == image_id
            assert store.resolve_id(image_id[7:31].upper()) == image_id
            assert store.resolve_id(image_id.replace("-", ":")) == image_id
        for text in ("sha512-a", "a", "", "sha512-"):
            with pytest.raises(NotFoundError, match="too short"):
                store.resolve_id(text)
        for text in ("sha512-zz", "md5-aa", "../images", "sha256-" + ids[0][7:]):
            with pytest.raises(NotFoundError):
                store.resolve_id(text)
        shared = [one for one in ids if sum(other[:9] == one[:9] for other in ids) > 1]
        assert shared, "40 IDs share a first byte with overwhelming odds; these fixed ones do"
        with pytest.raises(AmbiguousError, match="ambiguous image ID"):
            store.resolve_id(shared[0][:9])

    def test_find_by_name_prefers_as_rkt(self, store: Store) -> None:
        def version(text: str) -> tuple[NameValue, ...]:
            return (NameValue("version", text), NameValue("os", "linux"))

        latest = an_image(store, "1", labels=version("1"), latest=True, import_time=10)
        an_image(store, "2", labels=version("2"), import_time=20)
        newer = an_image(store, "2b", labels=version("2"), import_time=30)
        an_image(store, "3", name="example.com/app-other", import_time=99)
        for labels, wanted in (
            ((), latest),
            ((NameValue("os", "linux"),), latest),
            ((NameValue("version", "2"),), newer),
            ((NameValue("version", "1"), NameValue("os", "linux")), latest),
        ):
            found = store.find_by_name("example.com/app", labels)
            assert found is not None and found.id == wanted.id
        assert store.find_by_name("example.com/app", (NameValue("version", "9"),)) is None
        assert store.find_by_name("example.com/ap") is None

    def test_list_is_by_import_time(self, store: Store) -> None:
        late = an_image(store, "a", import_time=20)
        early = an_image(store, "b", import_time=10)
        listed = store.list_images()
        assert [(image.id, image.import_time, image.size) for image in listed] == [(early.id, 10, 1), (late.id, 20, 1)]
        assert listed[0].last_used == store.last_used(early.id)


class TestIndex:
    @pytest.fixture(autouse=True)
    def always_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookup, "FIND_BY_INDEX_FROM", 0)
        monkeypatch.setattr(listing, "LIST_BY_INDEX_FROM", 0)

    def test_follows_every_change(self, store: Store) -> None:
        for n in range(12):
            image = an_image(store, str(n), name=f"example.com/{n}", references=(f"docker://{n % 3}",))
            for found in (store.find_by_name(f"example.com/{n}"), store.find_by_reference(f"docker://{n % 3}")):
                assert found is not None and found.id == image.id
            assert len(store.list_images()) == n + 1
        assert os.path.exists(store.layout.index)
        last = store.find_by_name("example.com/11")
        assert last is not None
        store.remove_image(last.id)
        assert store.find_by_name("example.com/11") is None
        assert len(store.list_images()) == 11

    @pytest.mark.parametrize("damage", ["garbage", "empty", "schema", "tables", "missing", "truncated"])
    def test_damaged_index_is_made_anew(self, store: Store, damage: str) -> None:
        image = an_image(store, "a")
        assert index.candidates(store.layout, "name", "example.com/app") == [image.id]
        path = Path(store.layout.index)
        if damage == "garbage":
            path.write_bytes(b"not a database at all" * 500)
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "missing":
            index.drop(store.layout)
        elif damage == "truncated":
            path.write_bytes(path.read_bytes()[:5000])
        else:
            import sqlite3

            with sqlite3.connect(path) as database:
                if damage == "schema":
                    database.execute("PRAGMA user_version = 7")
                else:
                    database.execute("DROP TABLE image")
            database.close()
        found = store.find_by_name("example.com/app")
        assert found is not None and found.id == image.id
        if damage != "tables":
            assert index.candidates(store.layout, "name", "example.com/app") == [image.id]

    def test_reading_while_another_writes(self, store: Store) -> None:
        image = an_image(store, "a")
        assert store.find_by_name("example.com/app") is not None
        connection = index._connect(store.layout)
        connection.execute("BEGIN IMMEDIATE")
        try:
            found = store.find_by_name("example.com/app")
            assert found is not None and found.id == image.id
        finally:
            connection.close()


class TestRemotes:
    def test_round_trip(self, store: Store) -> None:
        remote = Remote("https://x/a.aci", "https://x/a.aci.asc", '"e"', "sha512-" + "a" * 128, 60, 1000)
        store.set_remote(remote)
        assert store.remote("https://x/a.aci") == remote
        assert store.remote("https://x/b.aci") is None
        store.set_remote(remote.replace(etag='"f"'))
        assert store.remote("https://x/a.aci") == remote.replace(etag='"f"')

    def test_goes_with_its_image(self, store: Store) -> None:
        image = an_image(store, "a")
        store.set_remote(Remote("https://x/a.aci", "", "", image.id, 0, 0))
        store.remove_image(image.id)
        assert store.remote("https://x/a.aci") is None

    @pytest.mark.parametrize(
        ("max_age", "age_s", "expired"),
        [(0, 0, True), (60, 0, False), (60, 59, False), (60, 60, True), (60, -1, True), (-5, 1, True)],
    )
    def test_expiry(self, max_age: int, age_s: int, expired: bool) -> None:
        now = 10**18
        assert Remote("u", "", "", "", max_age, now - age_s * 10**9).expired(now) is expired


def test_modes_of_directories(store: Store) -> None:
    store.put_blob(b"x")
    for path, mode in store.layout.directories():
        assert os.stat(path).st_mode & 0o7777 == mode, path
    assert paths.is_tree_id(store.tree_id(["sha512-a"]))
