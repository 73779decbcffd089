"""``rktpy logs`` on real journals."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Rktpy
from tests.support.journals import BOOT, START_US, LoggingPod

UTC = {**os.environ, "TZ": "UTC"}


def logs(rktpy: Rktpy, *args: str, status: int = 0) -> str:
    done = rktpy("logs", *args, LoggingPod.UUID[:8], env=UTC, status=status)
    return done.stdout or done.stderr


@pytest.fixture
def pod(rktpy: Rktpy) -> LoggingPod:
    """An exited pod of two apps with a few lines."""
    made = LoggingPod(rktpy.data, ("web", "db"))
    with made.writer() as journal:
        journal.write("init.scope", "Started web", _TRANSPORT="journal", UNIT="web.service")
        journal.write("web.service", "one")
        journal.write("db.service", "two")
        journal.write("iomux@web.service", "three", _PID="9")
        journal.write("web.service", "by syslog", _TRANSPORT="syslog")
        journal.write("systemd-journald.service", "not an app's", _TRANSPORT="driver")
        journal.write("web.service", "four")
    return made


def test_all_apps(rktpy: Rktpy, pod: LoggingPod) -> None:
    assert logs(rktpy).splitlines() == [
        "2023-11-14T22:13:21.000000+00:00 web[7]: one",
        "2023-11-14T22:13:22.000000+00:00 db[7]: two",
        "2023-11-14T22:13:23.000000+00:00 web[9]: three",
        "2023-11-14T22:13:24.000000+00:00 web[7]: by syslog",
        "2023-11-14T22:13:26.000000+00:00 web[7]: four",
    ]
    # As long as the pod is there, wherever it is.
    garbage = rktpy.data / "pods/exited-garbage"
    garbage.mkdir()
    os.rename(pod.path, garbage / pod.UUID)
    assert len(logs(rktpy).splitlines()) == 5


def test_one_app(rktpy: Rktpy, pod: LoggingPod) -> None:
    assert logs(rktpy, "--app=web", "--output=cat") == "one\nthree\nby syslog\nfour\n"
    assert logs(rktpy, "--app=db", "--output=cat") == "two\n"
    assert 'app "no" is not in pod' in logs(rktpy, "--app=no", status=254)


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ("--lines=2", "by syslog four"),
        ("--lines=0", ""),
        ("--lines=100", "one two three by syslog four"),
        ("--lines=1 --app=db", "two"),
        ("--since=2023-11-14T22:13:23Z", "three by syslog four"),
        ("--since=1700000003.5", "by syslog four"),
        ("--since=2023-11-14T23:13:24+01:00 --lines=1", "four"),
        ("--until=@1700000002", "one two"),
        ("--until=@1700000002 --lines=1", "two"),
        ("--since=1700000002 --until=1700000003", "two three"),
        ("--since=1h", ""),
        ("--until=1h --lines=1", "four"),
        ("--since=1700000005 --lines=3", "four"),
    ],
)
def test_which_lines(rktpy: Rktpy, pod: LoggingPod, flags: str, shown: str) -> None:
    assert logs(rktpy, "--output=cat", *flags.split()).replace("\n", " ").strip() == shown


@pytest.mark.parametrize("flag", ["--lines=x", "--lines=-2", "--since=yesterday-ish", "--output=xml", "--until=9999-99-99"])
def test_flags_that_mean_nothing(rktpy: Rktpy, pod: LoggingPod, flag: str) -> None:
    assert flag.partition("=")[0] in rktpy("logs", flag, pod.UUID, status=254).stderr


def test_hostile_output(rktpy: Rktpy) -> None:
    pod = LoggingPod(rktpy.data, ("a",))
    with pod.writer() as journal:
        journal.write("a.service", b"\x1b[2Jcleared\r")
        journal.write("a.service", b"no \xff UTF-8")
        journal.write("a.service", "two\nlines")
        journal.write("a.service", "very ", _LINE_BREAK="line-max")
        journal.write("a.service", "long")
    assert [line.partition(": ")[2] for line in logs(rktpy).splitlines()] == [
        "?[2Jcleared",
        r"no \xff UTF-8",
        "two",
        "lines",
        "very ",
        "long",
    ]
    done = subprocess.run(rktpy.argv("logs", "--output=cat", pod.UUID), capture_output=True, check=True)
    assert done.stdout == b"\x1b[2Jcleared\r\nno \xff UTF-8\ntwo\nlines\nvery long\n"
    documents = [json.loads(line) for line in logs(rktpy, "--output=json").splitlines()]
    assert documents[1]["MESSAGE"] == list(b"no \xff UTF-8")
    assert documents[2]["MESSAGE"] == "two\nlines"
    assert documents[0]["__REALTIME_TIMESTAMP"] == str(START_US)
    assert documents[0]["_SYSTEMD_UNIT"] == "a.service" and documents[0]["_BOOT_ID"] == BOOT


def test_a_planted_link_is_not_followed(rktpy: Rktpy, pod: LoggingPod) -> None:
    log = pod.path / "stage1/rootfs/var/log"
    os.rename(log, rktpy.data / "elsewhere")
    log.symlink_to(rktpy.data / "elsewhere")
    assert "cannot read the pod's journal" in logs(rktpy, status=254)


def test_a_damaged_journal(rktpy: Rktpy, pod: LoggingPod) -> None:
    (file,) = pod.path.glob("stage1/rootfs/var/log/journal/*/system.journal")
    file.write_bytes(b"LPKSHHRH" + os.urandom(4096))
    done = rktpy("logs", pod.UUID, status=None)
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


def test_apps_that_came_and_went(rktpy: Rktpy) -> None:
    pod = LoggingPod(rktpy.data, ("here",), mutable=True)
    with pod.writer() as journal:
        for app in ("gone", "here"):
            journal.write(f"{app}.service", f"of {app}")
        journal.write("systemd-tmpfiles.service", "not an app")
    assert logs(rktpy, "--output=cat") == "of gone\nof here\n"
    assert logs(rktpy, "--output=cat", "--app=gone") == "of gone\n"


class Follower:
    """A ``logs --follow`` in the background."""

    def __init__(self, rktpy: Rktpy, *args: str) -> None:
        argv = rktpy.argv("logs", "--follow", "--output=cat", *args, LoggingPod.UUID)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 10)[0]
        return self.process.stdout.readline()


def test_following_to_the_end(rktpy: Rktpy) -> None:
    pod = LoggingPod(rktpy.data, ("a",))
    process = pod.run()
    assert process.stdin is not None
    with pod.writer() as journal:
        journal.write("a.service", "before")
        follower = Follower(rktpy)
        try:
            assert follower.line() == "before\n"
            for number in range(3):
                journal.write("a.service", f"line {number}")
                assert follower.line() == f"line {number}\n"
            time.sleep(1)
            with open(f"/proc/{follower.process.pid}/stat", encoding="utf-8") as file:
                ticks = sum(int(word) for word in file.read().rpartition(") ")[2].split()[11:13])
            assert ticks < 0.7 * os.sysconf("SC_CLK_TCK")
            journal.write("a.service", "the last")
            process.stdin.close()
            process.wait(10)
            assert follower.process.communicate(timeout=10) == ("the last\n", "")
            assert follower.process.returncode == 0
        finally:
            follower.process.kill()
            process.kill()
            process.wait()


def test_following_from_the_last_lines_before_there_is_a_journal(rktpy: Rktpy) -> None:
    pod = LoggingPod(rktpy.data, ("a",))
    process = pod.run()
    assert process.stdin is not None
    follower = Follower(rktpy, "--lines=0")
    try:
        time.sleep(0.3)
        with pod.writer() as journal:
            journal.write("a.service", "first")
            # Written before it looked for the end of the journal, or after: both is right.
            journal.write("a.service", "second")
        process.stdin.close()
        process.wait(10)
        out, err = follower.process.communicate(timeout=10)
        assert err == "" and out in ("first\nsecond\n", "second\n", "")
    finally:
        follower.process.kill()
        process.kill()
        process.wait()


def test_following_until_a_time(rktpy: Rktpy, pod: LoggingPod) -> None:
    process = pod.run()
    try:
        begun = time.monotonic()
        follower = Follower(rktpy, f"--until={time.time() + 1:.6f}", "--lines=1")
        assert follower.process.communicate(timeout=10) == ("four\n", "")
        assert 0.5 < time.monotonic() - begun < 5
    finally:
        process.kill()
        process.wait()


def test_a_closed_output_ends_it_in_silence(rktpy: Rktpy, pod: LoggingPod) -> None:
    process = pod.run()
    follower = Follower(rktpy)
    try:
        assert follower.line() == "one\n"
        assert follower.process.stdout is not None
        follower.process.stdout.close()
        with pod.writer() as journal:
            journal.write("web.service", "more")
        assert follower.process.wait(10) == 141
    finally:
        follower.process.kill()
        process.kill()
        process.wait()


def test_a_pod_that_was_not_started(rktpy: Rktpy, pod: LoggingPod) -> None:
    prepared = rktpy.data / "pods/prepared"
    prepared.mkdir()
    os.rename(pod.path, prepared / pod.UUID)
    assert "has not been started" in logs(rktpy, status=254)


def test_nothing_written_yet(rktpy: Rktpy) -> None:
    LoggingPod(rktpy.data, ("a",))
    assert logs(rktpy) == ""


def test_how_the_time_is_read(tmp_path: Path) -> None:
    from rktpy.cli.log_times import parse_time

    now = 1_700_000_000_000_000
    assert parse_time("1h30m", "since", now) == now - 5_400_000_000
    assert parse_time("-10s", "since", now) == now - 10_000_000
    assert parse_time("now", "since", now) == now
    assert parse_time("@12.25", "since", now) == 12_250_000
    assert parse_time("2023-11-14T22:13:20.5Z", "since", now) == now + 500_000
