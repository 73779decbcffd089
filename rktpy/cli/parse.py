"""The command line: which command, its flags and its arguments, as rkt 1.30 (cobra and pflag) reads them.

rkt's rules, which scripts rely on: flags of a command may stand before it and global flags after it; commands may be shortened
to unique prefixes; ``--flag=value`` and ``--flag value``, but truth values only by ``=``; a flag in ``flags.OPTIONAL_VALUES``
takes a value only by ``=``; commands that take images stop at the first one and go on reading flags after each.

Hot-path module.
"""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.commands import COMMANDS, ROOT
from rktpy.cli.durations import parse_bool, parse_duration
from rktpy.cli.usage import FlagError, HelpRequested, MissingCommand, UnknownCommand
from rktpy.errors import UsageError
from rktpy.log import note, set_debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.command import Command
    from rktpy.cli.flags import Flag
    from rktpy.cli.images import Images
    from rktpy.formats.pod import ExposedPort, Volume


class Arguments:
    """What a command line says: flags by name, and the arguments that are no flags.

    The methods give the flag's default, as the table has it, when it was not given.
    """

    __slots__ = ("args", "command", "given", "images", "lists", "numbers", "pairs", "ports", "table", "volumes", "words")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.args: list[str] = []
        self.given: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.lists: dict[str, list[str]] = {}
        self.pairs: dict[str, dict[str, str]] = {}
        self.ports: list[ExposedPort] = []
        self.volumes: list[Volume] = []
        self.images: Images | None = None
        self.words: list[str] = []  # as they were, without those of the command
        table: dict[str, Flag] = {flag[0]: flag for flag in flags.GLOBAL}
        for flag in command.flags:
            table[flag[0]] = flag
        table["help"] = flags.HELP
        if command.images == "args" and switched_off("attach"):
            for flag in flags.STREAMS:
                del table[flag[0]]
        self.table = table

    def has(self, name: str) -> bool:
        """Whether the flag was given."""
        return name in self.given

    def text(self, name: str) -> str:
        """The last value of a text flag."""
        value = self.given.get(name)
        return self.table[name][2] if value is None else value

    def switch(self, name: str) -> bool:
        """The value of a truth flag."""
        number = self.numbers.get(name)
        return self.table[name][2] == "true" if number is None else number != 0

    def number(self, name: str) -> int:
        """The value of a number flag."""
        number = self.numbers.get(name)
        return int(self.table[name][2]) if number is None else number

    def duration(self, name: str) -> int:
        """The value of a duration flag in nanoseconds."""
        number = self.numbers.get(name)
        return parse_duration(self.table[name][2]) if number is None else number

    def repeated(self, name: str) -> tuple[str, ...]:
        """All values of a flag that may be repeated, in order."""
        return tuple(self.lists.get(name, ()))

    def read(self, words: list[str], start: int, *, stop_at_argument: bool) -> int:
        """Read flags from ``words[start:]``; give the index behind what was used.

        Arguments are appended to ``args``. With ``stop_at_argument`` reading ends before the first argument, or before ``--``.
        Raises :class:`FlagError` and :class:`HelpRequested`.
        """
        index = start
        end = len(words)
        while index < end:
            word = words[index]
            if word[:1] != "-" or word == "-":
                if stop_at_argument:
                    return index
                self.args.append(word)
                index += 1
            elif stop_at_argument and word in ("--", "---"):
                return index
            elif word == "--":
                self.args.extend(words[index + 1 :])
                return end
            elif word[1] == "-":
                index = self._long(words, index, 2)
            elif self.command.single_dash and word != "-h":
                index = self._long(words, index, 1)
            else:
                self._short(word)
        return end

    def _long(self, words: list[str], index: int, dashes: int) -> int:
        word = words[index]
        name, equals, value = word[dashes:].partition("=")
        if not name or name[0] == "-":
            raise FlagError(self.command, f"bad flag syntax: {word}")
        flag = self.table.get(name)
        if flag is None:
            raise FlagError(self.command, f"unknown flag: {word[:dashes]}{name}")
        index += 1
        if not equals:
            if flag[1] == "bool":
                value = "true"
            elif name in flags.OPTIONAL_VALUES:
                value = flags.OPTIONAL_VALUES[name]
            elif index < len(words):
                value = words[index]
                index += 1
            else:
                raise FlagError(self.command, f"flag needs an argument: {word}")
        self._set(flag, value, word)
        return index

    def _short(self, word: str) -> None:
        letter = word[1]
        if letter != "h":
            raise FlagError(self.command, f"unknown shorthand flag: '{letter}' in {word}")
        if word[2:3] == "=":
            self._set(flags.HELP, word[3:], word[1:])
        elif len(word) > 2:
            raise FlagError(self.command, f"unknown shorthand flag: '{word[2]}' in {word}")
        else:
            raise HelpRequested(self.command)

    def _set(self, flag: Flag, value: str, word: str) -> None:
        name, kind = flag[0], flag[1]
        try:
            if kind == "bool":
                self.numbers[name] = parse_bool(value)
            elif kind == "duration":
                self.numbers[name] = parse_duration(value)
            elif kind != "string":
                from rktpy.cli.values import set_value

                value = set_value(self, name, kind, value)
        except UsageError as error:
            raise FlagError(self.command, f'invalid argument "{value}" for {word}: {error}') from None
        self.given[name] = value
        if name in flags.DEPRECATED:
            note("", f"Flag --{name} has been deprecated, {flags.DEPRECATED[name]}")
        if name == "debug":
            # At once, so that an error in the rest of the command line is shown whole.
            set_debug(self.numbers[name] != 0)
        elif name == "help" and self.numbers[name]:
            raise HelpRequested(self.command)


def switched_off(name: str) -> bool:
    """Whether the environment switches off what rkt calls the experiment ``name`` (docs/adr/0014).

    RKTPY_EXPERIMENT_NAME counts, and where it is not set RKT_EXPERIMENT_NAME; whatever is not a true value is a false one, as in
    rkt. Where neither is set it is on, as it never is in rkt.
    """
    from posix import environ

    for prefix in (b"RKTPY_EXPERIMENT_", b"RKT_EXPERIMENT_"):
        value = environ.get(prefix + name.upper().encode())
        if value:
            try:
                return not parse_bool(value.decode("utf-8", "replace"))
            except UsageError:
                return True
    return False


def parse(words: list[str]) -> Arguments:
    """Read a whole command line, without the program's name.

    Raises :class:`UnknownCommand`, :class:`MissingCommand`, :class:`FlagError`, :class:`HelpRequested` and, for arguments that
    are images, :class:`UsageError`.
    """
    command, rest = find_command(words)
    if command.path[:1] in (("app",), ("attach",)) and switched_off(command.path[0]):
        raise UnknownCommand(ROOT, command.path[0])
    arguments = Arguments(command)
    arguments.words = rest
    if command is ROOT:
        arguments.read(rest, 0, stop_at_argument=False)
        raise MissingCommand
    if not command.module:
        # A group of commands, such as ``image``: a word that names none of them would have been found otherwise.
        arguments.read(rest, 0, stop_at_argument=False)
        if arguments.args:
            raise UnknownCommand(command, arguments.args[0])
        raise HelpRequested(command)
    index = arguments.read(rest, 0, stop_at_argument=command.first)
    if command.images:
        from rktpy.cli.images import read_images

        if command.pod:
            arguments.args = rest[index : index + 1]
            index += len(arguments.args)
        read_images(arguments, rest, index)
    elif command.first:
        if rest[index : index + 1] == ["--"]:
            index += 1
        arguments.args = rest[index:]
    return arguments


def find_command(words: list[str]) -> tuple[Command, list[str]]:
    """Find the command and give it with the remaining words.

    Raises :class:`UnknownCommand` if the first word that is not a flag or a flag's value names no command.
    """
    command = ROOT
    rest = words
    index = 0
    while not command.module:
        index = _next_word(rest, index)
        if index == len(rest):
            break
        found = _match(command.path, rest[index])
        if found is None:
            if command is ROOT:
                raise UnknownCommand(command, rest[index])
            break
        rest = rest[:index] + rest[index + 1 :]
        command = found
    else:
        below = _below(command, rest[index : index + 1])
        if below is not None:
            return below, rest[:index] + rest[index + 1 :]
    return command, rest


def _below(command: Command, words: list[str]) -> Command | None:
    """The command below one that does something itself (``trust list``): only its whole name counts, and only as the next word.

    Everything else is an argument, as it was before there were commands below.
    """
    if words:
        path = (*command.path, words[0])
        for other in COMMANDS:
            if other.path == path:
                return other
    return None


def _match(group: tuple[str, ...], word: str) -> Command | None:
    depth = len(group)
    prefixed: list[Command] = []
    added: list[Command] = []
    for command in COMMANDS:
        path = command.path
        if len(path) == depth + 1 and path[:depth] == group:
            if path[depth] == word:
                return command
            if path[depth].startswith(word):
                (added if command.added else prefixed).append(command)
    if not prefixed:
        prefixed = added
    return prefixed[0] if len(prefixed) == 1 else None


def _next_word(words: list[str], index: int) -> int:
    """The index of the first word from ``index`` on that is neither empty nor a flag nor a flag's value."""
    takes_value: dict[str, bool] = {}
    end = len(words)
    while index < end:
        word = words[index]
        if word == "--":
            return end
        if word and word[0] != "-":
            return index
        index += 1
        if word[:2] == "--" and "=" not in word:
            if not takes_value:
                takes_value = _value_flags()
            # As rkt does, an unknown flag is taken to have a value, if a value it can be.
            known = takes_value.get(word[2:])
            if known is None:
                known = index < end and words[index][:1] != "-"
            if known:
                index += 1
    return min(index, end)


def _value_flags() -> dict[str, bool]:
    names: dict[str, bool] = {"help": False}
    for table in (flags.GLOBAL, *(command.flags for command in COMMANDS)):
        for flag in table:
            names[flag[0]] = flag[1] != "bool" and flag[0] not in flags.OPTIONAL_VALUES
    return names
