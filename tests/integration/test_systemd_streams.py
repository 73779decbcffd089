"""Attaching to the apps of systemd pods that run, and what is in their logs while they do and afterwards."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import Rktpy
from tests.support.pod_manifests import app, pod_of
from tests.support.pods import BUSYBOX, UNSIGNED, Running, states, wait_for

pytestmark = [pytest.mark.root, pytest.mark.stage1("systemd", "kvm")]

LIMIT_S = 20
STREAMS = ("--stdin=stream", "--stdout=stream", "--stderr=stream")
TERMINAL = ("--stdin=tty", "--stdout=tty", "--stderr=tty")
EXPERIMENT = "coreos.com/rkt/experiment/"


@pytest.fixture(autouse=True)
def _experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKT_EXPERIMENT_ATTACH", "true")


def until(stream: IO[bytes] | int, text: bytes) -> bytes:
    """What comes until ``text`` has come."""
    fd = stream if isinstance(stream, int) else stream.fileno()
    shown, deadline = b"", time.monotonic() + LIMIT_S
    while text not in shown:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([fd], [], [], left)[0], shown
        chunk = os.read(fd, 4096)
        assert chunk, shown
        shown += chunk
    return shown


class Attached:
    """An ``attach`` in the background."""

    def __init__(self, rktpy: Rktpy, uuid: str, *flags: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(rktpy.argv("attach", *flags, uuid), stdin=pipe, stdout=pipe, stderr=pipe)

    def __enter__(self) -> Attached:
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def type(self, text: str) -> None:
        self.stdin.write(text.encode())
        self.stdin.flush()


ECHO = 'while read line; do echo out $line; echo err $line >&2; [ "$line" = end ] && exit 4; done; echo over'


def test_streams(stored: Rktpy, tmp_path: Path) -> None:
    """Attached, gone, and attached again: the app notices nothing, its log has all, and its end is that of those attached."""
    with Running(stored, tmp_path, ECHO, *STREAMS) as pod:
        with Attached(stored, pod.uuid) as first:
            first.type("one\n")
            until(first.stdout, b"out one\n")
            until(first.stderr, b"err one\n")
        time.sleep(0.1)
        assert pod.process.poll() is None
        with Attached(stored, pod.uuid, "--app=busybox") as second, Attached(stored, pod.uuid, "--mode=stdout") as third:
            said = 0
            while not select.select([third.stdout], [], [], 0.3)[0]:  # it may not be attached yet
                second.type("two\n")
                said += 1
                assert said < 60
            assert until(second.stdout, b"two\n").startswith(b"out two\n")
            assert until(third.stdout, b"two\n").startswith(b"out two\n")
            second.type("end\n")
            assert second.process.wait(LIMIT_S) == third.process.wait(LIMIT_S) == 0
            assert third.stderr.read() == b""
        assert pod.process.wait(LIMIT_S) == 4
    lines = stored("logs", "--output=cat", pod.uuid).stdout.splitlines()
    words = ("one", *["two"] * said, "end")
    assert sorted(lines) == sorted(f"{stream} {word}" for word in words for stream in ("out", "err"))


def test_chosen_streams_and_wrong_ones(stored: Rktpy, tmp_path: Path) -> None:
    with Running(stored, tmp_path, "echo up; exec sleep 60", "--stdout=stream", "--stdin=null") as pod:
        assert '"stdout"' in stored("attach", "--mode=list", pod.uuid).stdout
        for flags, words in (
            (("--mode=stdin",), "no stdin"),
            (("--mode=tty",), "no tty"),
            (("--app=other",), "other"),
            (("--mode=x",), "x"),
        ):
            done = stored("attach", *flags, pod.uuid, status=254, stdin=subprocess.DEVNULL)
            assert words in done.stderr and done.stdout == "" and "Traceback" not in done.stderr
    with Running(stored, tmp_path, "exec sleep 60") as pod:
        assert "there is nothing to attach to" in stored("attach", pod.uuid, status=254).stderr


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    sides = pty.openpty()
    yield sides
    for fd in sides:
        os.close(fd)


def test_a_terminal(stored: Rktpy, tmp_path: Path, terminal: tuple[int, int]) -> None:
    """Raw while attached; three ^] detach, and the app goes on; another one is attached later."""
    master, slave = terminal
    before = termios.tcgetattr(slave)
    script = "test -t 0 && test -t 1 && echo terminal; while read line; do echo got $line; [ $line = end ] && exit 6; done"
    with Running(stored, tmp_path, script, *TERMINAL) as pod:
        for word in (b"first", b"second"):
            client = subprocess.Popen(stored.argv("attach", pod.uuid), stdin=slave, stdout=slave)
            try:
                wait_for("raw mode", lambda: not termios.tcgetattr(slave)[3] & termios.ICANON)
                os.write(master, word + b"\r")
                until(master, b"got " + word)
                os.write(master, b"\x1d\x1d\x1d")
                assert client.wait(LIMIT_S) == 0
                assert termios.tcgetattr(slave)[:4] == before[:4]
            finally:
                client.kill()
                client.wait()
        assert pod.process.poll() is None
        with Attached(stored, pod.uuid) as last:
            last.type("end\n")
            until(last.stdout, b"got end")
            assert last.process.wait(LIMIT_S) == 0
        assert pod.process.wait(LIMIT_S) == 6


def test_much_output_and_nobody_attached(stored: Rktpy, tmp_path: Path) -> None:
    """The app is not held up, and the log has every line."""
    with Running(stored, tmp_path, "seq 1 20000; echo done >&2; exec sleep 60", *STREAMS) as pod:
        assert pod.process.stdout is not None
        # What run prints has to be read, since the journal waits for the reader of its lines. One that is attached need not read.
        reader = threading.Thread(target=pod.process.stdout.read)
        reader.start()
        with Attached(stored, pod.uuid, "--mode=stdout"):
            wait_for("all lines", lambda: stored("logs", "--output=cat", pod.uuid).stdout.count("\n") == 20001, LIMIT_S)
        stored("stop", pod.uuid)
        assert pod.process.wait(LIMIT_S) == 0
        reader.join(LIMIT_S)
    lines = stored("logs", "--output=cat", pod.uuid).stdout.split()
    assert [line for line in lines if line != "done"] == [str(number) for number in range(1, 20001)]


def test_following_the_log(stored: Rktpy, tmp_path: Path) -> None:
    """From the beginning to the end of the pod; afterwards the log is there, and what was after a time can be asked for."""
    script = "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two; echo three >&2; exit 3"
    with Running(stored, tmp_path, script) as pod:
        with subprocess.Popen(stored.argv("logs", "--follow", "--output=cat", pod.uuid), stdout=subprocess.PIPE) as follower:
            try:
                assert follower.stdout is not None
                assert until(follower.stdout, b"\n") == b"one\n"
                time.sleep(1.1)
                since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                stored("enter", pod.uuid, "/bin/touch", "/go")
                assert follower.communicate(timeout=LIMIT_S)[0] == b"two\nthree\n"
                assert follower.returncode == 0
            finally:
                follower.kill()
        assert pod.process.wait(LIMIT_S) == 3
    assert stored("logs", "--output=cat", pod.uuid).stdout == "one\ntwo\nthree\n"
    assert stored("logs", "--output=cat", f"--since={since}", pod.uuid).stdout == "two\nthree\n"
    assert stored("logs", "--output=cat", "--lines=1", pod.uuid).stdout == "three\n"
    assert [line.partition(": ")[2] for line in stored("logs", pod.uuid[:8]).stdout.splitlines()] == ["one", "two", "three"]
    stored("gc", "--grace-period=1h")
    assert stored("logs", "--output=cat", pod.uuid).stdout == "one\ntwo\nthree\n"


def test_handlers_are_in_the_log_of_their_app(stored: Rktpy, tmp_path: Path) -> None:
    handlers = [
        {"name": name, "exec": ["/bin/sh", "-c", f"echo {name}; echo {name}-err >&2"]} for name in ("pre-start", "post-stop")
    ]
    apps = (app("echo main; logger by syslog", "one", eventHandlers=handlers), app("echo other", "two"))
    stored(UNSIGNED, "run", pod_of(tmp_path, *apps))
    (uuid,) = states(stored)
    lines = stored("logs", "--output=cat", "--app=one", uuid).stdout.splitlines()
    assert [line for line in lines if "syslog" not in line] == [
        "pre-start",
        "pre-start-err",
        "main",
        "post-stop",
        "post-stop-err",
    ]
    assert any("by syslog" in line for line in lines)
    assert stored("logs", "--output=cat", "--app=two", uuid).stdout == "other\n"


@pytest.mark.parametrize("streams", [(), ("stdin", "stdout")])
def test_log_files_of_kubernetes(stored: Rktpy, tmp_path: Path, streams: tuple[str, ...]) -> None:
    """Every line with its time and stream, in the file that is named; the pod's own log has them as well."""
    logs = tmp_path / "logs"
    logs.mkdir()
    marks = [{"name": f"{EXPERIMENT}kubernetes-log-path", "value": "app_0.log"}]
    marks += [{"name": f"coreos.com/rkt/stage2/{name}", "value": "stream"} for name in streams]
    pod = [
        {"name": f"{EXPERIMENT}logmode", "value": "k8s-plain"},
        {"name": f"{EXPERIMENT}kubernetes-log-dir", "value": str(logs)},
    ]
    script = "echo out; echo err >&2; printf 'no end'; exit 2"
    done = stored(UNSIGNED, "run", pod_of(tmp_path, app(script, annotations=marks), annotations=pod), status=2)
    lines = [line.split(" ", 1) for line in (logs / "app_0.log").read_text().splitlines()]
    assert sorted(text.split(" ", 2)[::2] for _when, text in lines) == [
        ["stderr", "err"],
        ["stdout", "no end"],
        ["stdout", "out"],
    ]
    for when, _text in lines:
        assert abs(datetime.fromisoformat(when.replace("Z", "+00:00")[:26] + "+00:00").timestamp() - time.time()) < 60
    (uuid,) = states(stored)
    assert sorted(stored("logs", "--output=cat", uuid).stdout.split("\n"))[1:] == ["err", "no end", "out"]
    assert done.stderr == ""


@pytest.mark.parametrize("path", ["../outside.log", "/etc/passwd", "a/../../x", ""])
def test_log_files_stay_in_their_directory(stored: Rktpy, tmp_path: Path, path: str) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    marks = [{"name": f"{EXPERIMENT}kubernetes-log-path", "value": path}]
    pod = [
        {"name": f"{EXPERIMENT}logmode", "value": "k8s-plain"},
        {"name": f"{EXPERIMENT}kubernetes-log-dir", "value": str(logs)},
    ]
    done = stored(UNSIGNED, "run", pod_of(tmp_path, app("echo x", annotations=marks), annotations=pod), status=None)
    assert done.returncode == (254 if path else 0), done.stderr
    assert sorted(file.name for file in tmp_path.glob("*.log")) == [] and list(logs.rglob("*.log")) == []


def test_output_that_goes_nowhere(stored: Rktpy) -> None:
    done = stored(UNSIGNED, "run", BUSYBOX, "--stdout=null", "--exec=/bin/sh", "--", "-c", "echo lost; echo kept >&2")
    assert done.stdout == "kept\n"
