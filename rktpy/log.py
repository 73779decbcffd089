"""Diagnostics on standard error, in rkt's form: ``<prefix>: <message>``.

The prefix is the sub-command's name, or the part of the program that speaks (``image``, ``stage0``, ``stage1``,
``networking``). Hot-path module: imports only ``posix``.
"""

from __future__ import annotations

from posix import write

_debug = False
# Messages quote images and servers, which must not move the cursor of a terminal or turn letters about.
_HARMLESS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "?")


def set_debug(enabled: bool) -> None:
    """Turn debug lines on or off for the whole process (``--debug``)."""
    global _debug
    _debug = enabled


def debugging() -> bool:
    """Whether debug lines are printed."""
    return _debug


def harmless(text: str) -> str:
    """``text`` of others for a terminal: what would move the cursor or turn letters about becomes a question mark."""
    return text.translate(_HARMLESS)


def note(prefix: str, message: str) -> None:
    """Print one diagnostic, always. A closed or full standard error is not an error of the command."""
    text = f"{prefix}: {message}\n" if prefix else f"{message}\n"
    try:
        write(2, harmless(text).encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def debug(prefix: str, message: str) -> None:
    """Print one diagnostic when ``--debug`` is on."""
    if _debug:
        note(prefix, message)
