"""A foreign stage1 image is called as rktpy-stage1(7) says: arguments by interface version, environment, directory, files."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rktpy.store.store import Store
from tests.conftest import Rktpy
from tests.contract import stub

pytestmark = pytest.mark.root


class Pods:
    """A data directory with the stub and an app image in its store."""

    def __init__(self, rktpy: Rktpy, directory: Path) -> None:
        self.rktpy = rktpy
        self.directory = directory
        self.store = Store(str(rktpy.data))
        self.app = stub.add(self.store, directory, stub.app_aci())
        self.running: list[subprocess.Popen[str]] = []

    def stage1(self, version: str | None = "6", pidfile: str = "pid") -> str:
        image_id = stub.add(self.store, self.directory, stub.stage1_aci(version, pidfile))
        return f"--stage1-hash={image_id}"

    def command(self, *args: str, status: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        return self.rktpy("--insecure-options=image", *args, status=status, env={**os.environ, **env})

    def only(self, state: str) -> Path:
        (pod,) = (self.rktpy.data / "pods" / state).iterdir()
        return pod

    def start(self, *args: str) -> Path:
        """Run a pod that stays, and wait until it is ready."""
        uuid_file = self.directory / f"uuid{len(self.running)}"
        argv = self.rktpy.argv("--insecure-options=image", "run", f"--uuid-file-save={uuid_file}", *args, "example.com/app")
        self.running.append(subprocess.Popen(argv, env={**os.environ, "STUB_HOLD": "1"}, text=True))
        deadline = time.monotonic() + 20
        while not uuid_file.exists() or not uuid_file.read_text():
            assert time.monotonic() < deadline and self.running[-1].poll() is None
            time.sleep(0.01)
        self.command("status", "--wait-ready=20s", f"--uuid-file={uuid_file}")
        return self.rktpy.data / "pods" / "run" / uuid_file.read_text()


@pytest.fixture
def pods(rktpy: Rktpy, tmp_path: Path) -> Iterator[Pods]:
    made = Pods(rktpy, tmp_path)
    yield made
    for process in made.running:
        # The shell's child keeps the pod's lock too.
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_run_without_overlay_and_with(pods: Pods) -> None:
    for option in ("--no-overlay=false", "--no-overlay=true"):
        pods.command("run", option, pods.stage1(), "example.com/app", status=7)
        pod = pods.only("run")
        program, *arguments, uuid = lines(pod / "called.run.args")
        assert program == f"{pod}/stage1/rootfs/usr/lib/run"
        assert arguments == ["--net=default", f"--local-config={pods.rktpy.config}"]
        assert uuid == pod.name
        assert lines(pod / "called.run.cwd") == [str(pod)]
        assert lines(pod / "called.run.app-app") == ["etc", "gone", "hello"]
        environment = dict(line.partition("=")[::2] for line in lines(pod / "called.run.env"))
        assert environment["RKT_SELINUX_CONTEXT"] == environment["RKT_SELINUX_MOUNT_CONTEXT"] == ""
        # The lock's descriptor is the pod's directory, and leads nowhere else.
        assert lines(pod / "called.run.lock") == [str(pod.stat().st_ino)] * 2
        status = pods.command("status", pod.name).stdout.splitlines()
        assert "state=exited" in status and "app-app=7" in status and "exited=true" in status
        pods.command("rm", pod.name)
        assert not pod.exists()


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (None, []),
        ("2", ["--hostname=h"]),
        ("3", ["--hostname=h", "--disable-capabilities-restriction", "--disable-paths", "--disable-seccomp"]),
        (
            "4",
            [
                "--hostname=h",
                "--dns-conf-mode=resolv=stage0,hosts=stage0",
                "--disable-capabilities-restriction",
                "--disable-paths",
                "--disable-seccomp",
            ],
        ),
        (
            "6",
            [
                "--hostname=h",
                "--dns-conf-mode=resolv=stage0,hosts=stage0",
                "--disable-capabilities-restriction",
                "--disable-paths",
                "--disable-seccomp",
                "--ipc=parent",
            ],
        ),
    ],
)
def test_arguments_by_interface_version(pods: Pods, version: str | None, wanted: list[str]) -> None:
    flags = (
        "--hostname=h",
        "--dns=10.0.0.1",
        "--dns-search=a.b",
        "--dns-opt=ndots:2",
        "--dns-domain=c.d",
        "--hosts-entry=10.0.0.2=x",
    )
    done = pods.command(
        "--insecure-options=image,capabilities,paths,seccomp",
        "run",
        pods.stage1(version),
        "--net=host",
        "--hosts-entry=10.0.0.2=y,::1=z",
        "--ipc=parent",
        "--interactive",
        *flags,
        "example.com/app",
        status=7,
    )
    pod = pods.only("run")
    assert lines(pod / "called.run.args")[1:] == [
        "--net=host",
        "--interactive",
        f"--local-config={pods.rktpy.config}",
        *wanted,
        pod.name,
    ]
    for number, flag in ((2, "--hostname"), (4, "--dns-conf-mode"), (6, "--ipc")):
        warned = f"warning: {flag} option is not supported by stage1" in done.stderr
        assert warned == (int(version or 1) < number)
    assert (pod / "rkt-resolv.conf").read_text() == (
        "# Generated by rktpy run\n\nsearch a.b\nnameserver 10.0.0.1\noptions ndots:2\ndomain c.d\n"
    )
    assert (pod / "rkt-hosts").read_text().endswith("# Added by rktpy run --hosts-entry\n10.0.0.2 y x\n::1 z\n")


def test_what_an_old_stage1_cannot_promise_is_refused(pods: Pods) -> None:
    stage1 = pods.stage1()
    for flag, message in (("--strict", "does not tell what it enforces"), ("--dry-run", "cannot tell its plan")):
        done = pods.command("run", stage1, flag, "example.com/app", status=254)
        assert message in done.stderr
        assert not (pods.rktpy.data / "pods").exists()
    uuid = pods.command("prepare", "--strict", stage1, "example.com/app").stdout.strip()
    assert "does not tell what it enforces" in pods.command("run-prepared", uuid, status=254).stderr
    assert pods.only("prepared").name == uuid


def test_mounts_stay_in_the_pod(pods: Pods) -> None:
    pod = pods.start(pods.stage1())
    inside = (pod / "called.run.mounts").read_text()
    assert f"{pod}/stage1/rootfs " in inside and f"{pod}/stage1/rootfs/opt/stage2/app/rootfs " in inside
    assert str(pods.rktpy.data) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.parametrize("force", [False, True])
def test_stop(pods: Pods, force: bool) -> None:
    pod = pods.start(pods.stage1())
    done = pods.command("stop", *(["--force"] if force else []), pod.name[:8])
    assert done.stdout == f'"{pod.name}"\n'
    assert lines(pod / "called.stop.args")[1:] == [*(["--force"] if force else []), pod.name]
    assert lines(pod / "called.stop.cwd") == [str(pod)]
    # The stage1's own files are there for it, with what it has written.
    assert lines(pod / "called.stop.status") == ["app"]
    assert pods.running[0].wait(20) == -signal.SIGKILL
    pods.command("status", "--wait=20s", pod.name)
    assert pods.command("stop", pod.name).stdout == f'pod "{pod.name}" is already stopped\n'


@pytest.mark.parametrize("option", ["--no-overlay=false", "--no-overlay=true"])
def test_enter(pods: Pods, option: str) -> None:
    pod = pods.start(pods.stage1(), option)
    done = pods.command("enter", pod.name, "/bin/echo", "-n", "a b", "--", "--app=x")
    assert done.stdout == "a b -- --app=x"
    program, *arguments = lines(pod / "called.enter.args")
    pid = (pod / "pid").read_text().strip()
    assert arguments == [f"--pid={pid}", "--appname=app", "--", "/bin/echo", "-n", "a b", "--", "--app=x"]
    tree = f"{pods.rktpy.data}/cas/tree/{(pod / 'stage1TreeStoreID').read_text()}/rootfs"
    assert program == f"{f'{pod}/stage1/rootfs' if option.endswith('true') else tree}/usr/lib/enter"
    assert lines(pod / "called.enter.cwd") == [str(pod)]
    assert "is not present in pod" in pods.command("enter", "--app=no", pod.name, "x", status=254).stderr


def test_enter_by_ppid(pods: Pods) -> None:
    pod = pods.start(pods.stage1(pidfile="ppid"))
    pods.command("enter", pod.name, "/bin/true")
    parent = (pod / "ppid").read_text().strip()
    assert lines(pod / "called.enter.args")[1] == f"--pid={children(int(parent))[0]}"


@pytest.mark.parametrize(("version", "local"), [("4", False), ("5", True)])
@pytest.mark.parametrize("option", ["--no-overlay=false", "--no-overlay=true"])
def test_gc(pods: Pods, version: str, local: bool, option: str, tmp_path: Path) -> None:
    out = tmp_path / "gc"
    out.mkdir()
    pods.command("run", option, pods.stage1(version), "example.com/app", status=7)
    uuid = pods.only("run").name
    marked = pods.command("gc", "--mark-only")
    assert f'moving pod "{uuid}" to garbage' in marked.stderr
    kept = pods.command("gc")
    assert f'pod "{uuid}" not removed: still within grace period (30m0s)' in kept.stderr
    pod = pods.only("exited-garbage")
    done = pods.command("gc", "--grace-period=0s", STUB_GC_TO=str(out))
    assert done.stdout == f'Garbage collecting pod "{uuid}"\n'
    program, *arguments = lines(out / "called.gc.args")
    assert program == f"{pod}/stage1/rootfs/usr/lib/gc"
    assert arguments == [*(["--local-config", str(pods.rktpy.config)] if local else []), uuid]
    assert lines(out / "called.gc.cwd") == [str(pod)]
    # Its root is mounted again for it, image and changes.
    assert (out / "marker").read_text() == "from the stub\n" and (out / "status").read_text() == "7\n"
    assert not any((pods.rktpy.data / "pods").glob("*/*"))


def test_prepare_and_run_prepared(pods: Pods) -> None:
    uuid = pods.command("prepare", pods.stage1(), "example.com/app", "--exec=/bin/sh", "--", "-c", "x").stdout.strip()
    assert pods.command("status", uuid).stdout.startswith("state=prepared\n")
    pods.command("run-prepared", "--net=none", uuid[:8], status=7)
    pod = pods.only("run")
    assert lines(pod / "called.run.args")[1:] == ["--net=none", f"--local-config={pods.rktpy.config}", uuid]
    assert '"exec":["/bin/sh","-c","x"]' in (pod / "pod").read_text()
    assert f'pod "{uuid}" is not prepared' in pods.command("run-prepared", uuid, status=254).stderr


def test_stage1_tree_that_a_restart_made_doubtful_is_rendered_again(pods: Pods) -> None:
    uuid = pods.command("prepare", pods.stage1(), "example.com/app").stdout.strip()
    tree = pods.rktpy.data / "cas/tree" / (pods.only("prepared") / "stage1TreeStoreID").read_text()
    (tree / "rendered").write_text("00000000-0000-0000-0000-000000000000\n")
    (tree / "rootfs/usr/lib/run").unlink()
    pods.command("run-prepared", uuid, status=7)


def test_an_image_without_entry_points_is_no_stage1(pods: Pods) -> None:
    done = pods.command("run", f"--stage1-hash={pods.app}", "example.com/app", status=254)
    assert "entrypoint 'coreos.com/rkt/stage1/run' not found" in done.stderr
    assert not (pods.rktpy.data / "pods").exists()


def test_program_that_is_missing_ends_the_pod(pods: Pods) -> None:
    image_id = stub.add(pods.store, pods.directory, stub.stage1_aci(name="example.com/broken", missing="run"))
    done = pods.command("run", f"--stage1-hash={image_id}", "example.com/app", status=254)
    assert "error execing init: " in done.stderr
    uuid = pods.only("run").name
    assert "state=exited" in pods.command("status", uuid).stdout
    pods.command("gc", "--grace-period=0s")
    assert not any((pods.rktpy.data / "pods").glob("*/*"))


def test_stage1_whose_gc_fails_does_not_make_pods_immortal(pods: Pods, tmp_path: Path) -> None:
    pods.command("run", pods.stage1(), "example.com/app", status=7)
    done = pods.command("gc", "--grace-period=0s", STUB_GC_TO=str(tmp_path / "nowhere"))
    assert "problem performing stage1 GC" in done.stderr
    assert not any((pods.rktpy.data / "pods").glob("*/*"))
