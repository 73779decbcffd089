"""Text of systemd's unit files, with everything that comes from images quoted.

Source: systemd.syntax(7), systemd.service(5) ("Command lines", the prefix ``:``), systemd.unit(5) ("Specifiers").
Hot-path module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPES = {
    **{number: f"\\x{number:02x}" for number in (*range(1, 32), 127)},
    ord("\n"): "\\n",
    ord("\t"): "\\t",
    ord("\\"): "\\\\",
    ord('"'): '\\"',
    ord("%"): "%%",
}


def quoted(text: str) -> str:
    """One word of a setting: in double quotes, nothing in it is a separator, an escape or a specifier."""
    return f'"{text.translate(_ESCAPES)}"'


def plain(text: str) -> str:
    """The rest of a line as it is, for settings that are not split into words (Description)."""
    return "".join([character if character.isprintable() else "?" for character in text]).replace("%", "%%").replace("\\", "\\\\")


def command(argv: Iterable[str], flags: str = "") -> str:
    """A command line: no variable is expanded in it. ``flags`` are more of the prefixes that ExecStart= takes."""
    program, *arguments = argv
    return " ".join([f"{flags}:{quoted(program)}", *[quoted(argument) for argument in arguments]])


def unit(*sections: tuple[str, Iterable[tuple[str, str]]]) -> str:
    """A unit file of sections, each a name and its settings."""
    return "\n".join(["".join([f"[{name}]\n", *[f"{key}={value}\n" for key, value in settings]]) for name, settings in sections])
