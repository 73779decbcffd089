"""The program: picks the command, runs it, prints the error if there is one and gives the exit status (RKT.md 1.4).

254 for every error of ours, 2 for a missing command, 130 after an interrupt; ``run`` does not come back, its status is the pod's.
Hot-path module.
"""

from __future__ import annotations

import sys

from rktpy.cli.output import OutputClosed, out
from rktpy.cli.parse import Arguments, parse
from rktpy.cli.report import report
from rktpy.cli.usage import ArgumentsError, FlagError, HelpRequested, MissingCommand, UnknownCommand
from rktpy.errors import RktpyError
from rktpy.log import debugging, note

_FAILED = 254
_INTERRUPTED = 130
_OUTPUT_CLOSED = 141  # what a shell shows of a process that died of SIGPIPE


def main(argv: list[str]) -> int:
    """Do what the command line ``argv`` (without the program's name) says, and give the exit status."""
    prefix = "rktpy"
    try:
        try:
            arguments = parse(argv)
            command = arguments.command
            prefix = command.name
            return _run(arguments)
        except HelpRequested as request:
            from rktpy.cli.help import help_text

            out(help_text(request.command).rstrip("\n"))
            return 0
        except UnknownCommand as error:
            from rktpy.cli.help import unknown_command_text

            note("", unknown_command_text(error, error.command, error.word))
            return error.status
        except FlagError as error:
            from rktpy.cli.help import help_text

            note("", f"Error: {error}")
            out(help_text(error.command).rstrip("\n"))
            return error.status
        except MissingCommand as error:
            from rktpy.cli.commands import ROOT
            from rktpy.cli.help import help_text

            report(prefix, error)
            out(help_text(ROOT).rstrip("\n"))
            return error.status
        except ArgumentsError as error:
            from rktpy.cli.help import help_text

            report(prefix, error)
            out(help_text(arguments.command).rstrip("\n"))
            return error.status
    except RktpyError as error:
        report(_prefix(argv, prefix), error)
        return error.status
    except OSError as error:
        report(prefix, error)
        _trace(error)
        return _FAILED
    except OutputClosed:
        return _OUTPUT_CLOSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        note(prefix, f"internal error: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        _trace(error)
        return _FAILED


def _run(arguments: Arguments) -> int:
    command = arguments.command
    if command.root:
        from posix import geteuid

        if geteuid() != 0:
            raise RktpyError("cannot run as unprivileged user")
    # __import__ does what import statements do; importlib would have to be loaded first.
    module = __import__(f"rktpy.cli.{command.module}", None, None, ("run",))
    if arguments.has("cpuprofile") or arguments.has("memprofile"):
        from rktpy.cli.profile import profiled

        return profiled(module.run, arguments)
    status: int = module.run(arguments)
    return status


def _prefix(argv: list[str], prefix: str) -> str:
    """The command's name, also when its arguments could not be read to the end."""
    if prefix == "rktpy":
        from rktpy.cli.parse import find_command

        try:
            return find_command(argv)[0].name
        except UnknownCommand:
            pass
    return prefix


def _trace(error: BaseException) -> None:
    if debugging():
        from traceback import format_exception

        note("", "".join(format_exception(error)).rstrip("\n"))


def console() -> None:
    """Entry point of the ``rktpy`` program."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
