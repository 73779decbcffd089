"""Pods whose apps are added, started, stopped and removed while they run, as rkt's own tests do it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rktpy.linux import constants as c
from rktpy.linux import syscalls
from tests.conftest import Rktpy
from tests.support.pods import BUSYBOX, UNSIGNED, mounts_of

pytestmark = [pytest.mark.root, pytest.mark.stage1("kvm", "oci", "systemd")]

LIMIT_S = 30


class Sandbox:
    """A running mutable pod with busybox in the store."""

    def __init__(self, rktpy: Rktpy, directory: Path, images: Path, *flags: str) -> None:
        self.rktpy = rktpy
        rktpy(UNSIGNED, "fetch", str(images / "busybox.aci"))
        uuid_file = directory / "uuid"
        argv = rktpy.argv(UNSIGNED, "app", "sandbox", "--net=none", f"--uuid-file-save={uuid_file}", *flags)
        self.output = open(directory / "output", "w+b")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + LIMIT_S
        while not (uuid_file.exists() and uuid_file.stat().st_size):
            assert time.monotonic() < deadline and self.process.poll() is None, self.said()
            time.sleep(0.01)
        self.uuid = uuid_file.read_text()
        rktpy("status", "--wait-ready=20s", self.uuid)

    def said(self) -> str:
        self.output.flush()
        return Path(self.output.name).read_text()

    def add(self, name: str, script: str, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = (BUSYBOX, f"--name={name}", *flags, "--exec=/bin/sh", "--", "-c", script)
        return self.rktpy(UNSIGNED, "app", "add", self.uuid, *command, **options)

    def app(self, verb: str, name: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.rktpy("app", verb, f"--app={name}", self.uuid, **options)

    def states(self) -> dict[str, str]:
        lines = self.rktpy("app", "list", "--no-legend", self.uuid).stdout.split("\n")
        return {words[0]: words[1] for line in lines if (words := line.split())}

    def document(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rktpy("app", "status", "--format=json", f"--app={name}", self.uuid).stdout)
        return found

    def logs(self, *flags: str) -> str:
        return self.rktpy("logs", "--output=cat", *flags, self.uuid).stdout

    def until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not what():
            assert time.monotonic() < deadline, (self.states(), self.said())
            time.sleep(0.05)


@pytest.fixture(params=["overlay", "copy"])
def sandbox(request: pytest.FixtureRequest, rktpy: Rktpy, tmp_path: Path, busybox_images: Path) -> Iterator[Sandbox]:
    made = Sandbox(rktpy, tmp_path, busybox_images, f"--no-overlay={'true' if request.param == 'copy' else 'false'}")
    yield made
    if made.process.poll() is None:
        rktpy("stop", "--force", made.uuid)
    try:
        made.process.wait(LIMIT_S)
    finally:
        made.process.kill()
        made.output.close()


def test_one_app(sandbox: Sandbox) -> None:
    sandbox.add("one", "echo hello from one; exec busybox sleep 1000", "--user-label=a=b")
    assert sandbox.states() == {"one": "created"}
    sandbox.app("start", "one")
    sandbox.until(lambda: "hello from one" in sandbox.said())
    assert sandbox.states() == {"one": "running"}
    assert sandbox.document("one")["user_labels"] == {"a": "b"}
    done = sandbox.rktpy("app", "exec", "--app=one", sandbox.uuid, "/bin/busybox", "ps")
    assert "sleep 1000" in done.stdout
    sandbox.app("rm", "one")
    assert sandbox.rktpy("app", "list", "--no-legend", sandbox.uuid).stdout == "\n"
    assert "state=running" in sandbox.rktpy("status", sandbox.uuid).stdout
    # What it wrote stays as long as the pod.
    assert sandbox.logs() == sandbox.logs("--app=one") == "hello from one\n"
    sandbox.rktpy("stop", sandbox.uuid)
    assert sandbox.process.wait(LIMIT_S) == 0
    assert sandbox.logs() == "hello from one\n"


def test_apps_that_end_do_not_concern_the_others(sandbox: Sandbox) -> None:
    for name, script in (("winner", "echo SUCCESS"), ("loser", "echo FAILED; exit 12"), ("sleeper", "busybox sleep 1000")):
        sandbox.add(name, script)
        sandbox.app("start", name)
    sandbox.until(lambda: sandbox.states() == {"winner": "exited", "loser": "exited", "sleeper": "running"})
    loser = sandbox.document("loser")
    assert loser["exit_code"] == 12 and loser["created_at"] < loser["started_at"] <= loser["finished_at"]
    assert sandbox.document("winner")["exit_code"] == 0
    whole = json.loads(sandbox.rktpy("status", "--format=json", sandbox.uuid).stdout)
    assert [(app["name"], app["state"]) for app in whole["apps"]] == [
        ("winner", "exited"),
        ("loser", "exited"),
        ("sleeper", "running"),
    ]
    for name in ("winner", "loser", "sleeper"):
        sandbox.app("rm", name)
    assert sandbox.states() == {}


def test_an_app_is_started_again(sandbox: Sandbox) -> None:
    for name in ("app1", "app2"):
        sandbox.add(name, "echo start >> /starts; busybox sleep 1000")
        sandbox.app("start", name)

    def starts() -> str:
        command = ("app", "exec", "--app=app1", sandbox.uuid, "/bin/busybox", "cat", "/starts")
        return sandbox.rktpy(*command, status=None).stdout

    sandbox.until(lambda: starts() == "start\n")
    first = sandbox.document("app1")
    sandbox.app("stop", "app1")
    assert sandbox.states() == {"app1": "exited", "app2": "running"}
    assert sandbox.document("app1")["exit_code"] == sandbox.rktpy.killed(signal.SIGTERM)
    sandbox.app("stop", "app1")  # once more is no error, as with rkt
    sandbox.app("start", "app1")
    assert sandbox.states() == {"app1": "running", "app2": "running"}
    again = sandbox.document("app1")
    assert again["started_at"] > first["started_at"] and "exit_code" not in again
    sandbox.until(lambda: starts() == "start\nstart\n")


@pytest.mark.parametrize("target", ["/dir2", "/new/deep", "../../../new", "/dir1/link"])
def test_volumes_of_an_app(sandbox: Sandbox, tmp_path: Path, target: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content\n")
    path = f"/{target.lstrip('./')}/file"
    flag = f"--mnt-volume=name=v,kind=host,source={source},target={target},readOnly=true"
    sandbox.add("mounter", f"busybox cat {path}; echo x > {path} || echo read-only", flag)
    sandbox.app("start", "mounter")
    sandbox.until(lambda: sandbox.states()["mounter"] == "exited")
    text = sandbox.logs("--app=mounter")
    assert text.startswith("content\n") and "read-only" in text.splitlines()
    sandbox.app("rm", "mounter")
    assert (source / "file").read_text() == "content\n"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("/no/such", "unable to find"),
        ("/bin", "unable to find"),
        ("none", "unable to find"),
        ("/etc/passwd", "is not executable"),
    ],
)
def test_a_program_that_cannot_be_executed(sandbox: Sandbox, program: str, reason: str) -> None:
    before = sorted(path for path in Path(sandbox.rktpy.data).glob("pods/run/*/appsinfo/*"))
    done = sandbox.rktpy(UNSIGNED, "app", "add", sandbox.uuid, BUSYBOX, f"--exec={program}", status=254)
    assert program in done.stderr and reason in done.stderr
    assert sorted(path for path in Path(sandbox.rktpy.data).glob("pods/run/*/appsinfo/*")) == before
    sandbox.add("busybox", "true")
    sandbox.app("rm", "busybox")


@pytest.fixture
def init() -> Iterator[Callable[..., None]]:
    """Does what an init does for the children of killed processes: a zombie that nobody waits for keeps its pod from ending."""
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def reap(*known: int) -> None:
        deadline = time.monotonic() + LIMIT_S
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        while orphans := {int(pid) for pid in children.read_text().split()}.difference(known):
            for pid in orphans:
                os.waitpid(pid, os.WNOHANG)
            assert time.monotonic() < deadline
            time.sleep(0.001)

    yield reap
    syscalls.prctl(c.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_nothing_is_left_when_additions_are_killed(sandbox: Sandbox, init: Callable[..., None]) -> None:
    """Killed at moments all over an addition; afterwards the app can be removed or is not there, and can be added."""
    command = (UNSIGNED, "app", "add", sandbox.uuid, BUSYBOX, "--name=victim", "--exec=/bin/true")
    begun = time.monotonic()
    sandbox.rktpy(*command)
    took = time.monotonic() - begun
    sandbox.app("rm", "victim")
    for number in range(12):
        process = subprocess.Popen(sandbox.rktpy.argv(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(took * (number + 1) / 13)
        process.kill()
        process.wait()
        init(sandbox.process.pid)
        removed = sandbox.app("rm", "victim", status=None)
        assert removed.returncode == 0 or "nonexistent app" in removed.stderr, removed.stderr
        assert sandbox.states() == {}
    sandbox.add("victim", "echo here after all; exec busybox sleep 1000")
    sandbox.app("start", "victim")
    sandbox.until(lambda: sandbox.logs() == "here after all\n")
    assert mounts_of(sandbox.rktpy.data) == []
    sandbox.rktpy("stop", sandbox.uuid)
    assert sandbox.process.wait(LIMIT_S) == 0
    sandbox.rktpy("rm", sandbox.uuid)
    assert not any((Path(sandbox.rktpy.data) / "pods").glob("*/*"))


def test_following_the_logs_of_a_pod(sandbox: Sandbox) -> None:
    argv = sandbox.rktpy.argv("logs", "--follow", "--output=cat", sandbox.uuid)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:
        try:
            sandbox.add("one", "echo one; echo two; exec busybox sleep 1000")
            sandbox.app("start", "one")
            assert follower.stdout is not None
            assert [follower.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
            sandbox.rktpy("stop", sandbox.uuid)
            assert follower.communicate(timeout=LIMIT_S)[0] == ""
            assert follower.returncode == 0
        finally:
            follower.kill()


def test_the_environment_switches_the_commands_off(rktpy: Rktpy) -> None:
    done = rktpy("app", "list", "x", status=254, env={**os.environ, "RKT_EXPERIMENT_APP": "false"})
    assert done.stderr.startswith('Error: unknown command "app" for "rktpy"')


STREAMS = ("--stdin=stream", "--stdout=stream", "--stderr=stream")
TERMINAL = ("--stdin=tty", "--stdout=tty", "--stderr=tty")


def attached(sandbox: Sandbox, name: str, *flags: str) -> subprocess.Popen[bytes]:
    argv = sandbox.rktpy.argv("attach", f"--app={name}", *flags, sandbox.uuid)
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.stage1("systemd")
def test_attaching_to_streams_and_to_a_terminal(sandbox: Sandbox) -> None:
    script = "busybox test -t 0 && echo terminal || echo none; while read line; do echo got $line; done; echo over"
    for name, flags, kind in (("streams", STREAMS, "none"), ("terminal", TERMINAL, "terminal")):
        sandbox.add(name, script, *flags)
        sandbox.app("start", name)
        document = json.loads(sandbox.rktpy("attach", "--mode=list", f"--app={name}", sandbox.uuid).stdout)
        wanted = ["tty"] if kind == "terminal" else ["stdin", "stdout", "stderr"]
        assert [target["name"] for target in document["targets"]] == wanted
        client = attached(sandbox, name)
        assert client.stdin is not None and client.stdout is not None
        try:
            client.stdin.write(b"some input\n")
            client.stdin.flush()
            shown = b""
            while b"got some input" not in shown:
                assert select.select([client.stdout], [], [], LIMIT_S)[0], shown
                shown += os.read(client.stdout.fileno(), 4096)
            # The end of the app is that of the attachment.
            sandbox.app("stop", name)
            assert client.wait(LIMIT_S) == 0
        finally:
            client.kill()
            client.communicate()
        assert f"{kind}\n" in sandbox.logs(f"--app={name}") and "got some input\n" in sandbox.logs(f"--app={name}")
        # And once more.
        sandbox.app("start", name)
        sandbox.until(lambda name=name: sandbox.states()[name] == "running")  # type: ignore[misc]
        sandbox.app("rm", name)
    mux = sandbox.rktpy.data / "pods/run" / sandbox.uuid / "stage1/rootfs/rkt/iottymux"
    assert list(mux.iterdir()) == []


@pytest.mark.stage1("systemd")
def test_nothing_to_attach_to(sandbox: Sandbox) -> None:
    sandbox.add("plain", "busybox sleep 1000")
    sandbox.app("start", "plain")
    done = sandbox.rktpy("attach", sandbox.uuid, status=254)
    assert done.stderr.startswith("attach: attach failed: there is nothing to attach to in app plain")
    sandbox.add("other", "true", *STREAMS)
    done = sandbox.rktpy("attach", sandbox.uuid, status=254)
    assert "pod contains multiple apps" in done.stderr


@pytest.mark.stage1("systemd")
def test_log_files_of_kubernetes(rktpy: Rktpy, tmp_path: Path, busybox_images: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    prefix = "--annotation=coreos.com/rkt/experiment/"
    sandbox = Sandbox(rktpy, tmp_path, busybox_images, f"{prefix}logmode=k8s-plain", f"{prefix}kubernetes-log-dir={logs}")
    try:
        sandbox.add("hello", "echo out; echo err >&2", *STREAMS, f"{prefix}kubernetes-log-path=hello_0.log")
        sandbox.app("start", "hello")
        file = logs / "hello_0.log"
        sandbox.until(lambda: file.exists() and file.read_text().count("\n") == 2)
        assert sorted(line.split(" ", 1)[1] for line in file.read_text().splitlines()) == ["stderr F err", "stdout F out"]
    finally:
        rktpy("stop", "--force", sandbox.uuid)
        sandbox.process.wait(LIMIT_S)
        sandbox.output.close()
