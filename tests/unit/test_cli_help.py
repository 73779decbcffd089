"""Help, manual pages and completion are made from the tables that the parser reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rktpy.cli import bash, flags
from rktpy.cli.command import Command
from rktpy.cli.commands import COMMANDS, ROOT
from rktpy.cli.help import flag_text, help_text, shown, topic_text, unknown_command_text, use_line
from rktpy.cli.parse import parse
from rktpy.cli.usage import HelpRequested, UnknownCommand
from rktpy.errors import UsageError
from tests.conftest import ROOT as CHECKOUT
from tests.conftest import need_tool

LISTED = [command for command in COMMANDS if command.listed]


def names(commands: list[Command]) -> list[str]:
    return [" ".join(command.path) for command in commands]


@pytest.mark.parametrize("command", [ROOT, *LISTED], ids=lambda command: command.full_name)
def test_help_is_complete(command: Command) -> None:
    text = help_text(command)
    sections = [line[:-1] for line in text.split("\n") if line.endswith(":") and line[:1] not in ("\t", " ")]
    wanted = ["NAME", "USAGE", "VERSION", "COMMANDS", "DESCRIPTION", "OPTIONS", "GLOBAL OPTIONS"]
    assert sections == [title for title in wanted if title in sections]
    assert {"NAME", "USAGE", "DESCRIPTION", "OPTIONS"} <= set(sections)
    assert use_line(command) in text
    for flag in (*flags.GLOBAL, *command.flags):
        hidden = flag[0] in flags.HIDDEN or flag[0] in flags.DEPRECATED
        assert (f" --{flag[0]}=" in text or f" --{flag[0]}[=" in text) != hidden
    with pytest.raises(HelpRequested) as caught:
        parse([*command.path, "--help"])
    assert caught.value.command is command
    assert topic_text(list(command.path)) == text


def test_layout() -> None:
    text = help_text(next(command for command in LISTED if command.path == ("stop",)))
    assert text.startswith(
        "NAME:\n\tstop - Stop running pods\n\nUSAGE:\n\trktpy stop --uuid-file=FILE | UUID ...\n\nDESCRIPTION:\n"
    )
    assert "\nOPTIONS:\n      --force[=false]\tkill the apps\n  -h, --help[=false]\thelp for this command\n" in text
    assert '\n      --uuid-file=""\tfile that' in text


def test_flags_show_their_defaults() -> None:
    found = {flag[0]: flag_text(flag) for command in COMMANDS for flag in command.flags}
    assert found["net"] == "--net[=default]"
    assert found["wait"] == '--wait[="false"]'
    assert found["grace-period"] == "--grace-period=24h0m0s"
    assert found["pretty-print"] == "--pretty-print[=true]"
    assert found["uuid-file"] == '--uuid-file=""'


def test_every_command_has_its_module() -> None:
    for command in COMMANDS:
        if command.module:
            assert (CHECKOUT / f"rktpy/cli/{command.module}.py").exists(), command.path


def test_unknown_topics() -> None:
    with pytest.raises(UsageError, match=r"^unknown help topic 'nope'$"):
        topic_text(["nope"])
    assert topic_text([]) == help_text(ROOT)
    assert topic_text(["i", "l"]) == help_text(next(command for command in LISTED if command.path == ("image", "list")))


@pytest.mark.parametrize(
    ("word", "near"),
    [("lst", ["list"]), ("st", ["status", "stop"]), ("LIST", ["list"]), ("machine", []), ("versoin", ["version"])],
)
def test_what_may_have_been_meant(word: str, near: list[str]) -> None:
    text = unknown_command_text(UnknownCommand(ROOT, word))
    lines = text.split("\n")
    assert lines[0] == f'Error: unknown command "{word}" for "rktpy"'
    assert lines[-1] == "Run 'rktpy --help' for usage."
    assert [line[1:] for line in lines if line.startswith("\t")] == near


def test_manual_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "docs/man/generate.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_manual_pages_are_those_of_the_commands() -> None:
    pages = {path.stem for path in (CHECKOUT / "docs/man/man1").glob("*.1")}
    assert pages == {"-".join(("rktpy", *command.path)) for command in (ROOT, *LISTED)}
    texts = {path.stem for path in (CHECKOUT / "docs/man/src").glob("*.txt")}
    assert texts <= pages
    others = {f"{path.stem}({path.suffix[1:]})" for path in (CHECKOUT / "docs/man").glob("man[578]/*")}
    for path in (CHECKOUT / "docs/man/src").glob("*.txt"):
        _text, _title, also = path.read_text().partition("# SEE ALSO\n")
        assert set(also.split()) <= pages | others, path


def test_manual_pages_are_sound_roff() -> None:
    groff = need_tool("groff")
    for path in sorted((CHECKOUT / "docs/man/man1").glob("*.1")):
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", "-z", str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), path


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("completion")
    (directory / "rktpy.bash").write_text(bash.completion() + "\n")
    program = directory / "rktpy"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = image ]; then echo sha512-abc; echo sha256-def; exit; fi\n'
        "printf '5bc080ca\\ta\\tx\\trunning\\n\\tb\\ty\\t\\n3089337c\\ta\\tx\\texited\\n'\n"
    )
    program.chmod(0o755)
    return directory


def complete(script: Path, *words: str) -> list[str]:
    """What bash offers after ``rktpy WORDS``; the last word is the one being completed."""
    program = (
        f"source {script}/rktpy.bash\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _rktpy\n'
        'for reply in "${COMPREPLY[@]}"; do printf "%s\\n" "$reply"; done\n'
    )
    argv = [need_tool("bash"), "--norc", "-c", program, "bash", "rktpy", *words]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, cwd=script, env={"PATH": f"{script}:/usr/bin:/bin"}
    )
    assert done.stderr == ""
    return sorted(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sta"], ["status"]),
        (["r"], ["rm", "run", "run-prepared"]),
        (["--debug", "li"], ["list"]),
        (["--dir", "/x", "li"], ["list"]),
        (["--dir", "=", "/x", "li"], ["list"]),
        (["image", "ca"], ["cat-manifest"]),
        (["image", "r"], ["render", "rm"]),
        (["help", "stat"], ["status"]),
        (["list", "--f"], ["--format", "--full"]),
        (["image", "list", "--or"], ["--order"]),
        (["image", "list", "--order", "=", ""], ["asc", "desc"]),
        (["image", "list", "--order", "="], ["asc", "desc"]),
        (["image", "list", "--order", "d"], ["desc"]),
        (["run", "--pull-policy", "n"], ["never", "new"]),
        (["run", "--hostname", ""], []),
        (["status", ""], ["3089337c", "5bc080ca"]),
        (["enter", ""], ["5bc080ca"]),
        (["enter", "3"], []),
        (["export", ""], ["3089337c"]),
        (["image", "rm", "sha5"], ["sha512-abc"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["run", "./rktpy.b"], ["./rktpy.bash"]),
        (["trust", "rktpy.b"], ["rktpy.bash"]),
    ],
)
def test_completion(script: Path, words: list[str], offered: list[str]) -> None:
    assert complete(script, *words) == offered


@pytest.mark.parametrize("command", LISTED, ids=lambda command: command.full_name)
def test_completion_knows_all_flags(script: Path, command: Command) -> None:
    wanted = {f"--{flag[0]}" for flag in shown((*flags.GLOBAL, *command.flags, flags.HELP))}
    assert set(complete(script, *command.path, "--")) == wanted


def test_completion_is_a_sound_script(script: Path) -> None:
    done = subprocess.run(
        [need_tool("shellcheck"), "-s", "bash", "-e", "SC2207", str(script / "rktpy.bash")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
