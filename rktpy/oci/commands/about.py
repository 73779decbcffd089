"""``help`` and ``--version``."""

from __future__ import annotations

import os

from rktpy import __version__
from rktpy.oci.command_line import COMMANDS, GLOBAL, Arguments, UnknownCommand

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.oci.command_line import Flag

#: The version of runc whose command line this is: containerd wants to read one.
RUNC_VERSION = "1.2.0"
SPEC_VERSION = "1.2.1"


def run(arguments: Arguments) -> int:
    """Print help, or versions; 0. Raises UnknownCommand."""
    os.write(1, (version_text() if arguments.command == "version" else help_text(arguments.topic)).encode())
    return 0


def version_text() -> str:
    """Versions; the first line is for programs that look for runc's."""
    return f"runc version {RUNC_VERSION}+rktpy-oci-{__version__}\nspec: {SPEC_VERSION}\n"


def help_text(topic: str) -> str:
    """Help on a command, or on the program."""
    if not topic:
        lines = ["Usage: rktpy-oci [flags] COMMAND [flags] [ARGUMENT...]", "", "Commands:"]
        lines += [f"  {name:<12}{entry[1]}" for name, entry in COMMANDS.items()]
        return "\n".join([*lines, "", "Flags:", *flag_lines(GLOBAL), "  -v, --version", "        print the version", ""])
    if topic not in COMMANDS:
        raise UnknownCommand(topic)
    use, short, flags, _fewest, _most, _stop = COMMANDS[topic]
    lines = [f"Usage: rktpy-oci {use}", "", short]
    return "\n".join([*lines, *(["", "Flags:", *flag_lines(flags)] if flags else []), ""])


def flag_lines(flags: tuple[Flag, ...]) -> list[str]:
    """Flags with their help."""
    lines: list[str] = []
    for name, kind, default, text, short in flags:
        value = "" if kind == "bool" else " NUMBER" if kind == "number" else " VALUE"
        shown = f" (default {default})" if default not in ("", "false", "0") else ""
        lines += [f"  {f'-{short}, ' if short else ''}--{name}{value}", f"        {text}{shown}"]
    return lines
