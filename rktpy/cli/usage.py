"""Errors of the command line itself, which ``__main__`` answers with more than one line. Hot-path module."""

from __future__ import annotations

from rktpy.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.command import Command


class UnknownCommand(UsageError):
    """There is no such command. ``command`` is the one whose help shows what there is."""

    def __init__(self, command: Command, word: str) -> None:
        self.command = command
        self.word = word
        super().__init__(f'unknown command "{word}" for "{command.full_name}"')


class MissingCommand(UsageError):
    """No command was given: exit status 2, as rkt."""

    status = 2

    def __init__(self) -> None:
        super().__init__("missing command")


class FlagError(UsageError):
    """A flag of ``command`` is unknown, lacks its value or has a bad one."""

    def __init__(self, command: Command, problem: str) -> None:
        self.command = command
        super().__init__(problem)


class ArgumentsError(UsageError):
    """The arguments do not fit the command's synopsis, which is shown. ``problem`` says what is wanted."""


class HelpRequested(Exception):
    """``--help`` was given."""

    def __init__(self, command: Command) -> None:
        self.command = command
        super().__init__(command.full_name)
