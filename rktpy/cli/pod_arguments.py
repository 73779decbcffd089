"""The pods that a command line names: by UUID, by a prefix of one, or by a file that holds one. Hot-path module."""

from __future__ import annotations

from rktpy.cli.usage import ArgumentsError
from rktpy.errors import RktpyError
from rktpy.log import note
from rktpy.stage0.pods import read_uuid_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments

_VERBS = {"rm": "remove", "start": "start", "stop": "stop"}


def no_arguments(arguments: Arguments) -> None:
    """Pass over arguments, for commands that take none: rkt does so, and scripts say ``gc --mark-only true``."""
    for argument in arguments.args:
        note(arguments.command.name, f'ignoring argument "{argument}"')


def pod_and_app(arguments: Arguments) -> tuple[str, str]:
    """The pod's UUID or a prefix of it, and the app that ``--app`` names, which may not be left out."""
    if len(arguments.args) != 1:
        raise ArgumentsError("must provide the pod UUID")
    app = arguments.text("app")
    if not app:
        raise ArgumentsError(f"must provide the app to {_VERBS[arguments.command.name]}")
    return arguments.args[0], app


def uuid_from_file(path: str) -> str:
    """The UUID in the file of ``--uuid-file``."""
    try:
        return read_uuid_file(path)
    except OSError as error:
        raise RktpyError("unable to resolve UUID from file") from error


def one(arguments: Arguments, *, file_status: int = 254) -> str:
    """The only pod: the argument, or the file's content. ``file_status`` is the exit status when the file cannot be read."""
    path = arguments.text("uuid-file")
    if len(arguments.args) == 1 and not path:
        return arguments.args[0]
    if arguments.args or not path:
        raise ArgumentsError("wants one pod's UUID, or --uuid-file")
    return _from_file(path, file_status)


def several(arguments: Arguments, *, file_status: int = 254) -> list[str]:
    """At least one pod: the arguments, or the file's content. ``file_status`` is as for :func:`one`."""
    path = arguments.text("uuid-file")
    if arguments.args and not path:
        return arguments.args
    if arguments.args or not path:
        raise ArgumentsError("wants the UUIDs of pods, or --uuid-file")
    return [_from_file(path, file_status)]


def _from_file(path: str, status: int) -> str:
    try:
        return uuid_from_file(path)
    except RktpyError as error:
        error.status = status
        raise
