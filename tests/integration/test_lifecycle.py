"""The life of pods on the real kernel: states, moves, removal, export."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Rktpy

pytestmark = [pytest.mark.root, pytest.mark.stage1("fly", "oci", "systemd")]

IMAGE = "example.com/busybox"


class Pods:
    """A data directory with busybox in its store."""

    def __init__(self, rktpy: Rktpy) -> None:
        self.rktpy = rktpy
        self.data = rktpy.data
        self.running: list[subprocess.Popen[bytes]] = []

    def __call__(self, *args: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.rktpy("--insecure-options=image", *args, status=status)

    def sh(self, script: str, *flags: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a shell script in a new pod."""
        return self("run", *flags, IMAGE, "--exec=/bin/sh", "--", "-c", script, status=status)

    def prepare(self, *args: str) -> str:
        return self("prepare", "--quiet", *(args or (IMAGE, "--exec=/bin/true"))).stdout.strip()

    def hold(self, *flags: str) -> str:
        """Start a pod that sleeps, and wait until it is ready."""
        uuid = self.prepare(*flags, IMAGE, "--exec=/bin/sleep", "--", "1000")
        self.running.append(subprocess.Popen(self.rktpy.argv("run-prepared", uuid)))
        self("status", "--wait-ready=20s", uuid)
        return uuid

    def where(self) -> dict[str, list[str]]:
        """The pods in each state directory that has some."""
        base = self.data / "pods"
        return (
            {name.name: sorted(os.listdir(name)) for name in sorted(base.iterdir()) if os.listdir(name)} if base.exists() else {}
        )

    def documents(self) -> dict[str, Any]:
        return {pod["name"]: pod for pod in json.loads(self("list", "--format=json").stdout)}


@pytest.fixture
def pods(rktpy: Rktpy, busybox_images: Path) -> Iterator[Pods]:
    rktpy("--insecure-options=image", "fetch", str(busybox_images / "busybox.aci"))
    made = Pods(rktpy)
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def mounts_of(path: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{path}/" in line]


def test_from_prepare_to_gone(pods: Pods) -> None:
    uuid = pods.prepare(IMAGE, "--exec=/bin/sh", "--user-label=a=b", "--", "-c", "exit 5")
    assert pods.where() == {"prepared": [uuid]}
    document = pods.documents()[uuid]
    assert document["state"] == "prepared" and document["apps"][0]["state"] == "created"
    assert abs(document["created_at"] - time.time_ns()) < 60e9 and "started_at" not in document
    assert document["apps"][0]["user_labels"] == {"a": "b"}
    pods("run-prepared", uuid, status=5)
    assert pods.where() == {"run": [uuid]}
    document = pods.documents()[uuid]
    assert document["state"] == "exited" and document["started_at"] >= document["created_at"]
    assert pods("status", "--wait", uuid).stdout.startswith("state=exited\n")
    pods("gc")
    assert pods.where() == {"exited-garbage": [uuid]}
    assert pods.documents()[uuid]["state"] == "exited garbage"
    pods("gc")
    assert pods.where() == {"exited-garbage": [uuid]}
    assert pods("gc", "--grace-period=0s").stdout == f'Garbage collecting pod "{uuid}"\n'
    assert pods.where() == {}


def test_directory_of_a_prepared_pod(pods: Pods) -> None:
    uuid = pods.prepare()
    pod = pods.data / "pods" / "prepared" / uuid
    files = {str(path.relative_to(pod)): path for path in pod.rglob("*") if path.is_file()}
    of_oci = {"oci-runtime"} if pods.rktpy.stage1 == "oci" else set()
    assert set(files) - of_oci == {
        "appsinfo/busybox/manifest",
        "appsinfo/busybox/treeStoreID",
        "overlay-prepared",
        "pod",
        "pod-created",
        "pod.lck",
        "stage1-bundled",
        "stage1/manifest",
        "trust",
    }
    assert all(path.stat().st_mode & 0o7 == 0 for path in files.values())
    assert (pod / "stage1-bundled").read_text() == pods.rktpy.stage1
    tree = (pod / "appsinfo/busybox/treeStoreID").read_text()
    assert (pods.data / "cas" / "tree" / tree / "rootfs").is_dir()
    trust = json.loads((pod / "trust").read_text())
    assert [decision["verdict"] for decision in trust["apps"]["busybox"]] == ["accepted"]
    manifest = json.loads((pod / "pod").read_text())
    assert manifest["apps"][0]["image"]["id"].startswith("sha512-")
    assert json.loads(pods("cat-manifest", uuid).stdout) == manifest


def test_changes_stay_in_the_pod(pods: Pods) -> None:
    pods.sh("echo mine > /file; rm /bin/ls")
    (uuid,) = pods.where()["run"]
    upper = next((pods.data / "pods/run" / uuid / "overlay").glob("*/upper/busybox"))
    assert (upper / "file").read_text() == "mine\n"
    assert mounts_of(pods.data) == []
    assert pods.sh("test ! -e /file && test -e /bin/ls && cat /etc/mtab | grep -c ' / '").stdout.strip() == "1"


@pytest.mark.parametrize("option", ["--no-overlay=true", "--no-overlay=false"])
def test_root_directory_keeps_the_mode_of_the_image(pods: Pods, option: str) -> None:
    assert pods.sh("stat -c '%a %u %g' /", option).stdout == "755 0 0\n"
    (uuid,) = pods.where()["run"]
    pods("rm", uuid)


@pytest.mark.stage1()
def test_wrong_command_lines_make_no_pod(pods: Pods, tmp_path: Path) -> None:
    saved = tmp_path / "uuid"
    for args in (
        (IMAGE, "--name=Bad"),
        (IMAGE, IMAGE),
        ("--set-env-file=/does/not/exist", IMAGE),
        ("--port=http:80", IMAGE),
        ("--pod-manifest=/does/not/exist",),
        ("--stage1=nope", IMAGE),
        ("example.com/not-there", "--pull-policy=never"),
    ):
        done = pods("run", f"--uuid-file-save={saved}", *args, status=254)
        assert done.stderr.count("\n") == 1, done.stderr
    assert pods.where() == {} and not saved.exists()


def test_running_pod_is_protected(pods: Pods) -> None:
    uuid = pods.hold()
    assert pods.documents()[uuid]["state"] == "running"
    assert f'pod "{uuid}" is currently running' in pods("rm", uuid, status=254).stderr
    pods("gc", "--grace-period=0s", "--expire-prepared=0s")
    assert f'pod "{uuid}" is not prepared' in pods("run-prepared", uuid, status=254).stderr
    assert "pod is not exited. Only exited pods can be exported" in pods("export", uuid, "/tmp/never.aci", status=254).stderr
    assert pods.where() == {"run": [uuid]}
    pods.running[0].kill()
    assert "state=exited" in pods("status", "--wait=20s", uuid).stdout
    pods("rm", uuid)
    assert pods.where() == {}


def test_pod_runs_as_long_as_any_process_of_it(pods: Pods) -> None:
    """fly's lock is held by every process that inherited it, not only by the first; systemd ends what an app leaves behind."""
    pods("run", IMAGE, "--exec=/bin/sh", "--", "-c", "sleep 1 > /dev/null 2>&1 & exit 0")
    (uuid,) = pods.where()["run"]
    assert pods.documents()[uuid]["state"] == ("running" if pods.rktpy.stage1 == "fly" else "exited")
    assert "state=exited" in pods("status", "--wait=20s", uuid).stdout


def test_app_cannot_leave_through_the_lock(pods: Pods) -> None:
    script = "for fd in /proc/self/fd/*; do ls -di $fd/.. 2>/dev/null; done; ls -di /"
    lines = pods.sh(script).stdout.splitlines()
    assert lines, "no descriptor was looked at"
    (uuid,) = pods.where()["run"]
    inside = {(pods.data / "pods/run" / uuid).stat().st_ino, int(lines[-1].split()[0])}
    assert {int(line.split()[0]) for line in lines} <= inside


@pytest.mark.stage1()
def test_rm_of_every_state(pods: Pods) -> None:
    prepared = pods.prepare()
    aborted = pods.prepare()
    os.rename(pods.data / "pods/prepared" / aborted, pods.data / "pods/prepare" / aborted)
    pods.sh("true")
    (exited,) = pods.where()["run"]
    marked = pods.prepare()
    os.rename(pods.data / "pods/prepared" / marked, pods.data / "pods/exited-garbage" / marked)
    done = pods("rm", prepared, aborted[:13], exited, marked)
    assert done.stdout.splitlines() == [f'"{uuid}"' for uuid in (prepared, aborted, exited, marked)]
    assert f'moving failed prepare "{aborted}" to garbage' in done.stderr
    assert f'moving expired prepared pod "{prepared}" to garbage' in done.stderr
    assert pods.where() == {}


@pytest.mark.stage1()
def test_gc_of_what_never_ran(pods: Pods) -> None:
    fresh = pods.prepare()
    aborted = pods.prepare()
    os.rename(pods.data / "pods/prepared" / aborted, pods.data / "pods/prepare" / aborted)
    (pods.data / "pods/embryo/6733c088-a507-4694-aabf-111111111111").mkdir()
    done = pods("gc")
    assert f'moving failed prepare "{aborted}" to garbage' in done.stderr
    assert done.stdout == f'Garbage collecting pod "{aborted}"\n'
    assert pods.where() == {"prepared": [fresh]}
    done = pods("gc", "--expire-prepared=0s")
    assert f'moving expired prepared pod "{fresh}" to garbage' in done.stderr
    assert pods.where() == {}


@pytest.mark.stage1()
def test_gc_with_damaged_pods(pods: Pods) -> None:
    """Files that a power failure emptied, or that are missing, do not stop the collection."""
    broken = [pods.prepare() for _ in range(4)]
    for number, uuid in enumerate(broken):
        pod = pods.data / "pods/exited-garbage" / uuid
        os.rename(pods.data / "pods/prepared" / uuid, pod)
        (pod / "pid").write_text("")
        if number == 0:
            (pod / "pod").write_text("")
        elif number == 1:
            (pod / "stage1/manifest").write_text("")
        elif number == 2:
            (pod / "stage1-bundled").write_text("unknown")
        else:
            (pod / "stage1/manifest").unlink()
    listed = pods("list")
    assert "Unable to read pod" in listed.stderr and broken[3][:8] in listed.stdout
    pods("gc", "--grace-period=0s", status=None)
    assert pods.where() == {}


@pytest.mark.stage1()
def test_leftover_mounts_are_taken_down_and_nothing_behind_them(pods: Pods, tmp_path: Path) -> None:
    host = tmp_path / "host"
    (host / "sub").mkdir(parents=True)
    (host / "precious").write_text("p")
    uuid = pods.prepare()
    pod = pods.data / "pods/exited-garbage" / uuid
    os.rename(pods.data / "pods/prepared" / uuid, pod)
    inside = pod / "stage1" / "rootfs" / "bind here"
    inside.mkdir()

    def run(*argv: object) -> None:
        subprocess.run([str(word) for word in argv], check=True)

    run("mount", "-t", "tmpfs", "x", host / "sub")
    (host / "sub" / "precious").write_text("q")
    run("mount", "--bind", host, host)
    run("mount", "--make-shared", host)
    run("mount", "-t", "tmpfs", "y", host / "sub")
    (host / "sub" / "deep").write_text("d")
    try:
        # What a stage1 that died left behind: the host's directory, twice on one place, and a link beside it.
        run("mount", "--rbind", host, inside)
        run("mount", "--rbind", host, inside)
        (pod / "stage1/rootfs/link").symlink_to(host)
        assert len(mounts_of(pods.data)) >= 4
        pods("gc", "--grace-period=0s")
        assert pods.where() == {} and mounts_of(pods.data) == []
        assert (host / "precious").read_text() == "p" and (host / "sub" / "deep").read_text() == "d"
    finally:
        for target in (host / "sub", host, host / "sub"):
            subprocess.run(["umount", "-l", str(target)], check=False)


def test_uuid_is_saved_before_anything_can_fail_late(pods: Pods, tmp_path: Path) -> None:
    saved = tmp_path / "uuid"
    pods("run", f"--uuid-file-save={saved}", IMAGE, "--exec=/not/there", status=203 if pods.rktpy.stage1 == "systemd" else 254)
    (uuid,) = pods.where()["run"]
    assert saved.read_text() == uuid
    assert pods("rm", f"--uuid-file={saved}").stdout == f'"{uuid}"\n'


@pytest.mark.stage1()
def test_full_disk_is_told_and_leaves_what_gc_removes(pods: Pods, tmp_path: Path) -> None:
    uuid = pods.prepare()
    done = pods("run", "--uuid-file-save=/does/not/exist", IMAGE, "--exec=/bin/true", status=254)
    assert done.stderr.splitlines()[-1] == "run: error saving pod UUID to file: /does/not/exist: no such file or directory"
    base = pods.data / "pods"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=20", "small", str(base)], check=True)
    try:
        done = pods("prepare", IMAGE, status=254)
        assert "prepare: error setting up stage0: " in done.stderr and "no space left on device" in done.stderr
        assert [pod["state"] for pod in pods.documents().values()] == ["aborted prepare"]
        pods("gc")
        assert pods.where() == {}
    finally:
        subprocess.run(["umount", str(base)], check=True)
    assert uuid in pods.where()["prepared"]


@pytest.mark.parametrize("option", ["--no-overlay=true", "--no-overlay=false"])
def test_export(pods: Pods, option: str, tmp_path: Path) -> None:
    pods.sh(
        "cd /root; echo data > f; ln f hard; ln -s f soft; mkfifo pipe; mknod null c 1 3; chown 7:8 f; chmod 4711 f; rm /bin/vi;"
        " mkdir d; echo x > d/$(printf 'n\\351'); setfattr -n user.k -v v f 2>/dev/null; touch -d @1000000000 f",
        option,
    )
    (uuid,) = pods.where()["run"]
    out = tmp_path / "out.aci"
    pods("export", uuid, str(out))
    before = out.read_bytes()
    assert before[:2] == b"\x1f\x8b"
    assert "target file exists (try --overwrite)" in pods("export", uuid, str(out), status=254).stderr
    pods("export", "--overwrite", uuid[:8], str(out))
    assert mounts_of(pods.data) == [] and os.listdir(tmp_path).count("out.aci") == 1
    pods("rm", uuid)

    image_id = pods("fetch", "--full", str(out)).stdout.strip()
    script = "cd /root; stat -c '%a %u %g %h %Y' f; readlink soft; stat -c %F pipe null; ls /bin/vi; printf %s d/* | od -An -tx1"
    done = pods("run", image_id, "--exec=/bin/sh", "--", "-c", script, status=0)
    lines = [line for line in done.stdout.splitlines() if "/bin/vi" not in line]
    assert lines == ["4711 7 8 2 1000000000", "f", "fifo", "character special file", " 64 2f 6e e9"]
    assert "/bin/vi: No such file" in done.stdout + done.stderr


@pytest.mark.stage1()
def test_export_keeps_the_manifest_and_chooses_apps(pods: Pods, tmp_path: Path) -> None:
    uuid = pods.prepare(IMAGE, "--name=one", IMAGE, "--name=two")
    os.rename(pods.data / "pods/prepared" / uuid, pods.data / "pods/run" / uuid)
    done = pods("export", uuid, str(tmp_path / "x.aci"), status=254)
    assert "pod contains multiple apps:" in done.stderr and "\tone" in done.stderr
    assert "app three is not present in pod" in pods("export", "--app=three", uuid, str(tmp_path / "x.aci"), status=254).stderr
    assert not (tmp_path / "x.aci").exists()


def test_dry_run_leaves_things_as_they_were(pods: Pods) -> None:
    done = pods("run", "--dry-run", IMAGE, "--exec=/bin/true")
    assert "/proc" in done.stdout and pods.where() == {}
    uuid = pods.prepare()
    assert "/proc" in pods("run-prepared", "--dry-run", uuid).stdout
    assert pods.where() == {"prepared": [uuid]}
    pods("run-prepared", uuid)


def test_trust_is_asked_again_at_the_start(pods: Pods) -> None:
    remembered, forgotten = pods.prepare(), pods.prepare()
    # No --insecure-options here: what was allowed when the pod was prepared stays allowed for that pod alone.
    pods.rktpy("run-prepared", remembered)
    (pods.data / "pods/prepared" / forgotten / "trust").unlink()
    done = pods.rktpy("run-prepared", forgotten, status=254)
    assert "signature" in done.stderr
    assert pods.where() == {"prepared": [forgotten], "run": [remembered]}


def test_tree_that_a_restart_made_doubtful_is_rendered_again(pods: Pods) -> None:
    uuid = pods.prepare()
    tree = next((pods.data / "cas/tree").iterdir())
    (tree / "rendered").write_text("00000000-0000-0000-0000-000000000000\n")
    (tree / "rootfs/bin/true").unlink()
    pods("run-prepared", uuid)


def test_exit_by_signal(pods: Pods) -> None:
    uuid = pods.hold()
    os.kill(pods.running[0].pid, signal.SIGTERM)
    assert pods.running[0].wait(20) == (-signal.SIGTERM if pods.rktpy.stage1 == "fly" else 0)
    assert "state=exited" in pods("status", "--wait=20s", uuid).stdout


def test_pod_of_a_manifest_file(pods: Pods, tmp_path: Path) -> None:
    file = tmp_path / "pod.json"
    app = {"exec": ["/bin/sh", "-c", "echo from file"], "user": "0", "group": "0"}
    apps = [{"name": "a", "image": {"id": "sha512-00", "name": IMAGE}, "app": app}]
    file.write_text(json.dumps({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps}))
    assert "error getting the image manifest from store" in pods("run", f"--pod-manifest={file}", status=254).stderr
    del apps[0]["image"]["id"]  # type: ignore[attr-defined]
    file.write_text(json.dumps({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps}))
    assert pods("run", f"--pod-manifest={file}").stdout == "from file\n"


def test_enter_and_stop(pods: Pods) -> None:
    uuid = pods.hold()
    assert pods("enter", uuid, "/bin/sh", "-c", "echo $0; test -e /bin/busybox && exit 6", status=6).stdout == "/bin/sh\n"
    assert pods("stop", uuid).stdout == f'"{uuid}"\n'
    fly = pods.rktpy.stage1 == "fly"
    assert pods.running[0].wait(20) == (-signal.SIGTERM if fly else 0)
    assert "state=exited" in pods("status", "--wait=20s", uuid).stdout
    assert f'pod "{uuid}" isn\'t currently running' in pods("enter", uuid, "/bin/true", status=254).stderr
    assert pods("stop", uuid).stdout == f'pod "{uuid}" is already stopped\n'
    forced = pods.hold()
    pods("stop", "--force", forced)
    assert pods.running[1].wait(20) == (-signal.SIGKILL if fly else 1)
    prepared = pods.prepare()
    assert f'pod "{prepared}" is not running' in pods("stop", prepared, status=254).stderr
