"""Pod states are a directory plus a lock; moves are renames; waits wake up by themselves."""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rktpy.errors import AmbiguousError, NotFoundError, StateError, UsageError, innermost
from rktpy.stage0 import pod_states, pods
from rktpy.stage0.pods import Pod

UUID = "6733c088-a507-4694-aabf-111111111111"
OTHER = "6733c088-a507-4694-aabf-222222222222"

MANIFEST = """{"acVersion":"0.8.11","acKind":"PodManifest","apps":[
 {"name":"web","image":{"id":"sha512-aa","name":"example.com/web","labels":[{"name":"version","value":"1.2"}]},
  "app":{"exec":["/web"],"user":"0","group":"0","userLabels":{"tier":"front"}},
  "mounts":[{"volume":"data","path":"/data"},{"volume":"own","path":"/own","appVolume":{"name":"own","kind":"empty"}}]},
 {"name":"log","image":{"id":"sha512-bb"}}],
 "volumes":[{"name":"data","kind":"host","source":"/srv","readOnly":true}],"userAnnotations":{"a":"b"}}"""


def make(data: Path, directory: str, uuid: str = UUID, manifest: str = "") -> Path:
    pod_states.make_state_dirs(str(data))
    path = data / "pods" / directory / uuid
    path.mkdir()
    if manifest:
        (path / "pod").write_text(manifest)
        (path / "pod-created").touch()
    return path


class Holder:
    """Another open file description that holds the lock of a pod, as a stage1 does."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        os.close(self.fd)


@pytest.mark.parametrize(
    ("directory", "unlocked", "locked"),
    [
        ("embryo", "embryo", "embryo"),
        ("prepare", "aborted prepare", "preparing"),
        ("prepared", "prepared", "prepared"),
        ("run", "exited", "running"),
        ("exited-garbage", "exited garbage", "exited deleting"),
        ("garbage", "garbage", "deleting"),
    ],
)
def test_state_is_directory_and_lock(tmp_path: Path, directory: str, unlocked: str, locked: str) -> None:
    path = make(tmp_path, directory)
    with pods.open_pod(str(tmp_path), UUID) as pod:
        assert pod.state == unlocked
        holder = Holder(path)
        assert pod.refresh() == locked
        with pods.open_pod(str(tmp_path), UUID) as again:
            assert again.state == locked
        holder.release()
        assert pod.refresh() == unlocked


def test_state_directories_are_private(tmp_path: Path) -> None:
    pod_states.make_state_dirs(str(tmp_path / "data"))
    for name in pod_states.STATES:
        assert (tmp_path / "data" / "pods" / name).stat().st_mode & 0o7777 == 0o750


def test_create_and_moves_to_the_end(tmp_path: Path) -> None:
    data = str(tmp_path)
    with pods.create(data) as pod:
        assert pod_states.is_uuid(pod.uuid) and pod.uuid[14] == "4" and pod.uuid[19] in "89ab"
        assert pod.state == pod_states.PREPARING and pod.path == f"{data}/pods/prepare/{pod.uuid}"
        with pods.open_pod(data, pod.uuid) as seen:
            assert seen.state == pod_states.PREPARING
        with pytest.raises(StateError):
            pod.to_exited_garbage()
        pod.to_prepared()
        assert pod.state == pod_states.PREPARED
        uuid = pod.uuid
    with pods.open_pod(data, uuid) as pod:
        pod.to_run()
        assert pod.state == pod_states.RUNNING
        with pods.open_pod(data, uuid) as seen:
            assert seen.state == pod_states.RUNNING
            with pytest.raises(StateError, match="is not prepared"):
                seen.to_run()
    with pods.open_pod(data, uuid) as pod:
        assert pod.state == pod_states.EXITED
        with pytest.raises(StateError):
            pod.to_garbage()
        assert pod.to_exited_garbage()
        assert pod.state == pod_states.EXITED_GARBAGE
        assert pod.lock()
        assert pod.refresh() == pod_states.EXITED_DELETING
        os.rmdir(pod.path)
        assert pod.refresh() == pod_states.GONE
    with pytest.raises(NotFoundError):
        pods.open_pod(data, uuid)


def test_maker_may_run_without_the_stop_at_prepared(tmp_path: Path) -> None:
    with pods.create(str(tmp_path)) as pod:
        pod.to_run()
        assert pod.path.startswith(f"{tmp_path}/pods/run/")
        with pods.open_pod(str(tmp_path), pod.uuid) as seen:
            assert seen.state == pod_states.RUNNING


def test_of_two_movers_one_wins(tmp_path: Path) -> None:
    make(tmp_path, "run")
    with pods.open_pod(str(tmp_path), UUID) as one, pods.open_pod(str(tmp_path), UUID) as two:
        assert one.to_exited_garbage()
        assert not two.to_exited_garbage()
    make(tmp_path, "prepared", OTHER)
    with pods.open_pod(str(tmp_path), OTHER) as one, pods.open_pod(str(tmp_path), OTHER) as two:
        assert one.to_garbage()
        with pytest.raises(StateError, match=f'pod "{OTHER}" is not prepared'):
            two.to_run()


def test_lock_on_a_removed_or_moved_directory_does_not_count(tmp_path: Path) -> None:
    path = make(tmp_path, "exited-garbage")
    with pods.open_pod(str(tmp_path), UUID) as pod:
        path.rename(tmp_path / "pods" / "garbage" / UUID)
        assert not pod.lock()
    with pods.open_pod(str(tmp_path), UUID) as pod:
        holder = Holder(tmp_path / "pods" / "garbage" / UUID)
        assert not pod.lock()
        holder.release()
        assert pod.lock()


def test_lock_is_not_hindered_by_those_who_only_look(tmp_path: Path) -> None:
    path = make(tmp_path, "exited-garbage")
    with pods.open_pod(str(tmp_path), UUID) as pod:
        looking = os.open(path, os.O_RDONLY)
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.005, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        timer.start()
        assert pod.lock()
        timer.join()
        os.close(looking)


def test_a_symlink_is_not_a_pod(tmp_path: Path) -> None:
    make(tmp_path, "run", OTHER)
    (tmp_path / "pods" / "run" / UUID).symlink_to(OTHER)
    assert [pod.uuid for pod in pods.walk(str(tmp_path))] == [OTHER]


def test_opening_never_misses_a_moving_pod(tmp_path: Path) -> None:
    """A pod that is moved back and forth is found by every look, and its state always fits its directory."""
    make(tmp_path, "prepare")
    base = tmp_path / "pods"
    stop = threading.Event()

    def mover() -> None:
        order = list(pod_states.STATES)
        while not stop.is_set():
            for old, new in itertools.pairwise(order[1:]):
                os.rename(base / old / UUID, base / new / UUID)
            os.rename(base / order[-1] / UUID, base / order[1] / UUID)

    thread = threading.Thread(target=mover)
    thread.start()
    try:
        seen: set[str] = set()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            try:
                with pods.open_pod(str(tmp_path), UUID) as pod:
                    assert pod.state == pod_states.STATES[pod.directory][0]
                    seen.add(pod.state)
            except NotFoundError:
                # Only possible because this mover also goes backwards, which no command does.
                continue
        assert len(seen) >= 2
    finally:
        stop.set()
        thread.join()


def test_resolve_uuid(tmp_path: Path) -> None:
    data = str(tmp_path)
    with pytest.raises(UsageError, match=r"^UUID cannot be empty$"):
        pods.resolve_uuid(data, "")
    with pytest.raises(NotFoundError, match=r'^no matches found for "abc"$'):
        pods.resolve_uuid(data, "ABC")
    make(tmp_path, "run", UUID)
    make(tmp_path, "prepare", OTHER)
    make(tmp_path, "garbage", "aaaaaaaa-a507-4694-aabf-111111111111")
    assert pods.resolve_uuid(data, UUID.upper()) == UUID
    assert pods.resolve_uuid(data, UUID[:25]) == UUID
    with pytest.raises(AmbiguousError, match=r"^ambiguous uuid, 2 matches$"):
        pods.resolve_uuid(data, "6733")
    with pytest.raises(NotFoundError):
        pods.resolve_uuid(data, "aaaaaaaa")
    with pytest.raises(NotFoundError, match=OTHER[:-1] + "3"):
        pods.resolve_uuid(data, OTHER[:-1] + "3")
    with pytest.raises(NotFoundError) as caught:
        pods.find_pod(data, "ffff", "problem retrieving pod")
    assert innermost(caught.value) == 'problem retrieving pod: no matches found for "ffff"'


@pytest.mark.parametrize(
    "text", ["../../../../../../../../../etc/passwd00", "6733c088-a507-4694-aabf-11111111111g", "6733" * 9, ""]
)
def test_is_uuid_refuses(text: str) -> None:
    assert not pod_states.is_uuid(text)


def test_a_complete_uuid_lists_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "run")

    def refuse(path: object = None) -> list[str]:
        raise AssertionError(f"listed {path}")

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pods.find_pod(str(tmp_path), UUID, "x") as pod:
        assert pod.state == pod_states.EXITED


def test_walk_sorts_and_leaves_out(tmp_path: Path) -> None:
    make(tmp_path, "run", OTHER)
    make(tmp_path, "prepared", UUID)
    make(tmp_path, "garbage", "aaaaaaaa-a507-4694-aabf-111111111111")
    (tmp_path / "pods" / "run" / "stray").write_text("")
    assert [(pod.uuid, pod.state) for pod in pods.walk(str(tmp_path))] == [(UUID, "prepared"), (OTHER, "exited")]
    assert [pod.uuid for pod in pods.walk(str(tmp_path), ("garbage",))] == ["aaaaaaaa-a507-4694-aabf-111111111111"]
    assert list(pods.walk(str(tmp_path / "nowhere"))) == []


def test_statuses_of_a_foreign_stage1_are_in_its_upper_layer(tmp_path: Path) -> None:
    path = make(tmp_path, "run", manifest=MANIFEST)
    (path / "overlay-prepared").touch()
    (path / "stage1TreeStoreID").write_text("deps-sha512-1")
    (path / "overlay" / "deps-sha512-1" / "upper" / "rkt" / "status").mkdir(parents=True)
    (path / "overlay" / "deps-sha512-1" / "upper" / "rkt" / "status" / "log").write_text("0")
    with pods.open_pod(str(tmp_path), UUID) as pod:
        assert pod.app_statuses() == {"log": 0}


def test_pod_of_an_old_layout_was_created_with_its_manifest(tmp_path: Path) -> None:
    path = make(tmp_path, "prepared", manifest=MANIFEST)
    (path / "pod-created").unlink()
    with pods.open_pod(str(tmp_path), UUID) as pod:
        assert pod.created_ns == (path / "pod").stat().st_mtime_ns


def test_damaged_numbers_are_absent(tmp_path: Path) -> None:
    path = make(tmp_path, "run", manifest=MANIFEST)
    with pods.open_pod(str(tmp_path), UUID) as pod:
        for text in ("", "x", "9" * 5000):
            (path / "pid").write_text(text)
            assert pod.pid() is None


def test_files_are_not_read_through_symlinks_or_without_end(tmp_path: Path) -> None:
    path = make(tmp_path, "run")
    (path / "pod").symlink_to("/etc/passwd")
    with pods.open_pod(str(tmp_path), UUID) as pod:
        with pytest.raises(OSError):
            pod.manifest_bytes()
        (path / "pod").unlink()
        with open(path / "pod", "wb") as file:
            file.truncate(64 << 20)
        with pytest.raises(StateError, match="larger than"):
            pod.manifest_bytes()


def test_killed_maker_leaves_an_aborted_prepare(tmp_path: Path) -> None:
    code = (
        "import os,signal,sys; sys.path.insert(0, sys.argv[2]); from rktpy.stage0 import pods\n"
        "pods.create(sys.argv[1]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(root)], timeout=30)
    assert done.returncode == -9
    assert [pod.state for pod in pods.walk(str(tmp_path))] == [pod_states.ABORTED_PREPARE]


def test_create_survives_a_collector_of_embryos(tmp_path: Path) -> None:
    """gc removes embryos that nobody has locked; a maker whose embryo vanishes makes another."""
    embryo = tmp_path / "pods" / "embryo"
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            for name in os.listdir(embryo) if embryo.exists() else ():
                try:
                    os.rmdir(embryo / name)
                except FileNotFoundError:
                    pass

    thread = threading.Thread(target=collect)
    thread.start()
    made: list[Pod] = []
    try:
        for _ in range(200):
            made.append(pods.create(str(tmp_path)))
    finally:
        stop.set()
        thread.join()
        for pod in made:
            pod.close()
    assert len(os.listdir(tmp_path / "pods" / "prepare")) == 200


def test_uuid_files(tmp_path: Path) -> None:
    file = tmp_path / "uuid"
    pods.write_uuid_file(str(file), UUID)
    assert file.read_text() == UUID and file.stat().st_mode & 0o777 == 0o644
    file.write_text(f"\n {UUID}\n")
    assert pods.read_uuid_file(str(file)) == UUID
