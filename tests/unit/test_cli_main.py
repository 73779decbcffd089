"""Exit statuses and error texts, in the process of the tests where that is possible."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rktpy import __version__, log
from rktpy.__main__ import main
from rktpy.cli import list as list_command
from rktpy.cli import stop as stop_command
from rktpy.cli import version as version_command
from rktpy.cli.output import OutputClosed
from rktpy.cli.parse import Arguments
from rktpy.errors import NotFoundError, RktpyError, Stage1Error
from tests.conftest import ROOT

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def quiet() -> object:
    yield
    log.set_debug(False)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(_arguments: Arguments) -> int:
        raise error

    monkeypatch.setattr(version_command, "run", run)


def test_version(capfd: Captured) -> None:
    assert main(["version"]) == 0
    lines = capfd.readouterr().out.split("\n")
    assert lines[0] == f"rktpy Version: {__version__}"
    assert lines[1] == "appc Version: 0.8.11"
    assert lines[2] == f"Python Version: {sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    assert lines[3].startswith("Python OS/Arch: linux/")
    features = lines[4].removeprefix("Features: ").split()
    assert [feature[1:] for feature in features] == ["API", "CEXT", "ISAL", "SDJOURNAL", "ZSTD"]
    assert {feature[0] for feature in features} <= {"+", "-"}
    assert lines[5:] == [""]


def test_features_are_what_can_be_imported(capfd: Captured) -> None:
    assert main(["version"]) == 0
    features = capfd.readouterr().out.split("Features: ")[1].split()
    for feature, module in (
        ("API", "grpc"),
        ("CEXT", "rktpy.linux._sys"),
        ("ISAL", "isal"),
        ("SDJOURNAL", "systemd"),
        ("ZSTD", "pyzstd"),
    ):
        try:
            __import__(module)
            sign = "+"
        except ImportError:
            sign = "-"
        assert sign + feature in features


def test_missing_command(capfd: Captured) -> None:
    assert main([]) == 2
    captured = capfd.readouterr()
    assert captured.err == "rktpy: missing command\n"
    assert captured.out.startswith("NAME:\n\trktpy - ")


def test_unknown_command(capfd: Captured) -> None:
    assert main(["nope"]) == 254
    captured = capfd.readouterr()
    assert captured.err == 'Error: unknown command "nope" for "rktpy"\nRun \'rktpy --help\' for usage.\n'
    assert captured.out == ""


def test_unknown_flag(capfd: Captured) -> None:
    assert main(["list", "--nope"]) == 254
    captured = capfd.readouterr()
    assert captured.err == "Error: unknown flag: --nope\n"
    assert captured.out.startswith("NAME:\n\tlist - ")


def test_wrong_arguments_show_the_synopsis(capfd: Captured) -> None:
    assert main(["status"]) == 254
    captured = capfd.readouterr()
    assert captured.err == "status: wants one pod's UUID, or --uuid-file\n"
    assert "USAGE:\n\trktpy status" in captured.out


@pytest.mark.parametrize("argv", [["--help"], ["help"], ["image"], ["stop", "-h"]])
def test_help(argv: list[str], capfd: Captured) -> None:
    assert main(argv) == 0
    captured = capfd.readouterr()
    assert captured.out.startswith("NAME:\n")
    assert captured.err == ""


def test_errors_in_images_carry_the_commands_name(capfd: Captured) -> None:
    assert main(["run", "a", "--nope"]) == 254
    assert capfd.readouterr().err == "run: error parsing app image arguments: unknown flag: --nope\n"
    assert main(["--debug", "fetch", "--", "a"]) == 254
    assert capfd.readouterr().err == "fetch: unable to parse arguments\n  └─app arguments unsupported\n"


def chained() -> RktpyError:
    middle = RktpyError("the middle")
    middle.__cause__ = NotFoundError("the cause")
    outer = RktpyError("what failed")
    outer.__cause__ = middle
    return outer


def test_errors_show_the_innermost_cause(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    failing(monkeypatch, chained())
    assert main(["version"]) == 254
    assert capfd.readouterr().err == "version: what failed: the cause\n"


def test_debug_shows_the_chain(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    failing(monkeypatch, chained())
    assert main(["version", "--debug"]) == 254
    assert capfd.readouterr().err == "version: what failed\n  └─the middle\n    └─the cause\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Stage1Error("it broke", 7), 7, "version: it broke\n"),
        (FileNotFoundError(2, "No such file or directory", "/x"), 254, "version: /x: no such file or directory\n"),
        (ValueError("two\nlines"), 254, "version: internal error: ValueError: two\n"),
        (KeyboardInterrupt(), 130, ""),
        (OutputClosed(), 141, ""),
    ],
)
def test_statuses(error: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    failing(monkeypatch, error)
    assert main(["version"]) == status
    assert capfd.readouterr().err == text


def test_a_bug_shows_its_trace_with_debug_only(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    failing(monkeypatch, ValueError("a bug"))
    assert main(["--debug", "version"]) == 254
    text = capfd.readouterr().err
    assert text.startswith("version: internal error: ValueError: a bug\nTraceback (most recent call last):\n")


def test_unprivileged(monkeypatch: pytest.MonkeyPatch, capfd: Captured, tmp_path: Path) -> None:
    import posix

    monkeypatch.setattr(posix, "geteuid", lambda: 1000)
    for command in ("run", "prepare", "run-prepared", "enter", "rm", "gc"):
        assert main([command, "x"]) == 254
        assert capfd.readouterr().err == f"{command}: cannot run as unprivileged user\n"
    for command in ("list", "stop"):
        main([f"--dir={tmp_path}", command, *(["x"] if command == "stop" else [])])
        assert "unprivileged" not in capfd.readouterr().err
    assert list_command and stop_command


def test_profiles(tmp_path: Path, capfd: Captured) -> None:
    import pstats

    assert main(["version", f"--cpuprofile={tmp_path}/cpu", f"--memprofile={tmp_path}/memory"]) == 0
    assert capfd.readouterr().out.startswith("rktpy Version")
    assert pstats.Stats(f"{tmp_path}/cpu").total_calls > 0  # type: ignore[attr-defined]
    assert (tmp_path / "memory").stat().st_size > 0


def process(*argv: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    program = "import sys; from rktpy.__main__ import console; console()"
    return subprocess.run([sys.executable, "-c", program, *argv], cwd=ROOT, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_a_closed_output_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = process("version", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_full_output_is_an_error() -> None:
    with open("/dev/full", "wb") as full:
        done = process("version", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (254, b"version: cannot write to standard output: no space left on device\n")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_names_that_are_not_utf8_come_out_as_they_went_in(locale: str) -> None:
    done = process(b"\xff\xfe\xc3\xa9", capture_output=True, env={"LC_ALL": locale})  # type: ignore[arg-type]
    assert done.returncode == 254
    assert done.stderr.startswith(b'Error: unknown command "')
    assert b"Traceback" not in done.stderr
