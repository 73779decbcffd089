"""What the test host is made of, without a machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.vm import __main__ as command_line
from tests.vm import matrix
from tests.vm.cache import HostError, digest, kept, only_one
from tests.vm.guest import agent
from tests.vm.image import image_key, packages
from tests.vm.profiles import HOST, PROFILES


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RKTPY_VM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_in_the_cache_is_not_made_again(cache: Path) -> None:
    made: list[str] = []

    def make(path: Path) -> None:
        made.append(path.name)
        (path / "file").write_text("x")

    for key in ("a", "a", "b", "a", "c", "d"):
        assert (kept("image", key, make) / "file").read_text() == "x"
        os.utime(cache / f"image-{key}", (len(made), len(made)))
    assert made == ["image-a.part", "image-b.part", "image-c.part", "image-d.part"]
    assert len(list(cache.glob("image-*"))) == 3, "older ones go"


def test_what_could_not_be_made_leaves_nothing(cache: Path) -> None:
    def fail(path: Path) -> None:
        (path / "half").write_text("")
        raise HostError("no network")

    with pytest.raises(HostError, match="no network"):
        kept("image", "a", fail)
    assert list(cache.iterdir()) == []


def test_one_at_a_time(cache: Path) -> None:
    with only_one():
        code = "from tests.vm.cache import only_one\nwith only_one(0.3): pass"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert "another test host is running" in done.stderr
    with only_one(0):
        pass


def test_digests() -> None:
    assert digest("a", "b") == digest("a", "b") != digest("ab") != digest("a", b"b")


def test_profiles_differ_in_what_is_installed() -> None:
    apparmor, selinux = (set(packages(PROFILES[name])) for name in ("apparmor", "selinux"))
    assert {"podman", "runc", "docker-registry", *HOST} <= apparmor & selinux
    assert "apparmor-utils" in apparmor - selinux and "selinux-policy-default" in selinux - apparmor
    assert image_key(PROFILES["apparmor"]) != image_key(PROFILES["selinux"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "vm: say run, exec or build"),
        (["walk"], "vm: say run, exec or build"),
        (["run", "--profile=smack"], "vm: 'smack'"),
        (["run", "--time=soon"], "vm: could not convert"),
        (["run", "--fast"], "vm: option --fast not recognized"),
    ],
)
def test_bad_command_lines(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(argv) == 125
    assert capsys.readouterr().err.startswith(said)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--help"]) == command_line.main(["run", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(told.count(f"--{name}") == 2 for name in command_line.OPTIONS if name != "help"), "every option, by both"


@pytest.mark.parametrize(
    ("argv", "out", "err", "status"),
    [
        (["sh", "-c", "echo $WORD; pwd; echo no >&2; exit 3"], b"given\n/usr\n", b"no\n", b"3"),
        (["sh", "-c", "kill -9 $$"], b"", b"", b"137"),
        (["/none"], b"", b"/none: [Errno 2] No such file or directory: '/none'\n", b"127"),
    ],
)
def test_the_agent_runs_a_command(argv: list[str], out: bytes, err: bytes, status: bytes) -> None:
    ours, theirs = socket.socketpair()
    request = {"argv": argv, "env": {"WORD": "given"}, "cwd": "/usr"}
    thread = threading.Thread(target=agent.run, args=(theirs.fileno(), request))
    thread.start()
    told = {b"O": b"", b"E": b""}
    while (frame := agent.receive(ours.fileno()))[0] != b"X":
        told[frame[0]] += frame[1]
    thread.join()
    assert (told[b"O"], told[b"E"], frame[1]) == (out, err, status)
    for one in (ours, theirs):
        one.close()


def test_the_table_of_what_ran_where(tmp_path: Path) -> None:
    case = '<testcase classname="tests.unit.test_{0}" name="test_{1}">{2}</testcase>'
    bodies = {
        "first": case.format("a", "one", "") + case.format("a", "two", "<failure/>") + case.format("b", "one", "<skipped/>"),
        "second": case.format("a", "two", ""),
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert matrix.table([("x", first), ("y", first), ("y", second)]).splitlines() == [
        "| | x | y |",
        "|---|---|---|",
        "| `tests/unit/test_a.py` | 1 of 2 | 2 |",
        "| `tests/unit/test_b.py` | 0 (1 skipped) | 0 (1 skipped) |",
        "| all | 1 of 2 (1 skipped) | 2 (1 skipped) |",
    ]
