"""What ``--help`` and ``help`` print, in rkt's layout."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.commands import COMMANDS, ROOT
from rktpy.cli.tabular import align

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rktpy.cli.command import Command
    from rktpy.cli.flags import Flag
    from rktpy.cli.usage import UnknownCommand

# Kinds whose default is shown in quotes.
_QUOTED = frozenset(("string", "progress", "pull-policy"))


def use_line(command: Command) -> str:
    """The synopsis with the names of the parents."""
    return " ".join(("rktpy", *command.path[:-1], command.use))


def sub_commands(command: Command) -> list[Command]:
    """The listed commands below ``command`` that do something themselves, in the order of the table."""
    depth = len(command.path)
    return [
        other
        for other in COMMANDS
        if other.listed and other.module and len(other.path) > depth and other.path[:depth] == command.path
    ]


def shown(table: Iterable[Flag]) -> list[Flag]:
    """The flags that help shows, by name."""
    return sorted(flag for flag in table if flag[0] not in flags.DEPRECATED and flag[0] not in flags.HIDDEN)


def flag_text(flag: Flag) -> str:
    """A flag as help shows it: ``--net[=default]``, ``--pull-policy="new"``."""
    name, kind, default, _usage = flag
    value = f'="{default}"' if kind in _QUOTED else f"={default}"
    if kind == "bool" or name in flags.OPTIONAL_VALUES:
        value = f"[{value}]"
    return f"--{name}{value}"


def help_text(command: Command) -> str:
    """The whole help of a command."""
    parts = [f"NAME:\n\t{' '.join(command.path) or 'rktpy'} - {command.short}\n\nUSAGE:\n\t{use_line(command)}\n"]
    if command is ROOT:
        from rktpy import __version__

        parts.append(f"\nVERSION:\n\t{__version__}\n")
    below = sub_commands(command)
    if below:
        parts.append("\nCOMMANDS:\n")
        parts.extend(f"\t{' '.join(other.path[len(command.path) :])}\t{other.short}\n" for other in below)
    parts.append("\nDESCRIPTION:\n")
    parts.extend(f"\t{line}\n" for line in command.long.split("\n"))
    parts.append("\nOPTIONS:\n")
    if command is ROOT:
        parts.extend(_flag_lines([*flags.GLOBAL, flags.HELP]))
    else:
        parts.extend(_flag_lines([*command.flags, flags.HELP]))
        parts.append("\nGLOBAL OPTIONS:\n")
        parts.extend(_flag_lines(flags.GLOBAL))
    return align("".join(parts))


def _flag_lines(table: Iterable[Flag]) -> list[str]:
    return [f"  {'-h,' if flag[0] == 'help' else '   '} {flag_text(flag)}\t{flag[3]}\n" for flag in shown(table)]


def unknown_command_text(error: UnknownCommand) -> str:
    """The lines for a command that does not exist, with the ones that may have been meant."""
    group, word = error.command, error.word
    depth = len(group.path)
    names = [
        other.path[depth]
        for other in COMMANDS
        if other.listed and len(other.path) == depth + 1 and other.path[:depth] == group.path
    ]
    near = [
        name
        for name in names
        if name not in ("help", word) and (_edits(word.lower(), name) <= min(2, len(word) // 2) or name.startswith(word.lower()))
    ]
    text = f"Error: {error}"
    if near:
        text += "\n\nDid you mean this?\n" + "".join(f"\t{name}\n" for name in near)
    return f"{text}\nRun '{group.full_name} --help' for usage."


def _edits(one: str, other: str) -> int:
    """The Levenshtein distance, without exchanges counted as one."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            previous, row[j] = row[j], previous if a == b else 1 + min(previous, row[j], row[j - 1])
    return row[-1]


def topic_text(words: list[str]) -> str:
    """The text for ``help WORD...``. Raises :class:`UsageError` when there is no such command."""
    from rktpy.cli.parse import find_command
    from rktpy.cli.usage import UnknownCommand
    from rktpy.errors import UsageError

    try:
        command, rest = find_command(words)
    except UnknownCommand:
        command, rest = ROOT, words
    if rest:
        raise UsageError(f"unknown help topic {' '.join(words)!r}")
    return help_text(command)
