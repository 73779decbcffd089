"""Standard output of the commands. Hot-path module."""

from __future__ import annotations

from errno import EPIPE
from posix import write

from rktpy.errors import RktpyError


class OutputClosed(Exception):
    """Nobody reads standard output any more; the command ends in silence."""


def out(text: str) -> None:
    """Write ``text`` and a newline to standard output. Names that are not UTF-8 come out as they are on disk.

    Raises :class:`OutputClosed` and, if the output is full, :class:`RktpyError`.
    """
    raw(text.encode("utf-8", "surrogateescape") + b"\n")


def raw(data: bytes) -> None:
    """Write bytes to standard output, as :func:`out` does."""
    view = memoryview(data)
    try:
        while view:
            view = view[write(1, view) :]
    except OSError as error:
        if error.errno == EPIPE:
            raise OutputClosed from None
        raise RktpyError("cannot write to standard output") from error


def out_json(document: object, *, pretty: bool) -> None:
    """Write a JSON document, on one line or indented by tabs as rkt does."""
    from rktpy.formats import jsondoc

    if pretty:
        out(jsondoc.dump_pretty(document))
    else:
        raw(jsondoc.dump(document) + b"\n")
