"""The store under kill -9 at random instants, and under many processes at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from rktpy.errors import NotFoundError, StateError
from rktpy.linux import constants as c
from rktpy.linux.syscalls import mount, umount2
from rktpy.store.image_record import ImageRecord, Layer
from rktpy.store.remotes import Remote
from rktpy.store.store import Store
from tests.support import archives

pytestmark = pytest.mark.root

KILLS = 60
STRIDE = 2
LAYER = "application/vnd.oci.image.layer.v1.tar"
NONE_IN_USE: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def an_aci(number: int) -> bytes:
    members = [archives.directory("d"), archives.file("d/shared", b"s" * 5000), archives.hardlink("d/again", "d/shared")]
    members += [archives.file(f"d/{number}-{at}", archives.incompressible(20_000, number + at)) for at in range(20)]
    return archives.aci(members, archives.manifest(f"example.com/app{number}"))


def an_oci_image(number: int) -> tuple[list[bytes], bytes]:
    """Layers (the first is every image's) and the config."""
    tars = [archives.tar([archives.directory("base"), archives.file("base/f", b"x" * 300_000)])]
    tars.append(archives.tar([archives.file(f"own{number}", archives.incompressible(50_000, number))]))
    diff_ids = [archives.sha256(tar) for tar in tars]
    config = {"architecture": "amd64", "os": "linux", "n": number, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    return tars, json.dumps(config).encode()


def add_aci(store: Store, path: str) -> str:
    imported = store.import_aci(path)
    record = ImageRecord(imported.id, "aci", imported.manifest.name, size=imported.size, blobs=(imported.digest,))
    return store.add_image(record, imported.manifest_bytes).id


def add_oci(store: Store, number: int) -> str:
    layers, config = an_oci_image(number)
    digests: list[str] = []
    for layer in layers:
        digest = archives.sha256(layer)
        if store.blob_size(digest) is None:
            with store.partial(digest) as download:
                if store.blob_size(digest) is None:
                    assert layer.startswith(Path(download.path).read_bytes())
                    for at in range(download.size, len(layer), 10_000):
                        download.write(layer[at : at + 10_000])
                    download.commit(digest)
        digests.append(digest)
    config_digest = store.put_blob(config)
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": d, "size": len(t)} for d, t in zip(digests, layers, strict=True)],
    }
    manifest = store.put_blob(json.dumps(document).encode())
    record = ImageRecord(
        manifest.replace(":", "-"),
        "oci",
        f"registry.example.com/app{number}",
        size=sum(map(len, layers)),
        blobs=(manifest, config_digest, *digests),
        layers=tuple(Layer(d, d, LAYER, len(t)) for d, t in zip(digests, layers, strict=True)),
        references=("docker://registry.example.com/moving:tag",),
    )
    return store.add_image(record, archives.manifest(record.name)).id


def whatever(data_dir: str, files: list[str], seed: int) -> None:
    """Work on the store in random order, for ever."""
    chance = random.Random(seed)
    store = Store(data_dir)
    while True:
        match chance.randrange(7):
            case 0 | 1:
                image_id = add_aci(store, chance.choice(files))
            case 2 | 3:
                image_id = add_oci(store, chance.randrange(3))
            case _:
                ids = store.image_ids()
                if not ids:
                    continue
                image_id = chance.choice(ids)
        try:
            match chance.randrange(6):
                case 0 | 1 | 2:
                    store.ensure_tree(image_id)
                    store.touch(image_id)
                case 3:
                    store.remove_image(image_id)
                case 4:
                    store.gc(0 if chance.random() < 0.5 else 10**12, lambda: NONE_IN_USE)
                case _:
                    store.find_by_reference("docker://registry.example.com/moving:tag")
                    store.list_images()
        except (NotFoundError, StateError):
            # Another process was faster.
            continue


def forked(function: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def finish(pids: list[int], seconds: float) -> None:
    """Wait for children that must end well by then."""
    deadline = time.monotonic() + seconds
    try:
        while pids:
            done, status = os.waitpid(pids[0], os.WNOHANG)
            if done:
                pids.pop(0)
                assert status == 0
            else:
                assert time.monotonic() < deadline, "a process hangs"
                time.sleep(0.01)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths: list[str] = []
    for number, kind in enumerate(("none", "gzip", "zstd")):
        path = tmp_path / f"{number}.aci"
        path.write_bytes(archives.compress(an_aci(number), kind))
        paths.append(str(path))
    return paths


def assert_sound(store: Store) -> None:
    assert [problem for problem in store.check(deep=True) if problem.severity == "broken"] == []
    for image_id in store.image_ids():
        store.manifest(image_id)
        assert store.record(image_id).id == image_id


def assert_clean(store: Store) -> None:
    """Nothing is left over once garbage has been collected."""
    collected = store.gc(0, lambda: NONE_IN_USE)
    assert collected.failures == ()
    assert store.check(deep=True) == []
    layout = store.layout
    for directory in (layout.temporary, layout.images, layout.manifests, layout.trees, layout.tree_locks):
        assert os.listdir(directory) == []
    assert os.listdir(f"{layout.blobs}/sha256") == os.listdir(f"{layout.blobs}/sha512") == []


@pytest.mark.slow
def test_killed_at_random_instants(tmp_path: Path, files: list[str]) -> None:
    data_dir = str(tmp_path / "data")
    store = Store(data_dir)
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for kill in range(KILLS):
        # Every other time two processes work at once.
        pids = [forked(partial(whatever, data_dir, files, seed + 2 * kill + at)) for at in range(1 + kill % 2)]
        time.sleep(chance.uniform(0.002, 0.25))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL, f"seed {seed}, round {kill}: it ended by itself"
        assert_sound(store)
    # Whatever state that left, the store still works.
    image_id = add_aci(store, files[1])
    assert store.tree_ready(store.ensure_tree(image_id))
    assert_clean(store)


# What a process does to the disk, as the interpreter announces it just before.
CHANGES = {
    *("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
    *("os.utime", "os.chmod", "os.chown", "os.truncate", "fcntl.flock"),
}


def once_through(data_dir: str, file: str) -> None:
    """Everything that changes a store, once."""
    store = Store(data_dir)
    aci_id, oci_id = add_aci(store, file), add_oci(store, 1)
    for image_id in (aci_id, oci_id):
        store.ensure_tree(image_id)
    assert store.verify(aci_id).outcome == "verified"
    store.set_remote(Remote("https://example.com/a.aci", "", "", oci_id, 60, 1))
    assert add_oci(store, 2) != oci_id
    store.remove_image(oci_id)
    used = store.tree_id([aci_id])
    store.gc(10**15, lambda: ((used,), ()))
    store.remove_image(aci_id)
    store.gc(0, lambda: NONE_IN_USE)


def killed_before_change(number: int, data_dir: str, file: str) -> None:
    """Like :func:`once_through`, but killed just before the change with that number."""
    countdown = number

    def watch(event: str, _arguments: object) -> None:
        nonlocal countdown
        if event in CHANGES:
            countdown -= 1
            if countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    once_through(data_dir, file)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory, where fsync costs nothing."""
    path = tmp_path / "memory"
    path.mkdir()
    mount("tmpfs", str(path), "tmpfs", 0, "size=64m,mode=755")
    yield path
    umount2(str(path), c.MNT_DETACH)


@pytest.mark.slow
def test_killed_before_each_change(tmp_path: Path, memory: Path) -> None:
    aci = tmp_path / "image.aci"
    aci.write_bytes(archives.aci([archives.directory("d"), archives.file("d/f", b"x"), archives.hardlink("l", "d/f")]))
    once_through(str(memory / "warm"), str(aci))
    number = random.randrange(1, STRIDE + 1)
    kills = 0
    while True:
        data_dir = str(memory / "data")
        pid = forked(partial(killed_before_change, number, data_dir, str(aci)))
        status = os.waitpid(pid, 0)[1]
        if status == 0:
            break
        assert status == signal.SIGKILL
        kills += 1
        store = Store(data_dir)
        try:
            assert_sound(store)
            once_through(data_dir, str(aci))
            assert_clean(store)
        except Exception as error:
            raise AssertionError(f"after a kill before change {number}") from error
        shutil.rmtree(data_dir)
        number += STRIDE
    assert kills > 50


def test_twenty_processes_import_and_render_one_image(tmp_path: Path, files: list[str]) -> None:
    data_dir = str(tmp_path / "data")
    log = tmp_path / "log"

    def one() -> None:
        from rktpy.store import trees

        original = trees.render_aside

        def counted(*arguments: object) -> object:
            with open(log, "a") as file:
                file.write("rendered\n")
            return original(*arguments)  # type: ignore[arg-type]

        trees.render_aside = counted  # type: ignore[assignment]
        store = Store(data_dir)
        image_id = add_aci(store, files[1])
        tree_id = store.ensure_tree(image_id)
        assert (Path(store.tree_path(tree_id)) / "rootfs/d/again").read_bytes() == b"s" * 5000

    finish([forked(one) for _ in range(20)], 60)
    assert log.read_text() == "rendered\n"
    store = Store(data_dir)
    assert len(store.image_ids()) == 1
    assert store.check(deep=True) == []
    assert os.listdir(store.layout.temporary) == []


def test_twenty_processes_download_one_blob_once(tmp_path: Path) -> None:
    data_dir = str(tmp_path / "data")
    digest = archives.sha256(b"x" * 100_000)
    log = tmp_path / "log"

    def one() -> None:
        store = Store(data_dir)
        with store.partial(digest) as download:
            if store.blob_size(digest) is None:
                for _ in range(100):
                    download.write(b"x" * 1000)
                with open(log, "a") as file:
                    file.write("downloaded\n")
                download.commit(digest)
        assert store.read_blob(digest) == b"x" * 100_000

    finish([forked(one) for _ in range(20)], 60)
    assert log.read_text() == "downloaded\n"


def test_removing_while_others_add(tmp_path: Path, files: list[str]) -> None:
    data_dir = str(tmp_path / "data")

    def adding() -> None:
        store = Store(data_dir)
        for round in range(25):
            image_id = add_oci(store, round % 3)
            try:
                store.ensure_tree(image_id)
            except NotFoundError:
                continue

    def removing() -> None:
        store = Store(data_dir)
        for _ in range(60):
            for image_id in store.image_ids():
                try:
                    store.remove_image(image_id)
                except NotFoundError:
                    continue
            store.gc(0, lambda: NONE_IN_USE)

    finish([forked(adding), forked(adding), forked(removing)], 90)
    store = Store(data_dir)
    assert_sound(store)
    assert_clean(store)
