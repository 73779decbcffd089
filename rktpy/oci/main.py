"""The program ``rktpy-oci``: picks the command, runs it, tells of the error if there is one. Hot-path module."""

from __future__ import annotations

import gc
import os
import sys

from rktpy.errors import RktpyError, chain, innermost
from rktpy.oci.command_line import Arguments, BadUsage, UnknownCommand, parse
from rktpy.oci.messages import fail, flush_warnings, set_log, speaks

_FAILED = 1
_INTERRUPTED = 130


def main(argv: list[str]) -> int:
    """Do what the command line ``argv`` (without the program's name) says, and give the exit status."""
    try:
        try:
            arguments = parse(argv)
            prepare(arguments)
            status = _run(arguments)
        except UnknownCommand as error:
            os.write(2, f"{error}\n".encode("utf-8", "backslashreplace"))
            return error.status
        except BadUsage as error:
            fail(str(error))
            return error.status
        except RktpyError as error:
            fail(_one_line(error))
            return error.status if error.status != RktpyError.status else _FAILED
        except OSError as error:
            fail(_one_line(error))
            return _FAILED
        except RecursionError as error:
            fail(f"internal error: {error}")
            return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    flush_warnings()
    return status


def prepare(arguments: Arguments) -> None:
    """Take the global flags. Raises BadUsage."""
    form = arguments.text("log-format", "text")
    if form not in ("text", "json"):
        raise BadUsage(f"invalid log-format: {form}")
    if arguments.text("rootless", "auto") not in ("true", "false", "auto") and arguments.command != "spec":
        raise BadUsage("--rootless must be true, false or auto")
    set_log(arguments.text("log"), form, debug=arguments.switch("debug"))


def state_root(arguments: Arguments) -> str:
    """The directory of the containers' states: ``--root``, or below XDG_RUNTIME_DIR for a user that is not root."""
    given = arguments.text("root")
    if given:
        return os.path.abspath(given)
    if os.geteuid() != 0 and os.environ.get("XDG_RUNTIME_DIR"):
        return f"{os.environ['XDG_RUNTIME_DIR']}/rktpy-oci"
    return "/run/rktpy-oci"


def _run(arguments: Arguments) -> int:
    module = "about" if arguments.command in ("help", "version") else arguments.command
    # __import__ does what import statements do; importlib would have to be loaded first.
    status: int = __import__(f"rktpy.oci.commands.{module}", None, None, ("run",)).run(arguments)
    return status


def _one_line(error: BaseException) -> str:
    return (chain(error) if speaks() else innermost(error)).replace("\n", " ")


def console() -> None:
    """Entry point of the program."""
    gc.disable()  # it ends before garbage could matter
    status = main(sys.argv[1:])
    # Nothing is left to be done, and taking the interpreter apart would take some milliseconds more.
    os._exit(status)
