"""A plan: operations that can be read before they are executed.

``describe()`` is one line for ``--debug`` and ``--dry-run``; ``execute()`` does it and raises OSError or RktpyError. Unit
tests read plans without root. Hot-path module.
"""

from __future__ import annotations

from _json import encode_basestring

from rktpy.errors import Stage1Error
from rktpy.isolate.root import Root
from rktpy.log import debug, debugging
from rktpy.record import Record


class Operation(Record):
    """One step of a plan. Sub-classes are records of what is to be done."""

    def describe(self) -> str:
        """One line in the imperative, lower case."""
        raise NotImplementedError

    def execute(self, root: Root) -> None:
        """Do it. ``root`` is the app's root directory; operations on the process ignore it."""
        raise NotImplementedError


def execute_plan(plan: tuple[Operation, ...], root: Root, prefix: str = "stage1") -> None:
    """Execute in order; an OSError becomes a Stage1Error that says which step failed."""
    speaking = debugging()
    for operation in plan:
        if speaking:
            debug(prefix, operation.describe())
        try:
            operation.execute(root)
        except OSError as error:
            # The description names the thing; the error's own path may be one of /proc/self/fd.
            raise Stage1Error(f"can't {operation.describe()}") from OSError(error.errno, error.strerror)


def describe_plan(plan: tuple[Operation, ...]) -> str:
    """The plan as text, one operation a line."""
    return "".join(f"{operation.describe()}\n" for operation in plan)


def shown(name: str) -> str:
    """A path or name in double quotes for messages."""
    return encode_basestring(name)
