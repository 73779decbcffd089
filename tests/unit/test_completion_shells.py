"""Completion in zsh and fish: what the shells themselves offer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rktpy.cli import fish, zsh
from rktpy.cli.command import Command
from rktpy.cli.commands import COMMANDS
from rktpy.cli.help import shown
from tests.conftest import need_tool

LISTED = [command for command in COMMANDS if command.listed and command.module]
#: Words of a command line, the last one to be completed; some of what is offered.
CASES = [
    (["rktpy", "im"], {"image"}),
    (["rktpy", "image", ""], {"list", "gc", "cat-manifest"}),
    (["rktpy", "--dir", "/x", "image", ""], {"list"}),
    (["rktpy", "generate", "unit", "--rest"], {"--restart"}),
    (["rktpy", "completion", ""], {"bash", "zsh", "fish"}),
    (["rktpy", "fetch", "--pull-policy", ""], {"new", "update", "never"}),
    (["rktpy", "help", "sta"], {"status"}),
]
PROBE = """
fpath=()
compdef() { : }
compadd() {
    local -a plain
    while (( $# )); do
        case $1 in
        (-l) shift ;;
        (-d) shift 2 ;;
        (-a) print -l -- ${(P)2}; return ;;
        (*) plain+=("$1"); shift ;;
        esac
    done
    print -l -- $plain
}
compset() { : }
_files() { print FILES }
source "$1"
shift
words=("$@")
CURRENT=$#
_rktpy
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shells")
    (directory / "_rktpy").write_text(zsh.completion() + "\n")
    (directory / "rktpy.fish").write_text(fish.completion() + "\n")
    (directory / "probe").write_text(PROBE)
    program = directory / "rktpy"  # which lists no pods
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return directory


def in_zsh(scripts: Path, words: list[str]) -> set[str]:
    """What is handed to zsh, which picks those that begin with what is typed."""
    argv = [need_tool("zsh"), "-f", str(scripts / "probe"), str(scripts / "_rktpy"), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    return {line for line in done.stdout.splitlines() if line.startswith(words[-1])}


def in_fish(scripts: Path, words: list[str]) -> set[str]:
    line = " ".join(words)
    argv = [need_tool("fish"), "--no-config", "-c", f"source {scripts}/rktpy.fish; complete -C {fish.quoted(line)}"]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"HOME": str(scripts), "PATH": f"{scripts}:/usr/bin:/bin"},
    )
    assert done.stderr == ""
    return {line.partition("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("words", "offered"), CASES, ids=[" ".join(words) for words, _offered in CASES])
def test_what_is_offered(scripts: Path, words: list[str], offered: set[str]) -> None:
    assert offered <= in_zsh(scripts, words)
    assert offered <= in_fish(scripts, words)


def test_other_values_are_not_completed_as_commands(scripts: Path) -> None:
    assert in_zsh(scripts, ["rktpy", "enter", "--app", ""]) == set()
    assert in_fish(scripts, ["rktpy", "enter", "--app", ""]) == set()


def test_every_flag_is_known(scripts: Path) -> None:
    for command in LISTED:
        wanted = {f"--{flag[0]}" for flag in shown(command.flags)}
        assert wanted <= in_zsh(scripts, ["rktpy", *command.path, "--"]), command.full_name


@pytest.mark.parametrize("command", LISTED[:6], ids=lambda command: command.full_name)
def test_every_flag_is_known_to_fish(scripts: Path, command: Command) -> None:
    assert {f"--{flag[0]}" for flag in shown(command.flags)} <= in_fish(scripts, ["rktpy", *command.path, "--"])
