"""The low-level runtime's command line, its pages and its bundle of modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rktpy.oci.command_line import COMMANDS, BadUsage, UnknownCommand, parse
from rktpy.oci.commands.events import parse_interval
from rktpy.oci.commands.kill import signal_number
from rktpy.oci.commands.update import parse_bytes
from rktpy.oci.failure import RuntimeFailure
from rktpy.oci.scope import group_path, scope_of
from tests.conftest import ROOT, SYSTEM_PYTHON, need_tool

PYTHON = SYSTEM_PYTHON if os.path.exists(SYSTEM_PYTHON) else sys.executable
PROGRAM = [PYTHON, "-IS", str(ROOT / "rktpy/oci/rktpy-oci")]


def test_as_conmon_calls() -> None:
    words = [
        "--log-format=json",
        "--log",
        "/l",
        "create",
        "--bundle",
        "/b",
        "--pid-file",
        "/p",
        "--console-socket",
        "/s",
        "--preserve-fds",
        "2",
        "id",
    ]
    found = parse(words)
    assert (found.command, found.args, found.number("preserve-fds")) == ("create", ["id"], 2)
    assert [found.text(name) for name in ("log", "log-format", "bundle", "pid-file", "console-socket")] == [
        "/l",
        "json",
        "/b",
        "/p",
        "/s",
    ]
    found = parse(["exec", "--pid-file", "/p", "--process", "/spec", "--detach", "--tty", "--console-socket", "/s", "id"])
    assert found.switch("detach") and found.switch("tty") and found.text("process") == "/spec"


def test_as_containerd_calls() -> None:
    found = parse(["--root", "/r", "--log", "/l", "--log-format", "json", "delete", "--force", "id"])
    assert (found.text("root"), found.switch("force"), found.args) == ("/r", True, ["id"])
    assert parse(["--root", "/r", "delete", "id", "--force"]).switch("force")
    assert parse(["kill", "--all", "id", "9"]).args == ["id", "9"]
    assert parse(["kill", "id", "-9"]).args == ["id", "9"]


def test_global_flags_before_and_after() -> None:
    assert parse(["state", "--root", "/r", "id"]).text("root") == "/r"
    assert parse(["-root=/r", "state", "id"]).text("root") == "/r"
    assert parse(["--debug=false", "state", "id"]).switch("debug") is False


def test_the_flags_of_another_program() -> None:
    found = parse(["exec", "-t", "-e", "A=1", "--env", "B=2", "id", "ls", "-t", "--root", "x"])
    assert found.args == ["id", "ls", "-t", "--root", "x"]
    assert found.repeated("env") == ["A=1", "B=2"]
    assert found.text("root") == ""
    assert parse(["ps", "id", "-ef"]).args == ["id", "-ef"]
    assert parse(["exec", "id", "--", "ls"]).args == ["id", "--", "ls"]


@pytest.mark.parametrize(
    "words",
    [
        ["state"],
        ["state", "a", "b"],
        ["state", "--what", "a"],
        ["create", "--bundle"],
        ["run", "--detach=maybe", "a"],
        ["create", "--preserve-fds", "x", "a"],
    ],
)
def test_what_cannot_be_read(words: list[str]) -> None:
    with pytest.raises(BadUsage):
        parse(words)


def test_unknown_commands() -> None:
    with pytest.raises(UnknownCommand) as raised:
        parse(["nonsense"])
    assert raised.value.status == 3


def test_signals() -> None:
    for text in ("TERM", "SIGTERM", "term", "15"):
        assert signal_number(text) == 15
    assert signal_number("RTMIN+3") == 37
    assert signal_number("SIGRTMAX-1") == 63
    for text in ("WHAT", "65", "-1", "RTMIN+99", "TERM+1", ""):
        with pytest.raises(RuntimeFailure):
            signal_number(text)


def test_sizes_and_times() -> None:
    assert [parse_bytes(text, "x") for text in ("5", "1k", "64m", "2GiB", "-1")] == [5, 1024, 64 << 20, 2 << 30, -1]
    assert [parse_interval(text) for text in ("5s", "1m30s", "500ms", "1.5h")] == [5, 90, 0.5, 5400]
    for text in ("", "x", "0s", "5", "-5s"):
        with pytest.raises(RuntimeFailure):
            parse_interval(text)


def test_scopes() -> None:
    assert scope_of("", "id") == ("system.slice", "rktpy-id.scope")
    assert scope_of("machine.slice:libpod:abc", "id") == ("machine.slice", "libpod-abc.scope")
    assert scope_of(":x:y", "id") == ("system.slice", "x-y.scope")
    for wrong in ("/path", "a:b", "a:b:", "a:b:c.slice"):
        with pytest.raises(RuntimeFailure):
            scope_of(wrong, "id")
    assert group_path("user-1000-x.slice", "u.scope") == "/user.slice/user-1000.slice/user-1000-x.slice/u.scope"
    assert group_path("-.slice", "u.scope") == "/u.scope"
    for wrong in ("a", "a/b.slice", "a--b.slice", "-a.slice"):
        with pytest.raises(RuntimeFailure):
            group_path(wrong, "u.scope")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *args], capture_output=True, text=True, timeout=60, check=False)


def test_version_begins_as_runcs() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("runc version ")


def test_every_command_has_help() -> None:
    assert all(name in run("help").stdout for name in COMMANDS)
    for name, entry in COMMANDS.items():
        text = run(name, "--help").stdout
        assert entry[0] in text
        assert all(f"--{flag[0]}" in text for flag in entry[2])


def test_rktpy_oci_is_the_same(launcher: Path) -> None:
    done = subprocess.run(
        [str(launcher), "oci", "--root", "/nowhere", "state", "x"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "container does not exist" in done.stderr) == (1, True)


def test_manual_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/man/generate_oci.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_manual_pages_are_sound_roff() -> None:
    groff = need_tool("groff")
    for path in sorted((ROOT / "docs/man/man8").glob("*.8")):
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z", str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), path


# What each command loads, exactly; a module more costs every call (see test_hot_imports.py).
_MAIN = "errors formats formats.jsondoc log oci oci.command_line oci.failure oci.main oci.messages oci.commands"
_STATE = f"{_MAIN} oci.container oci.identity linux linux._sys linux.syscalls"
_CONFIG = (
    "record formats.oci formats.oci.members formats.oci.runtime formats.oci.runtime.config formats.oci.runtime.document "
    "formats.oci.runtime.linux formats.oci.runtime.process"
)
LOADED = {
    "state": f"{_STATE} oci.commands.state",
    "run": f"{_STATE} {_CONFIG} linux.constants oci.commands.run oci.create oci.request oci.talk "
    "oci.cloning oci.loading oci.namespaces oci.setup oci.foreground",
    "exec": f"{_MAIN} oci.commands.exec oci.loading",
}
_STANDARD = (
    "__future__ _json _signal _socket _stat errno fcntl gc genericpath os os.path posixpath stat time "
    "_collections_abc select _struct struct"
)


@pytest.mark.parametrize("command", ["state", "run", "exec"])
def test_only_these_modules_are_loaded(command: str) -> None:
    code = (
        f"import sys; before = set(sys.modules); sys.path.append({str(ROOT)!r}); import rktpy.oci.main; "
        f"import rktpy.oci.commands.{command}"
        + ("; import rktpy.oci.foreground" if command == "run" else "")
        + "; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([PYTHON, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found = set(done.stdout.split())
    wanted = {f"rktpy.{name}" for name in LOADED[command].split()} | {"rktpy"}
    assert {name for name in found if name.startswith("rktpy")} == wanted
    assert {name for name in found if not name.startswith("rktpy")} <= set(_STANDARD.split())


def test_bundles(tmp_path: Path) -> None:
    """The same behaviour from a bundle; one that is out of date is passed over."""
    for name in ("rktpy", "formats"):
        subprocess.run(["cp", "-a", str(ROOT / name), str(tmp_path / name)], check=True)
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    here = tmp_path / "rktpy/oci"
    cache = here / "__pycache__"
    for path in cache.glob("*.bundle"):
        path.unlink()
    program = [PYTHON, "-IS", "-v", str(here / "rktpy-oci"), "state", "nothing"]

    def imported() -> bool:
        done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and "container does not exist" in done.stderr
        return "import 'rktpy.oci.container'" in done.stderr

    assert imported()
    subprocess.run([PYTHON, "-IS", "-X", "no_debug_ranges", str(here / "bundle.py"), str(cache)], check=True, timeout=120)
    assert len(list(cache.glob("*.bundle"))) >= 10
    assert not imported()
    (here / "container.py").write_text((here / "container.py").read_text() + "\n# changed\n")
    assert imported()
    for path in cache.glob("*.bundle"):
        path.write_bytes(b"nonsense")
    assert imported()
