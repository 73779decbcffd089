"""The program: picks the command, runs it, prints the error if there is one and gives the exit status, as rkt 1.30.

254 for every error of ours, 2 for a missing command, 130 after an interrupt; a pod that ends in this process gives its own.
Hot-path module.
"""

from __future__ import annotations

import gc
import sys
from posix import _exit

from rktpy.cli.commands import ROOT
from rktpy.cli.output import OutputClosed, out
from rktpy.cli.parse import Arguments, parse
from rktpy.cli.report import report
from rktpy.cli.usage import ArgumentsError, FlagError, HelpRequested, MissingCommand, UnknownCommand
from rktpy.errors import RktpyError
from rktpy.log import debugging, note, set_debug

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.command import Command

_FAILED = 254
_INTERRUPTED = 130
_OUTPUT_CLOSED = 141  # what a shell shows of a process that died of SIGPIPE


def main(argv: list[str]) -> int:
    """Do what the command line ``argv`` (without the program's name) says, and give the exit status."""
    command = ROOT
    set_debug(False)
    try:
        try:
            if argv[:1] == ["oci"]:
                # The flags that follow are not ours to read.
                from rktpy.oci.main import main as low_level

                return low_level(argv[1:])
            arguments = parse(argv)
            command = arguments.command
            return _run(arguments)
        except HelpRequested as request:
            _help(request.command)
            return 0
        except UnknownCommand as error:
            from rktpy.cli.help import unknown_command_text

            note("", unknown_command_text(error))
            return error.status
        except FlagError as error:
            note("", f"Error: {error}")
            _help(error.command)
            return error.status
        except (ArgumentsError, MissingCommand) as error:
            report(command.name, error)
            _help(command)
            return error.status
    except RktpyError as error:
        report(_prefix(argv, command), error)
        return error.status
    except OSError as error:
        report(command.name, error)
        _trace(error)
        return _FAILED
    except OutputClosed:
        return _OUTPUT_CLOSED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        note(command.name, f"internal error: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
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


def _help(command: Command) -> None:
    from rktpy.cli.help import help_text

    out(help_text(command).rstrip("\n"))


def _prefix(argv: list[str], command: Command) -> str:
    """The command's name, also when its arguments could not be read to the end."""
    if command is ROOT:
        from rktpy.cli.parse import find_command

        command = find_command(argv)[0]
    return command.name


def _trace(error: BaseException) -> None:
    if debugging():
        from traceback import format_exception

        note("", "".join(format_exception(error)).rstrip("\n"))


def console() -> None:
    """Entry point of the ``rktpy`` program."""
    # Commands are short and make few cycles; looking for them every 700 objects takes some per cent of their time.
    gc.set_threshold(50_000, 20, 20)
    status = main(sys.argv[1:])
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # pyright: ignore[reportUnnecessaryComparison]
                stream.flush()
    except OSError:
        status = status or _OUTPUT_CLOSED
    # Nothing is left to be done, and taking the interpreter apart would take some milliseconds more.
    _exit(status)


if __name__ == "__main__":
    console()
